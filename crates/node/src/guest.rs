//! The messages between a node and a sandbox about a guest: calls go in, reports come out.
//!
//! The terms are those of the guest interface (`mechtron.wit`).

use std::rc::Rc;

use starlane_bundle::Digest;
use starlane_protocol::{Address, Failure, Message, Outcome, Payload};

pub use starlane_protocol::Kind;

/// One life of an actor at this host: each start has a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstanceId(pub u64);

/// What a sandbox needs to make an instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestPlan {
    /// The instance to make.
    pub instance: InstanceId,
    /// Guests of one group (app and publisher) may share a worker.
    pub group: String,
    /// The module.
    pub wasm: Digest,
    /// The limits of the instance.
    pub limits: GuestLimits,
    /// The schemas of its messages: JSON `{ requests, responses, events }`. Each maps names of operations or events to
    /// JSON Schemas in normal form. Empty: there are no schemas.
    pub contract: Rc<str>,
    /// Whether to run it in the host's own thread, if the host has a choice.
    pub inline: bool,
}

impl GuestPlan {
    /// The group of an app's guests from one publisher.
    pub(crate) fn group_of(app: &Address, publisher: &str) -> String {
        format!("{app} {publisher}")
    }

    /// The address of the guest's app.
    pub fn app(&self) -> &str {
        self.group.split(' ').next().unwrap_or_default()
    }
}

/// The limits of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct GuestLimits {
    /// The maximum memory, in bytes.
    #[n(0)]
    pub memory: u64,
    /// The maximum compute time of one call, in milliseconds.
    #[n(1)]
    pub call_ms: u32,
    /// The maximum number of unfinished messages.
    #[n(2)]
    pub concurrency: u32,
}

/// A call into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestCall {
    /// `actor.start`.
    Start(Context),
    /// `actor.receive`. It is not run while `concurrency` messages are unfinished: the batch ends before it.
    Receive {
        /// Never 0, unique in the life of the instance.
        id: u64,
        /// The message.
        message: Message,
    },
    /// `actor.settle`.
    Settle {
        /// The id that `mesh.request` returned.
        request: u64,
        /// The outcome of the request.
        outcome: Outcome,
    },
    /// `actor.wake`.
    Wake {
        /// The token that `mesh.wake-after` got.
        token: u64,
    },
    /// `actor.save`.
    Save,
    /// `stream-actor.part`: the next bytes of a stream that the guest reads.
    Part {
        /// The guest's number of the stream: that of its payload, which is even.
        stream: u64,
        /// The bytes.
        bytes: bytes::Bytes,
    },
    /// `stream-actor.ended`: the last call about a stream, in either direction.
    Ended {
        /// The guest's number of the stream.
        stream: u64,
        /// Why it is not complete; `None` if a stream that the guest reads is complete.
        error: Option<Failure>,
    },
    /// `stream-actor.ready`: the guest may write more to a stream that it opened.
    Ready {
        /// The guest's number of the stream, which is odd.
        stream: u64,
        /// How many bytes more.
        credit: u32,
    },
}

/// The context of an actor's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The actor's own address.
    pub address: String,
    /// The name of the mechtron in its module.
    pub mechtron: String,
    /// The settings, as JSON.
    pub settings: String,
    /// The last result of `save`.
    pub state: Option<Saved>,
}

/// The state that one instance leaves to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The guest's own number for the layout of `data`.
    pub format: u32,
    /// The state.
    pub data: bytes::Bytes,
}

/// An effect that a guest asked for during a call, in order. It counts only if the call returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEffect {
    /// `mesh.request`.
    Request {
        /// The id that the guest got.
        id: u64,
        /// An address, perhaps relative to the app.
        target: String,
        /// The operation.
        operation: String,
        /// The payload.
        payload: Payload,
        /// 0 means the default.
        timeout_ms: u32,
    },
    /// `mesh.notify`.
    Notify {
        /// An address, perhaps relative to the app.
        target: String,
        /// The operation.
        operation: String,
        /// The payload.
        payload: Payload,
    },
    /// `mesh.reply`.
    Reply {
        /// The id of the message that it ends.
        id: u64,
        /// The outcome.
        outcome: Outcome,
    },
    /// `mesh.emit`.
    Emit {
        /// An event of the actor's bind.
        event: String,
        /// The payload.
        payload: Payload,
    },
    /// `mesh.subscribe`.
    Subscribe {
        /// A topic, perhaps relative to the app.
        topic: String,
    },
    /// `mesh.unsubscribe`.
    Unsubscribe {
        /// A topic, perhaps relative to the app.
        topic: String,
    },
    /// `mesh.wake-after`.
    WakeAfter {
        /// The delay, in milliseconds.
        delay_ms: u32,
        /// The token for `actor.wake`.
        token: u64,
    },
    /// `mesh.wake-at`.
    WakeAt {
        /// The time, in milliseconds since the Unix epoch as the sandbox reports it. The host replaces it by the time on the clock
        /// of the node.
        unix_ms: u64,
        /// The token for `actor.wake`.
        token: u64,
    },
    /// `mesh.open-stream`. The sandbox only gives the stream the next odd number.
    OpenStream {
        /// The guest's number of the stream.
        stream: u64,
    },
    /// `mesh.write`. The sandbox has checked that the stream has credit for it.
    Write {
        /// The guest's number of the stream.
        stream: u64,
        /// The bytes.
        bytes: bytes::Bytes,
    },
    /// `mesh.finish`.
    Finish {
        /// The guest's number of the stream.
        stream: u64,
        /// Why the stream is not complete; `None` if it is.
        error: Option<Failure>,
    },
    /// `mesh.grant`: the guest has consumed bytes of a stream.
    Grant {
        /// The guest's number of the stream.
        stream: u64,
        /// How many.
        bytes: u32,
    },
    /// `mesh.cancel-stream`: the guest wants no more of a stream.
    CancelStream {
        /// The guest's number of the stream.
        stream: u64,
    },
}

impl GuestEffect {
    /// The memory that a message or an event needs, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Notify { target, operation, payload } => target.len() + operation.len() + payload.weight(),
            Self::Emit { event, payload } => event.len() + payload.weight(),
            Self::Write { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

/// The severity of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Single steps.
    Trace,
    /// Details for debugging.
    Debug,
    /// Information for operators.
    Info,
    /// A possible problem.
    Warn,
    /// Something failed.
    Error,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// `start` succeeded, or `settle` or `wake` returned.
    Done,
    /// `start` refused, with a reason.
    Refused(String),
    /// `receive` returned: whether it is done with the message.
    Received(bool),
    /// `receive` was not called: the message does not match the contract, for this reason.
    Misfit(String),
    /// `receive` or `settle` was not called: the payload is a stream, and the guest does not export `stream-actor`.
    NoStreams,
    /// A part, or the end, was not given to the guest, and the stream has failed: a line does not match the contract, or the guest has
    /// no memory for the part.
    BadLine {
        /// The guest's number of the stream.
        stream: u64,
        /// Why.
        failure: Failure,
    },
    /// `receive` or `settle` was not called: the guest has no memory for its data, for this reason.
    TooLarge(String),
    /// `save` returned the state.
    Saved(Saved),
}

/// A completed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallReport {
    /// Its result.
    pub returned: Returned,
    /// Its effects on the mesh.
    pub effects: Vec<GuestEffect>,
}

/// The report of a batch of calls. The calls after the reported ones were not run, except the one that crashed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchReport {
    /// The completed calls, in order.
    pub done: Vec<CallReport>,
    /// Set when the next call ended the instance: a trap, an exceeded limit or an invalid value, for people to read.
    pub crash: Option<String>,
    /// The log lines of the guest; they count even when the call crashed.
    pub logs: Vec<Logged>,
}

impl BatchReport {
    /// Puts the times of wakes on the clock of the node, which is at `now` when it is `unix_ms` in the world.
    pub fn on_the_clock(&mut self, now: u64, unix_ms: u64) {
        for effect in self.done.iter_mut().flat_map(|done| &mut done.effects) {
            if let GuestEffect::WakeAt { unix_ms: at, .. } = effect {
                *at = now + at.saturating_sub(unix_ms);
            }
        }
    }
}

/// A line that a guest logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The index of the call in the batch, from 0.
    pub call: usize,
    /// The severity.
    pub level: Level,
    /// The text.
    pub text: String,
}
