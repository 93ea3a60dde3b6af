//! The effects of a node, and the ids that connect them with their results.

use bytes::Bytes;
use starlane_protocol::{Address, Failure, Message, Outcome, Payload, StreamId, Trace};

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
    /// A peer whose token is checked.
    PeerId
}
identity! {
    /// A handler of this host: a driver, or a page's function.
    HandlerId
}
identity! {
    /// A subscription by the host itself: a page's loop, an event stream.
    SubscriptionId
}

/// The sender: its address, and the principal on whose behalf it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The address of the sender.
    pub address: Address,
    /// The principal.
    pub caller: Principal,
}

/// A line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// The resource that it is about.
    pub address: Address,
    /// The severity.
    pub level: Level,
    /// The trace of the handled message.
    pub trace: Option<Trace>,
    /// The text.
    pub text: String,
}

/// A notice for a subscriber.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An event.
    Event {
        /// The resource that emitted it.
        from: Address,
        /// The payload.
        payload: Payload,
    },
    /// Events may have been missed.
    Gap,
    /// The subscription was refused or ended; no more notices follow.
    Refused(Failure),
}

/// The state of the link to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// The first connection is being made.
    Connecting,
    /// The link carries messages.
    Up,
    /// The connection could not be made, or broke; it is being retried.
    Down,
    /// The server refused this host; it is dialled again only when this host is told to.
    Refused,
}

impl LinkState {
    /// The word for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Down => "down",
            Self::Refused => "refused",
        }
    }
}

/// The state of the link to the server, and why it is so. Times are on the clock of `now`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The state.
    pub state: LinkState,
    /// Why the link is not up. None before the first dial has ended.
    pub reason: Option<Goodbye>,
    /// Since when it has been in this state.
    pub since: u64,
    /// How many dials have led to nothing since the link was last stable.
    pub attempt: u32,
    /// When the next dial is due.
    pub next: Option<u64>,
}

/// What the host has to do.
#[derive(Debug)]
pub enum Effect {
    /// Open the WebSocket of the uplink and report it with `handle_dialled` or `handle_dial_failed`.
    Dial,
    /// Send a message of a socket that closes.
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
        /// The goodbye that was sent or received.
        goodbye: Goodbye,
    },
    /// Check a token and answer with `handle_authenticated`.
    Authenticate {
        /// The peer.
        peer: PeerId,
        /// The token, if the peer sent one.
        token: Option<String>,
    },
    /// Get a fresh token for the uplink and give it to `handle_renewed`.
    Renew {
        /// The socket of the link.
        socket: SocketId,
    },
    /// The state of the uplink changed, or the time of its next dial.
    LinkStatus(LinkStatus),
    /// Hand a message to a handler; for a request, answer with `handle_reply`.
    Deliver {
        /// The handler.
        handler: HandlerId,
        /// The message.
        message: Message,
    },
    /// The next bytes of a stream that this host reads: that of a delivered message, or of an outcome.
    StreamPart {
        /// The stream.
        stream: StreamId,
        /// The bytes. `handle_consumed` makes room for more.
        part: Bytes,
    },
    /// A stream that this host reads has ended.
    StreamEnded {
        /// The stream.
        stream: StreamId,
        /// Why it is not complete; `None` if it is.
        failure: Option<Failure>,
    },
    /// This host may write more to a stream.
    StreamCredit {
        /// The stream.
        stream: StreamId,
        /// How many bytes in total.
        limit: u64,
    },
    /// The reader of a stream that this host writes wants no more.
    StreamStopped {
        /// The stream.
        stream: StreamId,
        /// Why.
        failure: Failure,
    },
    /// The requester gave up a request that was delivered to a handler.
    Abandon(RequestId),
    /// A request of this host ended.
    Settle {
        /// The request.
        request: RequestId,
        /// Its outcome.
        outcome: Outcome,
    },
    /// A notice for a subscription of this host.
    Notice {
        /// The subscription.
        subscription: SubscriptionId,
        /// The notice.
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
    /// Take over an app's actors in the store of state, and give the result to `handle_state_taken`.
    TakeState {
        /// The app.
        app: Address,
        /// The number for the result.
        number: u64,
        /// How long to wait first, in milliseconds.
        after_ms: u64,
    },
    /// Load the last saved state of an actor, and give it to `handle_state_loaded`.
    LoadState {
        /// The instance that starts from it.
        instance: InstanceId,
        /// The app.
        app: Address,
        /// The actor.
        actor: Address,
    },
    /// Save an actor's state and report it with `handle_state_saved`. Saves must keep their order.
    SaveState {
        /// The number for the report.
        write: WriteId,
        /// The app.
        app: Address,
        /// The proof that this node owns the app's actors.
        epoch: u64,
        /// The state. Wakes are on the clock of `now`.
        state: ActorState,
    },
    /// A line for the log.
    Log(LogLine),
}
