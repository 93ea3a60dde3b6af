//! The table of limits: name, unit, kind of refusal, default and range of each limit. Settings, metrics and refusals are made
//! from it.

use std::ops::RangeInclusive;

use starlane_abi::limits as module;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The unit of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A number.
    Count,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// A number per second.
    PerSecond,
}

/// The answer to a request that exceeds a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::limits) enum Refusal {
    /// 413 `too-large`: the same request never succeeds.
    TooLarge,
    /// 429 `too-many`: the client uses more than its share.
    TooMany,
    /// 408 `too-slow`: the client or its work takes too long.
    TooSlow,
    /// 503 `busy`: the server has no capacity at the moment.
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
    /// Open links of one principal.
    Links "links" Count TooMany = 1_000, 1..=1_000_000;
    /// Messages of one principal per second. A burst can contain as many at once.
    MessagesPerSecond "messages-per-second" PerSecond TooMany = 20_000, 1..=10_000_000;
    /// Bytes of one principal's unanswered requests.
    BytesInFlight "bytes-in-flight" Bytes TooMany = 256 * MIB, 64 * KIB..=1 << 40;
    /// Actors of keyed mechtrons that one principal was the first to use.
    Keys "keys" Count TooMany = 5_000, 1..=10_000_000;
    /// Rows in a database result.
    SqlRows "sql-rows" Count TooLarge = 10_000, 1..=10_000_000;
    /// Bytes of a database result.
    SqlResult "sql-result" Bytes TooLarge = 8 * MIB, KIB..=GIB;
    /// Bytes of a text, a byte string or a row in a database.
    SqlValue "sql-value" Bytes TooLarge = MIB, KIB..=GIB;
    /// Memory that SQLite uses for one message or migration.
    SqlMemory "sql-memory" Bytes TooLarge = 64 * MIB, MIB..=1 << 40;
    /// Execution time of all statements of one message.
    SqlTime "sql-time" Milliseconds TooSlow = 5_000, 10..=3_600_000;
    /// Messages that are waiting for one database.
    SqlWaiting "sql-waiting" Count Busy = 1_000, 1..=1_000_000;
    /// Statements that run at the same time in all databases of one space. Further statements wait.
    SqlAtOnce "sql-at-once" Count Busy = 16, 1..=512;
    /// Bytes of one database.
    DatabaseSize "database-size" Bytes Full = GIB, 64 * KIB..=1 << 45;
    /// Execution time of the migrations of one database when an app is created or upgraded.
    MigrationTime "migration-time" Milliseconds TooSlow = 60_000, 10..=86_400_000;
    /// Bytes of a log line. Longer lines are cut.
    LogLine "log-line" Bytes TooLarge = KIB, 256..=64 * KIB;
    /// Log lines about one principal or one app per second. A burst can have twice as many. Others are suppressed and counted.
    LogRate "log-lines-per-second" PerSecond TooMany = 100, 1..=1_000_000;
    /// Bytes of a space on disk: the files of its bundles (each file once), their manifests, its apps with their databases,
    /// and the state of its actors. Each file counts at least 4 KiB.
    SpaceStorage "space-storage" Bytes Full = 10 * 1_024 * MIB, MIB..=1 << 50;
    /// Bytes of files that one principal has uploaded and that no bundle names yet.
    PendingUploads "pending-uploads" Bytes Full = 1_024 * MIB, MIB..=1 << 50;
    /// Free bytes that remain on the disk. With less free space, the server refuses writes of apps and publishers.
    DiskReserve "disk-reserve" Bytes Full = 256 * MIB, 0..=1 << 50;
    /// Time after which an uploaded file is deleted if no bundle names it.
    UploadGrace "upload-grace" Milliseconds TooSlow = 24 * 3_600_000, 1_000..=366 * 24 * 3_600_000;
    /// Files in one request to `/blobs/missing`.
    MissingFiles "missing-files" Count TooLarge = 10_000, 1..=1_000_000;
    /// Bytes of the audit log. Above the limit, the oldest quarter is deleted.
    AuditLog "audit-log" Bytes Full = 16 * MIB, 64 * KIB..=1 << 40;
    /// Awake actors of one app. Further actors wait until one of them sleeps.
    AwakePerApp "awake-per-app" Count Busy = 250, 1..=1_000_000;
    /// Awake actors of all apps of one space. Further actors wait until one of them sleeps.
    AwakePerSpace "awake-per-space" Count Busy = 500, 1..=1_000_000;
    /// Actors of this server, including sleeping actors.
    Actors "actors" Count TooMany = 20_000, 1..=10_000_000;
    /// Actors of one app, including sleeping actors.
    ActorsPerApp "actors-per-app" Count TooMany = 10_000, 1..=10_000_000;
    /// Actors of all apps of one space, including sleeping actors.
    ActorsPerSpace "actors-per-space" Count TooMany = 12_000, 1..=10_000_000;
    /// Pending wakes of one actor.
    Timers "timers" Count TooMany = 1_024, 1..=1_000_000;
    /// Topics that one actor subscribes to.
    Subscriptions "subscriptions" Count TooMany = 256, 1..=1_000_000;
    /// Unanswered requests of one actor.
    OpenRequests "open-requests" Count TooMany = 1_024, 1..=1_000_000;
    /// Bytes of messages that are waiting for one actor. One message can always wait.
    WaitingBytes "waiting-bytes" Bytes TooMany = 32 * MIB, 64 * KIB..=1 << 40;
    /// Bytes of messages that are waiting for all actors of one space.
    WaitingBytesPerSpace "waiting-bytes-per-space" Bytes TooMany = 256 * MIB, 64 * KIB..=1 << 40;
    /// Divisor for the maximum weight of a message: 4 allows a quarter of the target's memory.
    MessageMemoryPart "message-memory-part" Count TooLarge = 4, 1..=1_024;
    /// Maximum deadline of a request.
    RequestTime "request-time" Milliseconds TooSlow = 3_600_000, 1_000..=4_000_000_000;
    /// Time for one actor to handle a one-way message or an event.
    OneWayTime "one-way-time" Milliseconds TooSlow = 60_000, 1_000..=86_400_000;
    /// Time for which an actor can hold a message after its deadline. Then the actor restarts from its last state.
    OverdueTime "overdue-time" Milliseconds TooSlow = 5_000, 100..=3_600_000;
    /// Time for which an actor that crashed too often is quarantined.
    QuarantineTime "quarantine-time" Milliseconds Busy = 300_000, 1_000..=86_400_000;
    /// Threads for the guests of one space, in percent of all guest threads, rounded up.
    SpaceCpuPercent "space-cpu-percent" Count TooMany = 75, 1..=100;
    /// Memory of a process that compiles a module.
    CompileMemory "compile-memory" Bytes TooLarge = 1_024 * MIB, 256 * MIB..=1 << 40;
    /// Processor time of a process that compiles a module, rounded up to seconds.
    CompileTime "compile-time" Milliseconds TooSlow = 30_000, 1_000..=3_600_000;
    /// Modules that are compiled at the same time, each of a different space.
    CompileProcesses "compile-processes" Count Busy = 2, 1..=256;
    /// Modules of one space that are waiting for compilation.
    CompilesWaiting "compiles-waiting" Count Busy = 64, 1..=100_000;
    /// Bytes of compiled modules on disk. Above the limit, the least recently used are removed.
    CompiledBytes "compiled-bytes" Bytes Full = 1_024 * MIB, 0..=1 << 50;
    /// Bytes of one function's body in a module.
    FunctionBytes "function-bytes" Bytes TooLarge = module::FUNCTION_BYTES, 4 * KIB..=8 * MIB;
    /// Parameters and variables of one function in a module.
    FunctionLocals "function-locals" Count TooLarge = module::FUNCTION_LOCALS, 256..=50_000;
    /// Blocks and branch targets of one function in a module.
    FunctionBranches "function-branches" Count TooLarge = module::FUNCTION_BRANCHES, 256..=10_000_000;
    /// Depth of nested loops in one function of a module.
    FunctionLoopDepth "function-loop-depth" Count TooLarge = module::FUNCTION_LOOP_DEPTH, 8..=50_000;
    /// Values that one function in a module moves at calls and branches, plus its variables times its loops.
    FunctionMoves "function-moves" Count TooLarge = module::FUNCTION_MOVES, 10_000..=1_000_000_000;
    /// Open connections. The maximum is lower where the system allows fewer open files.
    Connections "connections" Count Busy = 10_000, 16..=1_000_000;
    /// Open connections from one address, or from one IPv6 network /64. Not counted behind a proxy.
    ConnectionsPerAddress "connections-per-address" Count TooMany = 1_024, 1..=1_000_000;
    /// Time for the first byte of a connection, for a TLS handshake, and for the header lines of a request from its first byte.
    HeadTime "head-time" Milliseconds TooSlow = 5_000, 100..=600_000;
    /// Time for which a connection can be idle between two requests.
    IdleTime "idle-time" Milliseconds TooSlow = 75_000, 1_000..=3_600_000;
    /// Time until the next bytes of a request's body must arrive.
    BodyTime "body-time" Milliseconds TooSlow = 30_000, 100..=3_600_000;
    /// Time until the client must read the next bytes of an answer.
    WriteTime "write-time" Milliseconds TooSlow = 60_000, 100..=3_600_000;
    /// Minimum rate at which a client sends a body or reads an answer, in bytes per second over body-time or write-time.
    MinimumRate "minimum-rate" PerSecond TooSlow = KIB, 0..=MIB;
    /// Header lines of one request.
    Headers "headers" Count TooLarge = 128, 16..=1_000;
    /// Bytes of a request's first line and header lines.
    HeadBytes "head-bytes" Bytes TooLarge = 64 * KIB, 8 * KIB..=MIB;
    /// Bytes of a message over HTTP.
    MessageBody "message-body" Bytes TooLarge = 16 * MIB, KIB..=GIB;
    /// Bytes of a message to one of the server's own resources, such as `starlane:apps`, or to a bundle.
    OwnBody "own-body" Bytes TooLarge = 64 * KIB, 4 * KIB..=16 * MIB;
    /// Bytes of an uploaded blob.
    BlobBody "blob-body" Bytes TooLarge = 64 * MIB, KIB..=GIB;
    /// Bytes of an uploaded manifest or list of digests.
    ManifestBody "manifest-body" Bytes TooLarge = starlane_bundle::MAX_MANIFEST as u64, KIB..=starlane_bundle::MAX_MANIFEST as u64;
    /// Bytes of request bodies in memory.
    Bodies "bodies" Bytes Busy = 256 * MIB, MIB..=1 << 40;
    /// Bytes of one client's request bodies in memory.
    BodiesPerClient "bodies-per-client" Bytes TooMany = 96 * MIB, MIB..=1 << 40;
    /// Memory for frequently requested files of up to 64 KiB. Other files are read from the disk each time.
    FileMemory "file-memory" Bytes Busy = 32 * MIB, 0..=1 << 40;
    /// Memory of one actor that a mechtron's config can request.
    MechtronMemory "mechtron-memory" Bytes TooLarge = 256 * MIB, 64 * KIB..=4_096 * MIB;
    /// Compute time of one call that a mechtron's config can request.
    MechtronCall "mechtron-call" Milliseconds TooLarge = 10_000, 1..=3_600_000;
    /// Unfinished messages of one actor that a mechtron's config can request.
    MechtronConcurrency "mechtron-concurrency" Count TooLarge = 1_024, 1..=65_536;
    /// Waiting messages of one actor that a mechtron's config can request.
    MechtronMailbox "mechtron-mailbox" Count TooLarge = 16_384, 1..=1_048_576;
    /// Tolerated crashes of one actor that a mechtron's config can request.
    MechtronRestarts "mechtron-restarts" Count TooLarge = 100, 0..=1_000;
    /// Time window for counting crashes that a mechtron's config can request.
    MechtronRestartTime "mechtron-restart-time" Milliseconds TooLarge = 3_600_000, 1..=86_400_000;
    /// Bytes of saved state of one actor.
    StateBytes "state-bytes" Bytes Full = 4 * MIB, KIB..=256 * MIB;
    /// Bytes of saved state of all actors of one app.
    StateBytesPerApp "state-bytes-per-app" Bytes Full = 256 * MIB, KIB..=1 << 40;
}

impl Limit {
    pub(super) fn row(self) -> &'static Row {
        // The macro makes one row for each limit, in the same order.
        #[allow(clippy::indexing_slicing, reason = "the macro makes both from one list")]
        &TABLE[self as usize]
    }

    /// Its name in settings and metrics: `links`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// A description of the limited quantity.
    pub fn help(self) -> &'static str {
        self.row().help.trim()
    }

    /// What its number counts.
    pub fn unit(self) -> Unit {
        self.row().unit
    }

    /// The limit with this name, if there is one.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.name() == name)
    }
}
