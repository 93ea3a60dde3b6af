//! What a host keeps of an actor over sleep, crash and restart: the words between a node and a store.

use starlane_protocol::{Address, Failure, Topic};

use crate::guest::Saved;

/// A wake that an actor asked for: when it is due, in milliseconds, and its token. A node has it on the clock of `now`, a store
/// in Unix time.
pub type Wake = (u64, u64);

/// A token that has this bit belongs to the present instance of a guest, such as a sleep of the SDK: it is not kept.
pub(crate) const OF_THE_INSTANCE: u64 = 1 << 63;

/// What is kept of one actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActorState {
    /// The actor.
    pub address: Address,
    /// The name of the principal that used it first.
    pub made_for: String,
    /// What its guest saved last.
    pub saved: Option<Saved>,
    /// The topics that it subscribed to.
    pub subscriptions: Vec<Topic>,
    /// The wakes that it asked for and has not had.
    pub wakes: Vec<Wake>,
}

impl ActorState {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.saved.is_none() && self.subscriptions.is_empty() && self.wakes.is_empty()
    }
}

/// What a host knows of an actor that it has not started: all but the state itself.
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
    /// The wakes that it asked for and has not had.
    pub wakes: Vec<Wake>,
}

/// An app's actors, from the moment that a host owns them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owned {
    /// Higher than that of any owner before. Each write carries it.
    pub epoch: u64,
    /// The actors that something is kept of.
    pub actors: Vec<KnownActor>,
}

/// A write of an actor's state that is with the store.
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
    /// The state itself is over a limit; the text names it.
    TooLarge(String),
    /// There is no room at the moment; the text says what is full.
    Full(String),
    /// The store failed.
    Failed(String),
}

impl StateError {
    /// What a caller gets whose answer depended on it.
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
