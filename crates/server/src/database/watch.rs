//! The state of a connection for SQLite's callbacks: its role, its deadline, and the reason of a refusal.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The permissions of a connection's statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Statements of the server's own: everything.
    Own,
    /// `query`: reads.
    Read,
    /// `execute` and `transaction`: reads and writes.
    Write,
    /// A migration of a bundle.
    Migrate,
}

/// Shared by a connection and its callbacks.
#[derive(Debug)]
pub(super) struct Watch {
    role: AtomicU8,
    /// Nanoseconds since the first use of this clock; `u64::MAX` for none.
    deadline: AtomicU64,
    refused: Mutex<Option<String>>,
    /// The maximum length of a text or byte string, in bytes.
    pub(super) value: usize,
}

impl Watch {
    pub(super) fn new(value: usize) -> Self {
        Self { role: AtomicU8::new(0), deadline: AtomicU64::new(u64::MAX), refused: Mutex::default(), value }
    }

    pub(super) fn role(&self) -> Role {
        match self.role.load(Ordering::Relaxed) {
            0 => Role::Own,
            1 => Role::Read,
            2 => Role::Write,
            _ => Role::Migrate,
        }
    }

    pub(super) fn act_as(&self, role: Role) {
        let number = match role {
            Role::Own => 0,
            Role::Read => 1,
            Role::Write => 2,
            Role::Migrate => 3,
        };
        self.role.store(number, Ordering::Relaxed);
    }

    /// Sets the deadline to `time` from now; none removes it.
    pub(super) fn end_after(&self, time: Option<Duration>) {
        let deadline = time.map_or(u64::MAX, |time| now().saturating_add(nanos(time)));
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != u64::MAX && now() > deadline
    }

    /// Stores the reason why a statement is refused: SQLite itself says only "not authorized".
    pub(super) fn refuse(&self, reason: String) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    pub(super) fn take_refusal(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn now() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    nanos(FIRST.get_or_init(Instant::now).elapsed())
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}
