//! Counters of a node, from its start.

use litemap::LiteMap;

/// The upper bounds of the latency buckets, in milliseconds. One more bucket counts everything slower.
pub const LATENCY_MS: [u64; 13] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 30_000];

/// Counters. They only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Requests that ended with a reply.
    pub replies: u64,
    /// Requests that ended with a failure.
    pub failures: u64,
    /// One-way messages that were forwarded.
    pub one_way: u64,
    /// Events that were emitted.
    pub events: u64,
    /// Crashes of actors.
    pub crashes: u64,
    /// Actors that were restarted because they held overdue messages.
    pub overdue: u64,
    /// One-way messages, events and wakes that were not delivered.
    pub dead_letters: u64,
    /// How often each limit of [`ActorLimits`](crate::ActorLimits) refused something, by the name of its setting.
    pub refused: LiteMap<&'static str, u64>,
    /// States of actors that were saved.
    pub saves: u64,
    /// Saves that failed or were refused.
    pub save_failures: u64,
    /// The number of requests in each bucket of [`LATENCY_MS`], and at the end those that took longer.
    pub latencies: [u64; LATENCY_MS.len() + 1],
    /// The total time of all requests, in milliseconds.
    pub latency_ms: u64,
}

impl Stats {
    /// Counts a refusal by a limit.
    pub(crate) fn refuse(&mut self, limit: &'static str) {
        *self.refused.entry(limit).or_default() += 1;
    }

    /// Counts a request that ended after `took_ms` milliseconds.
    pub(crate) fn ended(&mut self, took_ms: u64, failed: bool) {
        *(if failed { &mut self.failures } else { &mut self.replies }) += 1;
        self.latency_ms += took_ms;
        let at = LATENCY_MS.iter().position(|bound| took_ms <= *bound).unwrap_or(LATENCY_MS.len());
        if let Some(count) = self.latencies.get_mut(at) {
            *count += 1;
        }
    }
}
