//! The limits of actors at a host.

/// The limits of actors, apps and spaces at a host. The calls of a guest have limits of their own: those of
/// `starlane_abi::limits`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActorLimits {
    /// Awake actors of one app.
    pub awake_per_app: usize,
    /// Awake actors of all apps of one space.
    pub awake_per_space: usize,
    /// Actors of this host, including sleeping ones.
    pub actors: usize,
    /// Actors of one app, including sleeping ones.
    pub actors_per_app: usize,
    /// Actors of all apps of one space, including sleeping ones.
    pub actors_per_space: usize,
    /// Timers of one actor.
    pub timers: usize,
    /// Subscriptions of one actor.
    pub subscriptions: usize,
    /// Requests that one actor has sent and that have not ended, or whose outcomes it has not received.
    pub open_requests: usize,
    /// Bytes of messages and outcomes that wait for one actor. One message or outcome of any allowed size can always
    /// wait.
    pub waiting_bytes: usize,
    /// Bytes of messages and outcomes that wait for all actors of one space.
    pub waiting_bytes_per_space: usize,
    /// A message may weigh at most this fraction of its target's memory: 4 is a quarter.
    pub memory_part: u64,
    /// The maximum timeout of a request, in milliseconds.
    pub request_ms: u64,
    /// The maximum time of an actor for a one-way message or an event, in milliseconds.
    pub one_way_ms: u64,
    /// How long an actor may hold an overdue message, or continue a call whose requester gave up, in milliseconds. Then it restarts
    /// from its last state.
    pub overdue_ms: u64,
    /// How long an actor that crashed too often is quarantined, in milliseconds.
    pub quarantine_ms: u64,
}

impl Default for ActorLimits {
    fn default() -> Self {
        Self {
            awake_per_app: usize::MAX,
            awake_per_space: usize::MAX,
            actors: 20_000,
            actors_per_app: 10_000,
            actors_per_space: usize::MAX,
            timers: 1_024,
            subscriptions: 256,
            open_requests: 1_024,
            waiting_bytes: 32 << 20,
            waiting_bytes_per_space: 256 << 20,
            memory_part: 4,
            request_ms: 3_600_000,
            one_way_ms: 60_000,
            overdue_ms: 5_000,
            quarantine_ms: 300_000,
        }
    }
}
