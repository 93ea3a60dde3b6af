//! Connections to a database file: their settings, their limits, and the meaning of SQLite's errors.

use std::{path::Path, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig, hooks::AuthContext, limits::Limit as Bound};
use starlane_protocol::Failure;

use super::{
    authorizer, functions,
    memory::Budget,
    watch::{Role, Watch},
};
use crate::limits::{Limit, Limiter};

/// The interval between two checks of the deadline, in instructions of SQLite's virtual machine.
const LOOK: i32 = 500;
/// The maximum time that a statement waits for a lock, such as that of a backup.
const BUSY: Duration = Duration::from_secs(5);
/// The page cache of a read connection, in KiB.
const READER_CACHE: i64 = 512;
/// The size of a write-ahead log after a checkpoint, in bytes.
const LOG: i64 = 64 << 20;

/// A connection with callbacks that know its role and deadline.
pub(super) struct Guarded {
    pub(super) connection: Connection,
    pub(super) watch: Arc<Watch>,
    pub(super) limiter: Arc<Limiter>,
}

impl Guarded {
    /// The write connection. Creates `file` if it does not exist.
    pub(super) fn writer(file: &Path, limiter: &Arc<Limiter>) -> rusqlite::Result<Self> {
        let guarded = Self::open(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, limiter)?;
        guarded.connection.pragma_update(None, "journal_mode", "WAL")?;
        guarded.connection.pragma_update(None, "synchronous", "FULL")?;
        guarded.connection.pragma_update(None, "foreign_keys", "ON")?;
        guarded.connection.pragma_update(None, "journal_size_limit", LOG)?;
        guarded.bound_size("main")?;
        Ok(guarded)
    }

    /// A read connection.
    pub(super) fn reader(file: &Path, limiter: &Arc<Limiter>) -> rusqlite::Result<Self> {
        let guarded = Self::open(file, OpenFlags::SQLITE_OPEN_READ_ONLY, limiter)?;
        guarded.connection.pragma_update(None, "query_only", "ON")?;
        guarded.connection.pragma_update(None, "cache_size", -READER_CACHE)?;
        Ok(guarded)
    }

    /// A connection to a file that is not shared, for a migration.
    pub(super) fn alone(file: &Path, limiter: &Arc<Limiter>) -> rusqlite::Result<Self> {
        Self::open(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE, limiter)
    }

    fn open(file: &Path, flags: OpenFlags, limiter: &Arc<Limiter>) -> rusqlite::Result<Self> {
        let connection = super::open_file(file, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        let watch = Arc::new(Watch::new(limiter.count(Limit::SqlValue)));
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        let value = i32::try_from(limiter.get(Limit::SqlValue)).unwrap_or(i32::MAX);
        for (bound, most) in [
            (Bound::SQLITE_LIMIT_ATTACHED, 0),
            (Bound::SQLITE_LIMIT_COLUMN, 1_000),
            (Bound::SQLITE_LIMIT_EXPR_DEPTH, 500),
            (Bound::SQLITE_LIMIT_FUNCTION_ARG, 127),
            (Bound::SQLITE_LIMIT_LENGTH, value),
            (Bound::SQLITE_LIMIT_SQL_LENGTH, 1_000_000),
            (Bound::SQLITE_LIMIT_TRIGGER_DEPTH, 32),
            (Bound::SQLITE_LIMIT_VDBE_OP, 20_000),
            (Bound::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            connection.set_limit(bound, most)?;
        }
        functions::install(&connection, &watch)?;
        let asked = Arc::clone(&watch);
        connection.authorizer(Some(move |context: AuthContext<'_>| authorizer::authorize(&asked, &context)))?;
        let asked = Arc::clone(&watch);
        connection.progress_handler(LOOK, Some(move || asked.is_over()))?;
        Ok(Self { connection, watch, limiter: Arc::clone(limiter) })
    }

    /// Limits the size of the database file.
    pub(super) fn bound_size(&self, schema: &str) -> rusqlite::Result<()> {
        let number = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let page = number(&format!("PRAGMA {schema}.page_size"))?.max(1).unsigned_abs();
        let pages = self.limiter.get(Limit::DatabaseSize).div_ceil(page).min(u64::from(u32::MAX) - 1);
        number(&format!("PRAGMA {schema}.max_page_count = {pages}")).map(drop)
    }

    /// Runs work in a role, with a deadline and a memory limit.
    pub(super) fn within<T>(&self, role: Role, time: Duration, work: impl FnOnce(&Self) -> T) -> T {
        self.watch.take_refusal();
        self.watch.end_after(Some(time));
        self.watch.act_as(role);
        let _budget = Budget::of(self.limiter.get(Limit::SqlMemory));
        let done = work(self);
        self.watch.act_as(Role::Own);
        self.watch.end_after(None);
        done
    }

    /// Runs the server's own work between the statements of a message.
    pub(super) fn own<T>(&self, work: impl FnOnce(&Connection) -> T) -> T {
        let role = self.watch.role();
        self.watch.act_as(Role::Own);
        let done = work(&self.connection);
        self.watch.act_as(role);
        done
    }

    /// An error of SQLite as a failure, with SQLite's own text where that is clear.
    pub(super) fn told(&self, error: &rusqlite::Error) -> Failure {
        let message = error.to_string();
        if let Some(reason) = self.watch.take_refusal() {
            // A write in `query` is a mistake of the caller, not a missing permission.
            let wrong = self.watch.role() == Role::Read && reason.contains("`execute`");
            return if wrong { Failure::malformed(reason) } else { Failure::no_grant(reason) };
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Failure::conflict(message),
            Some(ErrorCode::OperationInterrupted) => self.limiter.refuse(
                if self.watch.role() == Role::Migrate { Limit::MigrationTime } else { Limit::SqlTime },
                "the SQL took too long; add an index, or select less",
            ),
            Some(ErrorCode::AuthorizationForStatementDenied) => Failure::no_grant(message),
            Some(ErrorCode::TooBig) => {
                self.limiter.refuse(Limit::SqlValue, format!("a value, a row or the SQL is too long ({message})"))
            }
            Some(ErrorCode::OutOfMemory) => self.limiter.refuse(
                Limit::SqlMemory,
                "the statement needs too much memory, or is too large; select less, or read it in parts",
            ),
            Some(ErrorCode::DiskFull) => {
                self.limiter.refuse(Limit::DatabaseSize, "the database or its disk is full; delete data")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::conflict(message),
            Some(ErrorCode::ReadOnly) => {
                Failure::malformed("`query` only reads: send a statement that writes with the operation `execute`")
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::SystemIoFailure | ErrorCode::NotADatabase) => {
                Failure::internal(message)
            }
            _ => Failure::malformed(message),
        }
    }
}
