//! What happened at a node since it was made, counted.

use litemap::LiteMap;

/// The upper bounds of the latencies that are told apart, in milliseconds; what took longer is counted behind them.
pub const LATENCY_MS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 30_000];

/// Counts. They only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that ended with a reply.
    pub replies: u64,
    /// Requests that ended with a failure.
    pub failures: u64,
    /// One-way messages that were sent on.
    pub one_way: u64,
    /// Events that were emitted.
    pub events: u64,
    /// Crashes of actors.
    pub crashes: u64,
    /// Actors that held messages whose time had passed, and were started again.
    pub overdue: u64,
    /// One-way messages, events and wakes that were not delivered.
    pub dead_letters: u64,
    /// How often each limit of [`ActorLimits`](crate::ActorLimits) refused something, by the name of its setting.
    pub refused: LiteMap<&'static str, u64>,
    /// States of actors that were saved.
    pub saves: u64,
    /// Saves that failed or were refused.
    pub save_failures: u64,
    /// How many requests took how long, by the bounds of [`LATENCY_MS`], and behind them those that took longer.
    pub latencies: [u64; LATENCY_MS.len() + 1],
    /// What all requests took together, in milliseconds.
    pub latency_ms: u64,
}

impl Stats {
    /// A limit refused something.
    pub(crate) fn refuse(&mut self, limit: &'static str) {
        *self.refused.entry(limit).or_default() += 1;
    }

    /// A request ended after so many milliseconds.
    pub(crate) fn ended(&mut self, took_ms: u64, failed: bool) {
        *(if failed { &mut self.failures } else { &mut self.replies }) += 1;
        self.latency_ms += took_ms;
        let at = LATENCY_MS.iter().position(|bound| took_ms <= *bound).unwrap_or(LATENCY_MS.len());
        if let Some(count) = self.latencies.get_mut(at) {
            *count += 1;
        }
    }
}
