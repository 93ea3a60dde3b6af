//! Messages, the outcomes of requests, and the codes of failures.

use crate::{Address, Payload, Principal, Trace};

/// The number of a request in a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request, which gets exactly one reply.
    Request,
    /// A one-way message.
    Notify,
    /// An event of a topic to which its target has subscribed.
    Event,
}

/// A message in a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its kind. A request to a one-way operation becomes a notify, but still gets a reply.
    pub kind: Kind,
    /// The request to answer; `None` if the sender does not wait for a reply.
    pub request: Option<RequestId>,
    /// The sender; for an event, the resource that emitted it.
    pub from: Address,
    /// The principal on whose behalf it was sent.
    pub caller: Principal,
    /// The target; for an event, the resource that emitted it.
    pub to: Address,
    /// The operation, or the event's name.
    pub operation: String,
    /// Its payload.
    pub payload: Payload,
    /// When the sender stops waiting, on the clock of this host; `None` if it does not wait.
    pub deadline: Option<u64>,
    /// The time until then, in milliseconds, from the moment when a link or a handler gets it. 0 if the sender does not
    /// wait.
    pub remaining_ms: u32,
    /// The number of times that it was forwarded.
    pub hops: u8,
    /// Its trace.
    pub trace: Option<Trace>,
}

impl Message {
    /// Makes a one-way message that was not forwarded yet.
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

/// The outcome of a request. Each request has exactly one.
pub type Outcome = Result<Payload, Failure>;

/// The reason why a request failed. `status` has HTTP's meaning, `code` is stable, and `message` says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({status} {code}{})", .address.as_ref().map(|a| format!(", {a}")).unwrap_or_default())]
pub struct Failure {
    /// The status, as in HTTP: 403, 404, 408, 422 …
    pub status: u16,
    /// A stable code in lower case: `no-resource`.
    pub code: String,
    /// For people: what failed and what to do.
    pub message: String,
    /// The address to which it applies.
    pub address: Option<Address>,
    /// Whether the target may have got the message: false if it certainly did not, `None` if that is not known.
    pub sent: Option<bool>,
    /// Who failed the request.
    pub origin: FailureOrigin,
}

/// Who failed a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FailureOrigin {
    /// A host on the way: the resource did not answer, or did not get the request.
    #[default]
    Host,
    /// The resource itself: this is its answer.
    Resource,
}

/// The failures of hosts, with a constructor for each code.
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
    no_grant 403 "no-grant" "the principal has no grant for this.";
    no_resource 404 "no-resource" "nothing has this address.";
    no_operation 404 "no-operation" "the resource's bind has no such operation.";
    no_event 404 "no-event" "the resource's bind has no such event.";
    not_found 404 "not-found" "the resource has no such thing.";
    deadline 408 "deadline" "no reply came in time.";
    conflict 409 "conflict" "the present state does not allow it.";
    cycle 409 "cycle" "waiting for this reply would be a deadlock.";
    too_large 413 "too-large" "a limit on size was exceeded.";
    schema_mismatch 422 "schema-mismatch" "the payload does not match the bind.";
    mailbox_full 429 "mailbox-full" "the actor has too many waiting messages.";
    too_many 429 "too-many" "the principal uses more than its share.";
    link_full 429 "link-full" "the backlog of this link is full.";
    guest_failed 500 "guest-failed" "the mechtron trapped or broke a rule.";
    cancelled 499 "cancelled" "the reader went away.";
    idle 408 "idle" "a stream made no progress in time.";
    no_streams 415 "no-streams" "a stream is not accepted here.";
    too_long 408 "too-long" "a stream was open for too long.";
    too_many_streams 429 "too-many-streams" "too many streams are open.";
    closed 503 "closed" "the host of the stream closed.";
    internal 500 "internal" "the host could not do its part.";
    link_lost 502 "link-lost" "the link was lost before the reply came.";
    not_running 503 "not-running" "the resource can't be started.";
    quarantined 503 "quarantined" "the mechtron crashed too often.";
    unreachable 503 "unreachable" "there was no link to the resource's host in time.";
    storage_full 507 "storage-full" "no storage is left.";
}

impl Failure {
    /// Makes a failure with a status, a stable code and a message for people.
    pub fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            address: None,
            sent: None,
            origin: FailureOrigin::Host,
        }
    }

    /// Adds an address. An existing address stays, because it is nearer to the cause.
    pub fn at(mut self, address: &Address) -> Self {
        self.address.get_or_insert_with(|| address.clone());
        self
    }

    /// Says that it is the answer of the resource itself.
    pub fn of_resource(mut self) -> Self {
        self.origin = FailureOrigin::Resource;
        self
    }

    /// Says whether the target may have got the message.
    pub fn sent(mut self, sent: bool) -> Self {
        self.sent = Some(sent);
        self
    }
}

/// The maximum number of times that a message may be forwarded. With more, it is refused as a loop.
pub const MAX_HOPS: u8 = 64;

/// The header of a request that stands for a one-way message, whose sender wants an acknowledgement. Its reply is
/// empty, and comes when the handler gets the message. Hosts that don't know this header reply when the message was
/// handled.
pub const ONE_WAY: &str = "starlane-one-way";
