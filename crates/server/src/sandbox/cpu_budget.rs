//! The compute time of a call, and the end of an instance during a call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::time::{ClockId, clock_gettime};

use super::fault::GuestFault;

/// Counts the compute time of the running call. Waiting for other guests, or for a free processor, does not count.
pub(super) struct CpuBudget {
    budget_ms: u32,
    /// Nanoseconds of this call before the current slice.
    used: AtomicU64,
    /// The beginning of the current slice, on the thread's own clock.
    since: AtomicU64,
    stopped: AtomicBool,
}

impl CpuBudget {
    pub(super) fn new(budget_ms: u32) -> Self {
        Self { budget_ms, used: AtomicU64::new(0), since: AtomicU64::new(0), stopped: AtomicBool::new(false) }
    }

    /// A call begins, on this thread.
    pub(super) fn begin_call(&self) {
        self.used.store(0, Relaxed);
        self.resume();
    }

    /// The call continues after others ran, possibly on another thread.
    pub(super) fn resume(&self) {
        self.since.store(thread_time(), Relaxed);
    }

    /// A tick occurred during the call. Returns whether the call can continue.
    pub(super) fn tick(&self) -> Result<(), GuestFault> {
        if self.is_stopped() {
            return Err(GuestFault::Stopped);
        }
        let now = thread_time();
        let slice = now.saturating_sub(self.since.swap(now, Relaxed));
        let used = self.used.fetch_add(slice, Relaxed) + slice;
        if used > u64::from(self.budget_ms) * 1_000_000 { Err(GuestFault::Budget(self.budget_ms)) } else { Ok(()) }
    }

    /// Ends the call at its next tick, and the instance with it.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }
}

/// The processor time of this thread, in nanoseconds.
pub(super) fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    // The clock starts at 0 with the thread: neither part is ever negative.
    (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64
}
