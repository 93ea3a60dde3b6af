//! The table of limits: for each its name, what it counts, how it refuses, its default and its range, from which settings, metrics
//! and refusals are made.

use std::ops::RangeInclusive;

use starlane_abi::limits as module;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
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
pub(in crate::limits) enum Refusal {
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
pub(super) struct Row {
    pub(super) name: &'static str,
    help: &'static str,
    pub(super) unit: Unit,
    pub(super) refusal: Refusal,
    pub(super) built_in: u64,
    pub(super) allowed: RangeInclusive<u64>,
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

        pub(super) const COUNT: usize = Limit::ALL.len();

        pub(super) const TABLE: [Row; COUNT] = [
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
    /// Bytes that a space may have on disk: what its bundles name, each file once, their manifests, its apps with their databases,
    /// and the state of its actors. A file counts 4 KiB at least.
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
    FunctionBytes "function-bytes" Bytes TooLarge = module::FUNCTION_BYTES, 4 * KIB..=8 * MIB;
    /// Parameters and variables of a function in a module.
    FunctionLocals "function-locals" Count TooLarge = module::FUNCTION_LOCALS, 256..=50_000;
    /// Blocks and branch targets of a function in a module.
    FunctionBranches "function-branches" Count TooLarge = module::FUNCTION_BRANCHES, 256..=10_000_000;
    /// Loops within each other in a function of a module.
    FunctionLoopDepth "function-loop-depth" Count TooLarge = module::FUNCTION_LOOP_DEPTH, 8..=50_000;
    /// Values that a function in a module moves at its calls and branches, and variables times loops.
    FunctionMoves "function-moves" Count TooLarge = module::FUNCTION_MOVES, 10_000..=1_000_000_000;
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
    /// Bytes of a message to a resource of the server itself, such as `starlane:apps`, or to a bundle.
    OwnBody "own-body" Bytes TooLarge = 64 * KIB, 4 * KIB..=16 * MIB;
    /// Bytes of a blob that is uploaded.
    BlobBody "blob-body" Bytes TooLarge = 64 * MIB, KIB..=GIB;
    /// Bytes of a manifest, or of a list of digests, that is uploaded.
    ManifestBody "manifest-body" Bytes TooLarge = starlane_bundle::MAX_MANIFEST as u64, KIB..=starlane_bundle::MAX_MANIFEST as u64;
    /// Bytes of request bodies in memory.
    Bodies "bodies" Bytes Busy = 256 * MIB, MIB..=1 << 40;
    /// Bytes of one client's request bodies in memory.
    BodiesPerClient "bodies-per-client" Bytes TooMany = 96 * MIB, MIB..=1 << 40;
    /// Memory for files of at most 64 KiB that are asked for often; others are read from the disk each time.
    FileMemory "file-memory" Bytes Busy = 32 * MIB, 0..=1 << 40;
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
    pub(super) fn row(self) -> &'static Row {
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
