//! The limits of a server: their values and the number of refusals. `limits/table.rs` has the table.

mod table;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use starlane_host::{ActorLimits, PrincipalLimits, ports::StateLimits};
use starlane_meter::{FunctionLimit, FunctionLimits};
use starlane_protocol::Failure;

use self::table::{COUNT, KIB, MIB, Refusal, TABLE};
pub use self::table::{Limit, Unit};

/// A value outside the range of a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{name}` is {given}; it must be {range}")]
pub struct LimitError {
    name: &'static str,
    given: String,
    range: String,
}

impl From<FunctionLimit> for Limit {
    fn from(limit: FunctionLimit) -> Self {
        match limit {
            FunctionLimit::Bytes => Self::FunctionBytes,
            FunctionLimit::Locals => Self::FunctionLocals,
            FunctionLimit::Branches => Self::FunctionBranches,
            FunctionLimit::LoopDepth => Self::FunctionLoopDepth,
            FunctionLimit::Moves => Self::FunctionMoves,
        }
    }
}

/// The values of all limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLimits([u64; COUNT]);

impl Default for ServerLimits {
    fn default() -> Self {
        Self(TABLE.map(|row| row.built_in))
    }
}

impl ServerLimits {
    /// The value of a limit, in its unit.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0.get(limit as usize).copied().unwrap_or_default()
    }

    /// Sets a limit, in its unit. Errors when the value is outside the limit's range.
    pub fn set(&mut self, limit: Limit, value: u64) -> Result<(), LimitError> {
        let row = limit.row();
        if !row.allowed.contains(&value) {
            let given = Amount(value, row.unit).to_string();
            return Err(LimitError { name: row.name, given, range: limit.range() });
        }
        if let Some(slot) = self.0.get_mut(limit as usize) {
            *slot = value;
        }
        Ok(())
    }

    /// The value of a limit with its unit, for people: `16 MiB`.
    pub fn shown(&self, limit: Limit) -> String {
        Amount(self.get(limit), limit.unit()).to_string()
    }

    /// A limit as a number of things in memory.
    pub(crate) fn count(&self, limit: Limit) -> usize {
        usize::try_from(self.get(limit)).unwrap_or(usize::MAX)
    }

    /// The limits on the functions of a module.
    pub(crate) fn of_functions(&self) -> FunctionLimits {
        FunctionLimits {
            bytes: self.get(Limit::FunctionBytes),
            locals: self.get(Limit::FunctionLocals),
            branches: self.get(Limit::FunctionBranches),
            loop_depth: self.get(Limit::FunctionLoopDepth),
            moves: self.get(Limit::FunctionMoves),
        }
    }

    /// The limits that the state store enforces.
    pub(crate) fn state(&self) -> StateLimits {
        StateLimits { actor_bytes: self.get(Limit::StateBytes), app_bytes: self.get(Limit::StateBytesPerApp) }
    }

    /// The limits that the node enforces for each principal.
    pub(crate) fn principal(&self) -> PrincipalLimits {
        PrincipalLimits {
            links: self.count(Limit::Links),
            messages_per_second: u32::try_from(self.get(Limit::MessagesPerSecond)).unwrap_or(u32::MAX),
            bytes_in_flight: self.count(Limit::BytesInFlight),
            keys: self.count(Limit::Keys),
        }
    }

    /// The limits that the node enforces for actors.
    pub(crate) fn actors(&self) -> ActorLimits {
        ActorLimits {
            awake_per_app: self.count(Limit::AwakePerApp),
            awake_per_space: self.count(Limit::AwakePerSpace),
            actors: self.count(Limit::Actors),
            actors_per_app: self.count(Limit::ActorsPerApp),
            actors_per_space: self.count(Limit::ActorsPerSpace),
            timers: self.count(Limit::Timers),
            subscriptions: self.count(Limit::Subscriptions),
            open_requests: self.count(Limit::OpenRequests),
            waiting_bytes: self.count(Limit::WaitingBytes),
            waiting_bytes_per_space: self.count(Limit::WaitingBytesPerSpace),
            memory_part: self.get(Limit::MessageMemoryPart),
            request_ms: self.get(Limit::RequestTime),
            one_way_ms: self.get(Limit::OneWayTime),
            overdue_ms: self.get(Limit::OverdueTime),
            quarantine_ms: self.get(Limit::QuarantineTime),
        }
    }
}

impl Limit {
    /// The range of values, for people: `from 64 KiB to 1 TiB`.
    pub fn range(self) -> String {
        let row = self.row();
        format!("from {} to {}", Amount(*row.allowed.start(), row.unit), Amount(*row.allowed.end(), row.unit))
    }
}

/// Larger units of bytes, largest first.
const SIZES: [(u64, &str); 5] = [(1 << 50, "PiB"), (1 << 40, "TiB"), (1 << 30, "GiB"), (MIB, "MiB"), (KIB, "KiB")];
/// Larger units of milliseconds, largest first.
const TIMES: [(u64, &str); 4] = [(86_400_000, "days"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];

/// A number with its unit, for people. The unit is the largest one that gives a whole number.
struct Amount(u64, Unit);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, unit) = *self;
        let (larger, smallest) = match unit {
            Unit::Count => return write!(f, "{value}"),
            Unit::PerSecond => return write!(f, "{value} per second"),
            Unit::Milliseconds => (TIMES.as_slice(), "ms"),
            Unit::Bytes => (SIZES.as_slice(), "bytes"),
        };
        match larger.iter().find(|(size, _)| value >= *size && value % size == 0) {
            Some((size, "days")) if value == *size => write!(f, "1 day"),
            Some((size, name)) => write!(f, "{} {name}", value / size),
            None => write!(f, "{value} {smallest}"),
        }
    }
}

/// The limits of a running server, and the number of refusals of each. All parts of the server share it.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: ServerLimits,
    refused: [AtomicU64; COUNT],
}

impl Limiter {
    pub(crate) fn new(limits: ServerLimits) -> Arc<Self> {
        Arc::new(Self { limits, refused: std::array::from_fn(|_| AtomicU64::new(0)) })
    }

    /// The values of all limits.
    pub(crate) fn limits(&self) -> &ServerLimits {
        &self.limits
    }

    /// The value of a limit, in its unit.
    pub(crate) fn get(&self, limit: Limit) -> u64 {
        self.limits.get(limit)
    }

    /// The value of a limit as a number of things in memory.
    pub(crate) fn count(&self, limit: Limit) -> usize {
        self.limits.count(limit)
    }

    /// The value of a limit that is a time.
    pub(crate) fn time(&self, limit: Limit) -> Duration {
        Duration::from_millis(self.get(limit))
    }

    /// Counts a refusal and returns its failure. `what` is a clause that names the excess: `the body is 17 MiB`.
    pub(crate) fn refuse(&self, limit: Limit, what: impl fmt::Display) -> Failure {
        self.note(limit);
        let (status, code) = match limit.row().refusal {
            Refusal::TooLarge => (413, "too-large"),
            Refusal::TooMany => (429, "too-many"),
            Refusal::TooSlow => (408, "too-slow"),
            Refusal::Busy => (503, "busy"),
            Refusal::Full => (507, "storage-full"),
        };
        let (name, value) = (limit.name(), self.limits.shown(limit));
        Failure::new(status, code, format!("{what}; the limit `{name}` is {value}"))
    }

    /// Counts a refusal whose text is written elsewhere.
    pub(crate) fn note(&self, limit: Limit) {
        if let Some(count) = self.refused.get(limit as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Every limit with its value and its number of refusals.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Limit, u64, u64)> + '_ {
        let refused = self.refused.iter().map(|count| count.load(Relaxed));
        Limit::ALL.iter().zip(refused).map(|(limit, refused)| (*limit, self.get(*limit), refused))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_limit_has_its_own_name_and_a_default_in_its_range() {
        let names: BTreeSet<&str> = Limit::ALL.iter().map(|limit| limit.name()).collect();
        assert_eq!(names.len(), COUNT);
        for limit in Limit::ALL {
            assert_eq!(Limit::named(limit.name()), Some(*limit));
            assert!(limit.row().allowed.contains(&limit.row().built_in), "{}", limit.name());
            assert!(limit.help().ends_with('.'), "{}", limit.name());
        }
    }

    /// The command line names them to an author as the server does.
    #[test]
    fn limits_of_functions_have_the_names_of_the_check() {
        for limit in FunctionLimit::ALL {
            assert_eq!(Limit::from(limit).name(), limit.name());
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let mut limits = ServerLimits::default();
        let error = limits.set(Limit::BytesInFlight, 1).unwrap_err().to_string();
        assert_eq!(error, "the limit `bytes-in-flight` is 1 bytes; it must be from 64 KiB to 1 TiB");
        limits.set(Limit::Links, 7).unwrap();
        assert_eq!((limits.get(Limit::Links), limits.principal().links), (7, 7));
    }

    #[test]
    fn a_value_is_shown_in_the_largest_unit_that_gives_a_whole_number() {
        let shown = |value, unit| Amount(value, unit).to_string();
        for (value, expected) in
            [(0, "0 bytes"), (1_025, "1025 bytes"), (10 << 30, "10 GiB"), (1_025 << 10, "1025 KiB")]
        {
            assert_eq!(shown(value, Unit::Bytes), expected);
        }
        for (value, expected) in [(86_400_000, "1 day"), (2 * 86_400_000, "2 days"), (90_000, "90 s"), (50, "50 ms")] {
            assert_eq!(shown(value, Unit::Milliseconds), expected);
        }
    }

    #[test]
    fn a_refusal_names_its_limit_and_is_counted() {
        let limiter = Limiter::new(ServerLimits::default());
        let failure = limiter.refuse(Limit::Links, "1001 links are open");
        assert_eq!((failure.status, failure.code.as_str()), (429, "too-many"));
        assert_eq!(failure.message, "1001 links are open; the limit `links` is 1000");
        let (_, value, refused) = limiter.entries().find(|(limit, ..)| *limit == Limit::Links).unwrap();
        assert_eq!((value, refused), (1_000, 1));
    }
}
