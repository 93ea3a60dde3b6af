//! What a node wants done, and the identities that tie what it wants to what comes back.

use starlane_protocol::{Address, Failure, Message, Outcome, Payload, Trace};

pub use starlane_protocol::RequestId;

use crate::{
    guest::{GuestCall, GuestPlan, InstanceId, Level},
    link::Goodbye,
    principal::Principal,
    state::{ActorState, WriteId},
};

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);
    };
}

identity! {
    /// An open WebSocket, given by the host.
    SocketId
}
identity! {
    /// A handler of this host: a driver, or a page's function.
    HandlerId
}
identity! {
    /// A subscription by the host itself: a page's loop, an event stream.
    SubscriptionId
}

/// Who asks: an address to answer for, and the principal on whose behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The address of who sends.
    pub address: Address,
    /// The principal.
    pub caller: Principal,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The resource that it is about.
    pub address: Address,
    /// How loud.
    pub level: Level,
    /// The trace of the message that was handled.
    pub trace: Option<Trace>,
    /// The text.
    pub text: String,
}

/// What a subscriber gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An event.
    Event {
        /// The resource that emitted it.
        from: Address,
        /// What it carries.
        payload: Payload,
    },
    /// Events may have been missed.
    Gap,
    /// The subscription is refused, or ended by who it was made with: nothing more comes.
    Refused(Failure),
}

/// The state of the link to the server, as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// The first connection is being made, for the first time.
    Connecting,
    /// Messages flow.
    Up,
    /// The connection could not be made, or broke; it is being made again.
    Down,
    /// The server refused us; nothing is tried any more.
    Refused(Goodbye),
}

/// What the host is to do.
#[derive(Debug)]
pub enum Effect {
    /// Open the WebSocket of the uplink and report it with `handle_dialled` or `handle_dial_failed`.
    Dial,
    /// Send the last message of a socket.
    Transmit {
        /// The socket.
        socket: SocketId,
        /// The message.
        message: Vec<u8>,
    },
    /// Close a socket.
    Hangup {
        /// The socket.
        socket: SocketId,
        /// The goodbye that was said or heard.
        goodbye: Goodbye,
    },
    /// Check a token and answer with `handle_authenticated`.
    Authenticate {
        /// The socket that it came over.
        socket: SocketId,
        /// The token, if the peer showed one.
        token: Option<String>,
    },
    /// Get a fresh token for the uplink and give it to `handle_renewed`.
    Renew {
        /// The socket of the link that it is for.
        socket: SocketId,
    },
    /// The uplink's state changed.
    LinkState(LinkState),
    /// Hand a message to a handler; for a request, answer with `handle_reply`.
    Deliver {
        /// The handler.
        handler: HandlerId,
        /// The message.
        message: Message,
    },
    /// Nobody waits any more for a request that was delivered to a handler.
    Abandon(RequestId),
    /// A request of this host ended.
    Settle {
        /// The request.
        request: RequestId,
        /// How.
        outcome: Outcome,
    },
    /// Something for a subscription of this host.
    Notice {
        /// The subscription.
        subscription: SubscriptionId,
        /// What.
        notice: Notice,
    },
    /// Make an instance and report it with `handle_started`.
    StartGuest(GuestPlan),
    /// Run calls and report them with `handle_ran`.
    RunGuest {
        /// The instance.
        instance: InstanceId,
        /// The calls, in order.
        calls: Vec<GuestCall>,
    },
    /// End an instance.
    StopGuest(InstanceId),
    /// Take an app's actors over in the store of state, and give what it says to `handle_state_taken`.
    TakeState {
        /// The app.
        app: Address,
        /// What the answer goes with.
        number: u64,
        /// How long to wait before, in milliseconds.
        after_ms: u64,
    },
    /// Load what an actor's guest saved last, and give it to `handle_state_loaded`.
    LoadState {
        /// The instance that begins with it.
        instance: InstanceId,
        /// The app.
        app: Address,
        /// The actor.
        actor: Address,
    },
    /// Save an actor's state and report it with `handle_state_saved`. What is asked for first is saved first.
    SaveState {
        /// What the report goes with.
        write: WriteId,
        /// The app.
        app: Address,
        /// What shows that this node owns the app's actors.
        epoch: u64,
        /// The state. Wakes are on the clock of `now`.
        state: ActorState,
    },
    /// Something for the log.
    Log(LogLine),
}
