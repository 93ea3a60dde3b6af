//! What the node and a sandbox say to each other about a guest: calls go in, reports come out.
//!
//! The terms are those of the guest interface (`mechtron.wit`).

use std::rc::Rc;

use starlane_bundle::Digest;
use starlane_protocol::{Address, Message, Outcome, Payload};

pub use starlane_protocol::Kind;

/// One life of an actor at this host: a new one for every start.
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
    /// What bounds it.
    pub limits: GuestLimits,
    /// What its messages must fit: JSON `{ requests, responses, events }`, each a JSON Schema in normal form by the name of an
    /// operation or event. Empty: there are no schemas.
    pub contract: Rc<str>,
    /// Run it in the host's own thread, where the host has such a choice.
    pub inline: bool,
}

impl GuestPlan {
    /// The group of an app's guests that come from a publisher.
    pub(crate) fn group_of(app: &Address, publisher: &str) -> String {
        format!("{app} {publisher}")
    }

    /// The address of the app whose guest it is.
    pub fn app(&self) -> &str {
        self.group.split(' ').next().unwrap_or_default()
    }
}

/// What bounds an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct GuestLimits {
    /// The most memory, in bytes.
    #[n(0)]
    pub memory: u64,
    /// The most compute time of one call, in milliseconds.
    #[n(1)]
    pub call_ms: u32,
    /// How many messages may be unfinished at a time.
    #[n(2)]
    pub concurrency: u32,
}

/// A call into a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestCall {
    /// `actor.start`.
    Start(Context),
    /// `actor.receive`. Not run while `concurrency` messages are unfinished: the batch ends before it.
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
        /// How the request ended.
        outcome: Outcome,
    },
    /// `actor.wake`.
    Wake {
        /// The token that `mesh.wake-after` was given.
        token: u64,
    },
    /// `actor.save`.
    Save,
}

/// What an actor is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The actor's own address.
    pub address: String,
    /// Which mechtron of the module to be.
    pub mechtron: String,
    /// The settings, as JSON.
    pub settings: String,
    /// What `save` returned before.
    pub state: Option<Saved>,
}

/// State handed from one instance to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// The guest's own number for the layout of `data`.
    pub format: u32,
    /// The state.
    pub data: bytes::Bytes,
}

/// What a guest asked of the mesh during a call, in its order. It counts only if the call returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEffect {
    /// `mesh.request`.
    Request {
        /// The id that the guest was given.
        id: u64,
        /// An address, perhaps relative to the app.
        target: String,
        /// The operation.
        operation: String,
        /// The payload.
        payload: Payload,
        /// 0: the default.
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
        /// The message that it ends.
        id: u64,
        /// With what.
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
        /// How long, in milliseconds.
        delay_ms: u32,
        /// What `actor.wake` gets.
        token: u64,
    },
}

impl GuestEffect {
    /// What a message or an event weighs in memory, in bytes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Notify { target, operation, payload } => target.len() + operation.len() + payload.weight(),
            Self::Emit { event, payload } => event.len() + payload.weight(),
            _ => 0,
        }
    }
}

/// How loud a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For following each step.
    Trace,
    /// For finding faults.
    Debug,
    /// What an operator may want to know.
    Info,
    /// Something is off.
    Warn,
    /// Something failed.
    Error,
}

/// What a call returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Returned {
    /// `start` went well, or `settle` or `wake` returned.
    Done,
    /// `start` refused, with its reason.
    Refused(String),
    /// `receive` returned: whether the message is dealt with.
    Received(bool),
    /// `receive` was not called: the message does not fit the contract, and why.
    Misfit(String),
    /// `receive` or `settle` was not called: the guest has no memory for what it was to be given, and why.
    TooLarge(String),
    /// `save` returned the state.
    Saved(Saved),
}

/// A call that was run to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallReport {
    /// What it returned.
    pub returned: Returned,
    /// What it asked of the mesh.
    pub effects: Vec<GuestEffect>,
}

/// How a batch of calls went. The calls behind the ones reported were not run, but for the one that crashed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchReport {
    /// The calls that ran to their end, in order.
    pub done: Vec<CallReport>,
    /// Set when the call behind them ended the instance: a trap, a blown limit or a broken value, for people to read.
    pub crash: Option<String>,
    /// What the guest logged; it counts even when the call crashed.
    pub logs: Vec<Logged>,
}

/// A line that a guest logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// In which call of the batch, from 0.
    pub call: usize,
    /// How loud.
    pub level: Level,
    /// The text.
    pub text: String,
}
