//! The state of an actor that a host keeps over sleep, crash and restart: the types between a node and a store.

use starlane_protocol::{Address, Failure, Topic};

use crate::guest::Saved;

/// A wake that an actor asked for: its time, in milliseconds, and its token. A node counts the time on the clock of `now`, a store
/// in Unix time.
pub type Wake = (u64, u64);

/// A token with this bit belongs to the present instance of a guest, such as a sleep of the SDK. It is not saved.
pub(crate) const OF_THE_INSTANCE: u64 = 1 << 63;

/// The kept state of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorState {
    /// The actor.
    pub address: Address,
    /// The name of the principal that used it first.
    pub made_for: String,
    /// The last state that its guest saved.
    pub saved: Option<Saved>,
    /// The topics that it subscribed to.
    pub subscriptions: Vec<Topic>,
    /// The wakes that it asked for and has not received.
    pub wakes: Vec<Wake>,
}

impl ActorState {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.saved.is_none() && self.subscriptions.is_empty() && self.wakes.is_empty()
    }
}

/// What a host knows of an actor that it has not started: everything except the state itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownActor {
    /// The actor.
    pub address: Address,
    /// The name of the principal that used it first.
    pub made_for: String,
    /// Whether its guest has saved a state.
    pub has_state: bool,
    /// How long ago it was written, in milliseconds, if the store knows.
    pub saved_ago_ms: Option<u64>,
    /// The topics that it subscribed to.
    pub subscriptions: Vec<Topic>,
    /// The wakes that it asked for and has not received.
    pub wakes: Vec<Wake>,
}

/// An app's actors, as the store reports them when a host takes them over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Higher than the epoch of any earlier owner. Each write carries it.
    pub epoch: u64,
    /// The actors that the store knows.
    pub actors: Vec<KnownActor>,
}

/// The number of a write in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId {
    pub(crate) actor: u64,
    pub(crate) number: u64,
}

/// Why state was not saved or loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// Another host owns the app's actors now.
    Fenced,
    /// The state exceeds a limit; the text names it.
    TooLarge(String),
    /// The store has no room at the moment; the text says what is full.
    Full(String),
    /// The store failed.
    Failed(String),
}

impl StateError {
    /// The failure for a caller whose answer depended on the save.
    pub(crate) fn failure(&self) -> Failure {
        let (status, code, text) = match self {
            Self::Fenced => (503, "fenced", "another host owns this app's actors now"),
            Self::TooLarge(text) => (507, "state-too-large", text.as_str()),
            Self::Full(text) => (507, "state-not-saved", text.as_str()),
            Self::Failed(text) => (500, "state-not-saved", text.as_str()),
        };
        Failure::new(status, code, format!("the actor's state was not saved, so the change is undone: {text}"))
    }
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fenced => "another host owns this app's actors now",
            Self::TooLarge(text) | Self::Full(text) | Self::Failed(text) => text,
        })
    }
}

impl std::error::Error for StateError {}
