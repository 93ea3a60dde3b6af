//! Messages, how requests end, and the words of failures.

use crate::{Address, Payload, Principal, Trace};

/// A request on its way through a host, by a number that the host gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Exactly one reply is awaited.
    Request,
    /// One-way.
    Notify,
    /// Of a topic that its target subscribed to.
    Event,
}

/// A message, from where it enters a host to whoever handles it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// A request that a bind has as one-way is a notify from there on, and is answered all the same.
    pub kind: Kind,
    /// The request to answer; none: nobody waits for an answer.
    pub request: Option<RequestId>,
    /// Who sent it; for an event, the resource that emitted it.
    pub from: Address,
    /// On whose behalf.
    pub caller: Principal,
    /// Where to; for an event, the resource that emitted it.
    pub to: Address,
    /// The operation, or the event's name.
    pub operation: String,
    /// What it carries.
    pub payload: Payload,
    /// When nobody waits any more, on the clock of the host where it is; none if nobody waits.
    pub deadline: Option<u64>,
    /// The same in milliseconds from when it is handed over: by a link, or to a handler. 0 if nobody waits.
    pub remaining_ms: u32,
    /// How often it was passed on.
    pub hops: u8,
    /// The trace that it belongs to.
    pub trace: Option<Trace>,
}

impl Message {
    /// A one-way message that was not passed on yet.
    pub fn new(from: Address, caller: Principal, to: Address, operation: String, payload: Payload) -> Self {
        Self {
            kind: Kind::Notify,
            request: None,
            from,
            caller,
            to,
            operation,
            payload,
            deadline: None,
            remaining_ms: 0,
            hops: 0,
            trace: None,
        }
    }
}

/// How a request ended: exactly one for each.
pub type Outcome = Result<Payload, Failure>;

/// Why a request did not succeed. `status` has HTTP's meaning, `code` is a stable word, `message` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({status} {code}{})", .address.as_ref().map(|a| format!(", {a}")).unwrap_or_default())]
pub struct Failure {
    /// As in HTTP: 403, 404, 408, 422 …
    pub status: u16,
    /// A stable word, lower case: `no-resource`.
    pub code: String,
    /// For people: what failed and what to do.
    pub message: String,
    /// The address that it is about.
    pub address: Option<Address>,
}

/// The failures that hosts themselves give, one constructor a code.
macro_rules! failures {
    ($($name:ident $status:literal $code:literal $doc:literal;)*) => {
        impl Failure {
            $(#[doc = concat!("`", $status, " ", $code, "`: ", $doc)]
            pub fn $name(message: impl Into<String>) -> Self {
                Self::new($status, $code, message)
            })*
        }
    };
}

failures! {
    malformed 400 "malformed" "the message can't be read.";
    auth_refused 401 "auth-refused" "the token was not accepted.";
    no_grant 403 "no-grant" "the principal may not do this.";
    no_resource 404 "no-resource" "nothing has this address.";
    no_operation 404 "no-operation" "the resource's bind has no such operation.";
    no_event 404 "no-event" "the resource's bind has no such event.";
    not_found 404 "not-found" "the resource has no such thing.";
    deadline 408 "deadline" "no answer came in time.";
    conflict 409 "conflict" "the present state does not allow it.";
    cycle 409 "cycle" "waiting for this answer would wait for itself.";
    too_large 413 "too-large" "a bound on size was exceeded.";
    schema_mismatch 422 "schema-mismatch" "the payload does not fit the bind.";
    mailbox_full 429 "mailbox-full" "the actor has too many messages waiting.";
    too_many 429 "too-many" "the principal uses more than its share.";
    link_full 429 "link-full" "too much waits for this link.";
    guest_failed 500 "guest-failed" "the mechtron trapped or broke a rule.";
    internal 500 "internal" "the host could not do its part.";
    link_lost 502 "link-lost" "the link broke while the answer was awaited.";
    not_running 503 "not-running" "the resource can't be started.";
    quarantined 503 "quarantined" "the mechtron crashed too often.";
    unreachable 503 "unreachable" "no link to the resource's host came up in time.";
    storage_full 507 "storage-full" "no room is left.";
}

impl Failure {
    /// A failure with a status, a stable code and a message for people.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into(), address: None }
    }

    /// The same failure, about `address`. An address that is there already stays: it is nearer to the cause.
    pub fn at(mut self, address: &Address) -> Self {
        self.address.get_or_insert_with(|| address.clone());
        self
    }
}

/// How deep a message may have been passed on before it is refused as a loop.
pub const MAX_HOPS: u8 = 64;

/// The header of a request that is a one-way message whose sender wants to know whether it was taken: its answer is empty, and comes
/// when the message has reached whoever handles it. Hosts that don't know it answer when the message was handled.
pub const ONE_WAY: &str = "starlane-one-way";
