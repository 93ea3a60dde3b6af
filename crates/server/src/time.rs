//! Clock, timers, tasks and randomness on tokio's current thread.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::LocalBoxFuture;
use starlane_host::ports::Time;

/// The time of this process. Lives inside a `LocalSet`.
pub(crate) struct TokioTime {
    start: Instant,
}

impl TokioTime {
    pub(crate) fn new() -> Self {
        Self { start: Instant::now() }
    }
}

/// Seconds since the Unix epoch.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Random bytes of the operating system.
pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // A host without randomness is not safe, so it must not continue.
        tracing::error!(%error, "the operating system returns no random bytes");
        std::process::abort();
    }
    bytes
}

impl Time for TokioTime {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn unix_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn sleep(&self, ms: u64) -> LocalBoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(Duration::from_millis(ms)))
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        tokio::task::spawn_local(task);
    }

    fn random(&self) -> [u8; 32] {
        random()
    }
}
