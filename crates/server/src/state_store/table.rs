//! The tables of `state.sqlite`, and their operations within one transaction.

use std::{
    collections::HashMap,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use starlane_bundle::Hasher;
use starlane_host::ports::{StateError, StateLimits};
use starlane_node::{
    guest::Saved,
    state::{ActorState, KnownActor, Owned},
};
use starlane_protocol::{Address, Topic};

use crate::{
    disk,
    limits::{Limit, Limiter},
    storage::Storage,
};

/// The version of the tables, stored in the file.
const VERSION: i64 = 1;
/// `data` is the last column, so that the other columns can be read without it.
const TABLES: &str = "
    CREATE TABLE owners (app TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE actors (
        address TEXT PRIMARY KEY, app TEXT NOT NULL, epoch INTEGER NOT NULL, made_for TEXT NOT NULL,
        digest TEXT NOT NULL, updated INTEGER NOT NULL, bytes INTEGER NOT NULL,
        subscriptions TEXT NOT NULL, wakes TEXT NOT NULL, format INTEGER, data BLOB
    ) STRICT;
    CREATE INDEX actors_of ON actors (app, bytes);
    PRAGMA user_version = 1;
";

pub(super) struct Table {
    connection: Connection,
    limits: StateLimits,
    limiter: Arc<Limiter>,
    storage: Storage,
    /// The bytes of the apps with writes. They are forgotten when a transaction is rolled back.
    sums: HashMap<Address, u64>,
}

impl Table {
    pub(super) fn open(
        file: &Path,
        limits: StateLimits,
        limiter: &Arc<Limiter>,
        storage: &Storage,
    ) -> Result<Self, String> {
        let told = |error: rusqlite::Error| format!("{}: {error}", file.display());
        if !file.exists() {
            disk::make_private(file).map_err(|error| format!("{}: {error}", file.display()))?;
        }
        let connection = crate::database::open_file(file, rusqlite::OpenFlags::default()).map_err(told)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(told)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(told)?;
        connection.pragma_update(None, "trusted_schema", "OFF").map_err(told)?;
        connection.set_prepared_statement_cache_capacity(32);
        let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(told)?;
        match version {
            0 => connection.execute_batch(&format!("BEGIN; {TABLES} COMMIT")).map_err(told)?,
            VERSION => {}
            other => {
                return Err(format!(
                    "{} has version {other}; this server reads version {VERSION}: run the newer server that wrote it",
                    file.display()
                ));
            }
        }
        let (limiter, storage) = (Arc::clone(limiter), storage.clone());
        let table = Self { connection, limits, limiter, storage, sums: HashMap::new() };
        table.count_all().map_err(told)?;
        Ok(table)
    }

    /// Counts the bytes of each space.
    fn count_all(&self) -> rusqlite::Result<()> {
        let sql = "SELECT app, sum(bytes) FROM actors GROUP BY app";
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut of_spaces: HashMap<String, u64> = HashMap::new();
        for row in statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1).map(unsigned)?)))? {
            let (app, bytes) = row?;
            *of_spaces.entry(space_of(&app).to_owned()).or_default() += bytes;
        }
        self.storage.count_state(of_spaces);
        Ok(())
    }

    pub(super) fn begin(&mut self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
    }

    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        self.connection.prepare_cached("COMMIT")?.execute([]).map(drop)
    }

    pub(super) fn roll_back(&mut self) {
        self.sums.clear();
        // SQLite itself can have ended the transaction.
        if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        if let Err(error) = self.count_all() {
            tracing::error!(
                %error,
                "cannot count the bytes in state.sqlite: the storage quotas of spaces may be wrong until a restart"
            );
        }
    }

    pub(super) fn take(&mut self, app: &Address) -> rusqlite::Result<Owned> {
        let epoch = self.next_epoch(app)?;
        let sql = "SELECT address, made_for, subscriptions, wakes, format IS NOT NULL, updated FROM actors WHERE app = ?1 \
                   ORDER BY address";
        let mut statement = self.connection.prepare_cached(sql)?;
        let actors = statement.query_map([app.as_str()], known)?.collect::<rusqlite::Result<_>>()?;
        Ok(Owned { epoch, actors })
    }

    pub(super) fn load(&self, app: &Address, actor: &Address) -> rusqlite::Result<Option<Saved>> {
        let sql = "SELECT format, data FROM actors WHERE address = ?1 AND app = ?2 AND format IS NOT NULL";
        let mut statement = self.connection.prepare_cached(sql)?;
        let saved = |row: &Row<'_>| {
            let data: Vec<u8> = row.get(1)?;
            Ok(Saved { format: row.get(0)?, data: data.into() })
        };
        statement.query_row([actor.as_str(), app.as_str()], saved).optional()
    }

    /// Stores a state. Returns whether it differs from the stored one.
    pub(super) fn save(
        &mut self,
        app: &Address,
        epoch: u64,
        state: &ActorState,
    ) -> rusqlite::Result<Result<bool, StateError>> {
        if self.epoch(app)? != Some(epoch) {
            return Ok(Err(StateError::Fenced));
        }
        let address = state.address.as_str();
        let sql = "SELECT digest, bytes FROM actors WHERE address = ?1";
        let before: Option<(String, i64)> = self
            .connection
            .prepare_cached(sql)?
            .query_row([address], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let own = before.as_ref().map_or(0, |(_, bytes)| unsigned(*bytes));
        let others = self.sum(app)?.saturating_sub(own);
        if state.is_empty() {
            if before.is_some() {
                self.connection.prepare_cached("DELETE FROM actors WHERE address = ?1")?.execute([address])?;
                self.counted(app, others, own, 0);
            }
            return Ok(Ok(before.is_some()));
        }
        let subscriptions = json(&state.subscriptions.iter().map(Topic::to_string).collect::<Vec<_>>())?;
        let wakes = json(&state.wakes)?;
        let digest = digest(state, &subscriptions, &wakes);
        if before.is_some_and(|(before, _)| before == digest) {
            return Ok(Ok(false));
        }
        let bytes = StateLimits::weight(state);
        if let Err(refused) = self.limits.check(others, bytes) {
            let is_own = matches!(refused, StateError::TooLarge(_));
            self.limiter.note(if is_own { Limit::StateBytes } else { Limit::StateBytesPerApp });
            return Ok(Err(refused));
        }
        if bytes > own
            && let Err(full) = self.storage.admit(app.space(), bytes - own)
        {
            return Ok(Err(StateError::Full(full.message)));
        }
        let sql = "INSERT OR REPLACE INTO actors \
                   (address, app, epoch, made_for, digest, updated, bytes, subscriptions, wakes, format, data) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        self.connection.prepare_cached(sql)?.execute(params![
            address,
            app.as_str(),
            signed(epoch),
            state.made_for,
            digest,
            unix_ms(),
            signed(bytes),
            subscriptions,
            wakes,
            state.saved.as_ref().map(|saved| saved.format),
            state.saved.as_ref().map(|saved| saved.data.as_ref()),
        ])?;
        self.counted(app, others, own, bytes);
        Ok(Ok(true))
    }

    /// Updates the counts: one actor of an app now has `bytes` instead of `before`, and the app's other actors have
    /// `others`.
    fn counted(&mut self, app: &Address, others: u64, before: u64, bytes: u64) {
        self.sums.insert(app.clone(), others + bytes);
        self.storage.change_state(app.space(), before, bytes);
    }

    pub(super) fn forget(&mut self, app: &Address) -> rusqlite::Result<()> {
        if self.epoch(app)?.is_some() {
            self.next_epoch(app)?;
        }
        let bytes = self.sum(app)?;
        self.connection.prepare_cached("DELETE FROM actors WHERE app = ?1")?.execute([app.as_str()])?;
        self.sums.remove(app);
        self.storage.change_state(app.space(), bytes, 0);
        Ok(())
    }

    fn epoch(&self, app: &Address) -> rusqlite::Result<Option<u64>> {
        let sql = "SELECT epoch FROM owners WHERE app = ?1";
        self.connection.prepare_cached(sql)?.query_row([app.as_str()], |row| row.get(0).map(unsigned)).optional()
    }

    fn next_epoch(&self, app: &Address) -> rusqlite::Result<u64> {
        let sql = "INSERT INTO owners (app, epoch) VALUES (?1, 1) \
                   ON CONFLICT (app) DO UPDATE SET epoch = epoch + 1 RETURNING epoch";
        self.connection.prepare_cached(sql)?.query_row([app.as_str()], |row| row.get(0).map(unsigned))
    }

    fn sum(&self, app: &Address) -> rusqlite::Result<u64> {
        if let Some(sum) = self.sums.get(app) {
            return Ok(*sum);
        }
        let sql = "SELECT coalesce(sum(bytes), 0) FROM actors WHERE app = ?1";
        self.connection.prepare_cached(sql)?.query_row([app.as_str()], |row| row.get(0).map(unsigned))
    }
}

/// The space of an address.
fn space_of(address: &str) -> &str {
    address.split(':').next().unwrap_or_default()
}

fn known(row: &Row<'_>) -> rusqlite::Result<KnownActor> {
    let broken = |at: usize, error: String| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, error.into());
    let (address, topics, wakes): (String, String, String) = (row.get(0)?, row.get(2)?, row.get(3)?);
    let topics: Vec<String> = serde_json::from_str(&topics).map_err(|error| broken(2, error.to_string()))?;
    let topics = topics.iter().map(|topic| Topic::parse(topic).map_err(|error| broken(2, error.to_string())));
    Ok(KnownActor {
        address: Address::parse(&address).map_err(|error| broken(0, error.to_string()))?,
        made_for: row.get(1)?,
        has_state: row.get(4)?,
        saved_ago_ms: Some(unsigned(unix_ms().saturating_sub(row.get(5)?))),
        subscriptions: topics.collect::<rusqlite::Result<_>>()?,
        wakes: serde_json::from_str(&wakes).map_err(|error| broken(3, error.to_string()))?,
    })
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

/// The digest of a state. Each part is preceded by its length, so that the encoding is unambiguous.
fn digest(state: &ActorState, subscriptions: &str, wakes: &str) -> String {
    let mut hash = Hasher::new();
    let format = state.saved.as_ref().map(|saved| saved.format.to_le_bytes());
    let format = format.as_ref().map_or(&[][..], |format| &format[..]);
    let data = state.saved.as_ref().map_or(&[][..], |saved| &saved.data);
    for part in [format, data, state.made_for.as_bytes(), subscriptions.as_bytes(), wakes.as_bytes()] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finish().to_string()
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Converts a number to SQLite's type. Epochs, sizes and times are always far below the maximum.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
