//! The limits of a server: one table for settings, metrics and refusals.

use std::{
    fmt,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use starlane_host::{ActorLimits, PrincipalLimits, ports::StateLimits};
use starlane_protocol::Failure;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What the number of a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Things a second.
    PerSecond,
}

/// How a request ends that exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// 413 `too-large`: the same request never succeeds.
    TooLarge,
    /// 429 `too-many`: the client uses more than its share.
    TooMany,
    /// 408 `too-slow`: the client or its work takes too long.
    TooSlow,
    /// 503 `busy`: the server has no room at the moment.
    Busy,
    /// 507 `storage-full`: the storage has no room.
    Full,
}

/// One row of the table.
struct Row {
    name: &'static str,
    help: &'static str,
    unit: Unit,
    refusal: Refusal,
    built_in: u64,
    allowed: RangeInclusive<u64>,
}

macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $limit:ident $name:literal $unit:ident $refusal:ident = $built_in:expr, $allowed:expr;)+) => {
        /// A limit of a server.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Limit {
            $($(#[doc = $doc])+ $limit,)+
        }

        impl Limit {
            /// All limits, in the order of the table.
            pub const ALL: &[Limit] = &[$(Limit::$limit,)+];
        }

        const COUNT: usize = Limit::ALL.len();

        const TABLE: [Row; COUNT] = [
            $(Row {
                name: $name,
                help: concat!($($doc),+),
                unit: Unit::$unit,
                refusal: Refusal::$refusal,
                built_in: $built_in,
                allowed: $allowed,
            },)+
        ];
    };
}

limits! {
    /// Links that a principal may have open at a time.
    Links "links" Count TooMany = 1_000, 1..=1_000_000;
    /// Messages of a principal; a burst may have as many at once.
    MessagesPerSecond "messages-per-second" PerSecond TooMany = 20_000, 1..=10_000_000;
    /// Bytes of a principal's requests that have not ended.
    BytesInFlight "bytes-in-flight" Bytes TooMany = 256 * MIB, 64 * KIB..=1 << 40;
    /// Actors of keyed mechtrons that a principal used first.
    Keys "keys" Count TooMany = 5_000, 1..=10_000_000;
    /// Rows in the answer of a database.
    SqlRows "sql-rows" Count TooLarge = 10_000, 1..=10_000_000;
    /// Bytes of the answer of a database.
    SqlResult "sql-result" Bytes TooLarge = 8 * MIB, KIB..=GIB;
    /// Bytes of a text, a byte string or a row of a database.
    SqlValue "sql-value" Bytes TooLarge = MIB, KIB..=GIB;
    /// Memory that SQLite takes for one message or migration.
    SqlMemory "sql-memory" Bytes TooLarge = 64 * MIB, MIB..=1 << 40;
    /// Time of the statements of one message.
    SqlTime "sql-time" Milliseconds TooSlow = 5_000, 10..=3_600_000;
    /// Messages that wait for one database.
    SqlWaiting "sql-waiting" Count Busy = 1_000, 1..=1_000_000;
    /// Statements of the databases of one space that run at a time; further ones wait.
    SqlAtOnce "sql-at-once" Count Busy = 16, 1..=512;
    /// Bytes of one database.
    DatabaseSize "database-size" Bytes Full = GIB, 64 * KIB..=1 << 45;
    /// Time of the migrations of one database when an app is made or upgraded.
    MigrationTime "migration-time" Milliseconds TooSlow = 60_000, 10..=86_400_000;
    /// Bytes of a line of the log; longer ones are cut.
    LogLine "log-line" Bytes TooLarge = KIB, 256..=64 * KIB;
    /// Log lines about one principal or one app; a burst may have twice as many at once. Others are suppressed and counted.
    LogRate "log-lines-per-second" PerSecond TooMany = 100, 1..=1_000_000;
    /// Bytes that a space may have on disk: what its bundles name, each file once, and its databases.
    SpaceStorage "space-storage" Bytes Full = 10 * 1_024 * MIB, MIB..=1 << 50;
    /// Bytes of files that a principal has uploaded and no bundle names yet.
    PendingUploads "pending-uploads" Bytes Full = 1_024 * MIB, MIB..=1 << 50;
    /// Bytes of the disk that stay free: below, nothing that apps and publishers keep is written.
    DiskReserve "disk-reserve" Bytes Full = 256 * MIB, 0..=1 << 50;
    /// How long an uploaded file that no bundle names is kept.
    UploadGrace "upload-grace" Milliseconds TooSlow = 24 * 3_600_000, 1_000..=366 * 24 * 3_600_000;
    /// Files that one request may ask for at `/blobs/missing`.
    MissingFiles "missing-files" Count TooLarge = 10_000, 1..=1_000_000;
    /// Bytes of the audit log; when it is longer, its oldest quarter is deleted.
    AuditLog "audit-log" Bytes Full = 16 * MIB, 64 * KIB..=1 << 40;
    /// Awake actors of one app; others of it wait until one of them sleeps.
    AwakePerApp "awake-per-app" Count Busy = 250, 1..=1_000_000;
    /// Awake actors of all apps of one space; others of it wait until one of them sleeps.
    AwakePerSpace "awake-per-space" Count Busy = 500, 1..=1_000_000;
    /// Actors of this server, those that sleep included.
    Actors "actors" Count TooMany = 20_000, 1..=10_000_000;
    /// Actors of one app, those that sleep included.
    ActorsPerApp "actors-per-app" Count TooMany = 10_000, 1..=10_000_000;
    /// Actors of all apps of one space, those that sleep included.
    ActorsPerSpace "actors-per-space" Count TooMany = 12_000, 1..=10_000_000;
    /// Wakes that one actor has asked for and that are to come.
    Timers "timers" Count TooMany = 1_024, 1..=1_000_000;
    /// Topics to which one actor is subscribed.
    Subscriptions "subscriptions" Count TooMany = 256, 1..=1_000_000;
    /// Requests that one actor has sent and whose outcomes it has not got.
    OpenRequests "open-requests" Count TooMany = 1_024, 1..=1_000_000;
    /// Bytes of messages that wait for one actor. One message may always wait.
    WaitingBytes "waiting-bytes" Bytes TooMany = 32 * MIB, 64 * KIB..=1 << 40;
    /// Bytes of messages that wait for all actors of one space.
    WaitingBytesPerSpace "waiting-bytes-per-space" Bytes TooMany = 256 * MIB, 64 * KIB..=1 << 40;
    /// A message weighs at most this part of its target's memory: 4 is a quarter.
    MessageMemoryPart "message-memory-part" Count TooLarge = 4, 1..=1_024;
    /// The longest time that a request may ask for.
    RequestTime "request-time" Milliseconds TooSlow = 3_600_000, 1_000..=4_000_000_000;
    /// How long an actor may take over a one-way message or an event.
    OneWayTime "one-way-time" Milliseconds TooSlow = 60_000, 1_000..=86_400_000;
    /// How long an actor may hold a message whose time has passed; then it starts again from its last state.
    OverdueTime "overdue-time" Milliseconds TooSlow = 5_000, 100..=3_600_000;
    /// How long an actor that crashed too often is put aside.
    QuarantineTime "quarantine-time" Milliseconds Busy = 300_000, 1_000..=86_400_000;
    /// Threads that guests of one space may have at a time, in percent of all that run guests, rounded up.
    SpaceCpuPercent "space-cpu-percent" Count TooMany = 75, 1..=100;
    /// Memory of a process that compiles a module.
    CompileMemory "compile-memory" Bytes TooLarge = 1_024 * MIB, 256 * MIB..=1 << 40;
    /// Processor time of a process that compiles a module, rounded up to seconds.
    CompileTime "compile-time" Milliseconds TooSlow = 30_000, 1_000..=3_600_000;
    /// Modules that are compiled at a time, each of another space.
    CompileProcesses "compile-processes" Count Busy = 2, 1..=256;
    /// Modules of a space that wait to be compiled.
    CompilesWaiting "compiles-waiting" Count Busy = 64, 1..=100_000;
    /// Compiled modules on disk; the least recently used are removed.
    CompiledBytes "compiled-bytes" Bytes Full = 1_024 * MIB, 0..=1 << 50;
    /// Bytes of a function's body in a module.
    FunctionBytes "function-bytes" Bytes TooLarge = 256 * KIB, 4 * KIB..=8 * MIB;
    /// Parameters and variables of a function in a module.
    FunctionLocals "function-locals" Count TooLarge = 10_000, 256..=50_000;
    /// Blocks and branch targets of a function in a module.
    FunctionBranches "function-branches" Count TooLarge = 16_384, 256..=10_000_000;
    /// Loops within each other in a function of a module.
    FunctionLoopDepth "function-loop-depth" Count TooLarge = 64, 8..=50_000;
    /// Values that a function in a module moves at its calls and branches, and variables times loops.
    FunctionMoves "function-moves" Count TooLarge = 1_000_000, 10_000..=1_000_000_000;
    /// Connections that are open at a time; fewer where the system allows fewer open files.
    Connections "connections" Count Busy = 10_000, 16..=1_000_000;
    /// Connections from one address, or from one network /64 of IPv6; not counted behind a proxy.
    ConnectionsPerAddress "connections-per-address" Count TooMany = 1_024, 1..=1_000_000;
    /// Time for the first byte of a connection, for a TLS handshake, and for the head of a request from its first byte on.
    HeadTime "head-time" Milliseconds TooSlow = 5_000, 100..=600_000;
    /// Time for which a connection may rest between two requests.
    IdleTime "idle-time" Milliseconds TooSlow = 75_000, 1_000..=3_600_000;
    /// Time in which something more of a request's body has to come.
    BodyTime "body-time" Milliseconds TooSlow = 30_000, 100..=3_600_000;
    /// Time in which something more of an answer has to be taken.
    WriteTime "write-time" Milliseconds TooSlow = 60_000, 100..=3_600_000;
    /// Bytes of a body or an answer that a client has to send or take, on average over body-time or write-time.
    MinimumRate "minimum-rate" PerSecond TooSlow = KIB, 0..=MIB;
    /// Header lines of a request.
    Headers "headers" Count TooLarge = 128, 16..=1_000;
    /// Bytes of a request's first line and header lines.
    HeadBytes "head-bytes" Bytes TooLarge = 64 * KIB, 8 * KIB..=MIB;
    /// Bytes of a message over HTTP.
    MessageBody "message-body" Bytes TooLarge = 16 * MIB, KIB..=GIB;
    /// Bytes of a blob that is uploaded.
    BlobBody "blob-body" Bytes TooLarge = 64 * MIB, KIB..=GIB;
    /// Bytes of a manifest, or of a list of digests, that is uploaded.
    ManifestBody "manifest-body" Bytes TooLarge = starlane_bundle::MAX_MANIFEST as u64, KIB..=starlane_bundle::MAX_MANIFEST as u64;
    /// Bytes of request bodies in memory.
    Bodies "bodies" Bytes Busy = 256 * MIB, MIB..=1 << 40;
    /// Bytes of one client's request bodies in memory.
    BodiesPerClient "bodies-per-client" Bytes TooMany = 96 * MIB, MIB..=1 << 40;
    /// Memory of one actor that a mechtron's config may ask for.
    MechtronMemory "mechtron-memory" Bytes TooLarge = 256 * MIB, 64 * KIB..=4_096 * MIB;
    /// Compute time of one call that a mechtron's config may ask for.
    MechtronCall "mechtron-call" Milliseconds TooLarge = 10_000, 1..=3_600_000;
    /// Unfinished messages of one actor that a mechtron's config may ask for.
    MechtronConcurrency "mechtron-concurrency" Count TooLarge = 1_024, 1..=65_536;
    /// Waiting messages of one actor that a mechtron's config may ask for.
    MechtronMailbox "mechtron-mailbox" Count TooLarge = 16_384, 1..=1_048_576;
    /// Crashes of one actor that a mechtron's config may ask to bear.
    MechtronRestarts "mechtron-restarts" Count TooLarge = 100, 0..=1_000;
    /// Time in which a mechtron's config may ask to count crashes.
    MechtronRestartTime "mechtron-restart-time" Milliseconds TooLarge = 3_600_000, 1..=86_400_000;
    /// Bytes of state that are kept of one actor.
    StateBytes "state-bytes" Bytes Full = 4 * MIB, KIB..=256 * MIB;
    /// Bytes of state that are kept of all actors of an app.
    StateBytesPerApp "state-bytes-per-app" Bytes Full = 256 * MIB, KIB..=1 << 40;
}

impl Limit {
    fn row(self) -> &'static Row {
        // The table has a row for each limit, in the same order.
        #[allow(clippy::indexing_slicing, reason = "the macro makes both from one list")]
        &TABLE[self as usize]
    }

    /// Its name in settings and metrics: `links`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it bounds, as a sentence.
    pub fn help(self) -> &'static str {
        self.row().help.trim()
    }

    /// What its number counts.
    pub fn unit(self) -> Unit {
        self.row().unit
    }

    /// The limit that has a name, if one has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.name() == name)
    }
}

/// A value that a limit cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the limit `{name}` is {given}; it must be from {min} to {max}")]
pub struct LimitError {
    name: &'static str,
    given: String,
    min: String,
    max: String,
}

/// The values of all limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits([u64; COUNT]);

impl Default for Limits {
    fn default() -> Self {
        Self(TABLE.map(|row| row.built_in))
    }
}

impl Limits {
    /// The value of a limit, in its unit.
    pub fn get(&self, limit: Limit) -> u64 {
        self.0.get(limit as usize).copied().unwrap_or_default()
    }

    /// Sets a limit, in its unit. Errors when the value is out of the range that makes sense.
    pub fn set(&mut self, limit: Limit, value: u64) -> Result<(), LimitError> {
        let row = limit.row();
        if !row.allowed.contains(&value) {
            let text = |value: u64| Amount(value, row.unit).to_string();
            let (min, max) = (text(*row.allowed.start()), text(*row.allowed.end()));
            return Err(LimitError { name: row.name, given: text(value), min, max });
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

    /// What the store of actors' state enforces.
    pub(crate) fn state(&self) -> StateLimits {
        StateLimits { actor_bytes: self.get(Limit::StateBytes), app_bytes: self.get(Limit::StateBytesPerApp) }
    }

    /// What the node enforces for each principal.
    pub(crate) fn principal(&self) -> PrincipalLimits {
        PrincipalLimits {
            links: self.count(Limit::Links),
            messages_per_second: u32::try_from(self.get(Limit::MessagesPerSecond)).unwrap_or(u32::MAX),
            bytes_in_flight: self.count(Limit::BytesInFlight),
            keys: self.count(Limit::Keys),
        }
    }

    /// What the node enforces for actors.
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

/// A number with its unit, for people.
struct Amount(u64, Unit);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, unit) = *self;
        match unit {
            Unit::Count => write!(f, "{value}"),
            Unit::PerSecond => write!(f, "{value} per second"),
            Unit::Milliseconds if value >= 1_000 && value % 1_000 == 0 => write!(f, "{} s", value / 1_000),
            Unit::Milliseconds => write!(f, "{value} ms"),
            Unit::Bytes => match value {
                value if value >= MIB && value % MIB == 0 => write!(f, "{} MiB", value / MIB),
                value if value >= KIB && value % KIB == 0 => write!(f, "{} KiB", value / KIB),
                value => write!(f, "{value} bytes"),
            },
        }
    }
}

/// The limits of a running server, and how often each refused something. Shared by all of its parts.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    refused: [AtomicU64; COUNT],
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, refused: std::array::from_fn(|_| AtomicU64::new(0)) })
    }

    /// The values of all limits.
    pub(crate) fn limits(&self) -> &Limits {
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

    /// Counts a refusal and words it. `what` says what exceeds the limit, as a clause: `the body is 17 MiB`.
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

    /// Counts a refusal that is worded elsewhere.
    pub(crate) fn note(&self, limit: Limit) {
        if let Some(count) = self.refused.get(limit as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Every limit with its value and how often it refused something.
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

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        let mut limits = Limits::default();
        let error = limits.set(Limit::BytesInFlight, 1).unwrap_err().to_string();
        assert_eq!(error, "the limit `bytes-in-flight` is 1 bytes; it must be from 64 KiB to 1048576 MiB");
        limits.set(Limit::Links, 7).unwrap();
        assert_eq!((limits.get(Limit::Links), limits.principal().links), (7, 7));
    }

    #[test]
    fn a_refusal_names_its_limit_and_is_counted() {
        let limiter = Limiter::new(Limits::default());
        let failure = limiter.refuse(Limit::Links, "1001 links are open");
        assert_eq!((failure.status, failure.code.as_str()), (429, "too-many"));
        assert_eq!(failure.message, "1001 links are open; the limit `links` is 1000");
        let (_, value, refused) = limiter.entries().find(|(limit, ..)| *limit == Limit::Links).unwrap();
        assert_eq!((value, refused), (1_000, 1));
    }
}
