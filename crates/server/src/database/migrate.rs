//! Migrations: SQL files of the bundle, applied in the order of their names, each once, all new ones in one transaction.

use std::{collections::BTreeMap, time::Duration};

use rusqlite::{Connection, fallible_iterator::FallibleIterator as _, limits::Limit as Bound};
use starlane_bundle::Digest;
use starlane_protocol::Failure;

use super::{authorizer::MIGRATIONS, connection::Guarded, watch::Role};
use crate::limits::Limit;

/// A migration of a bundle.
#[derive(Debug, Clone)]
pub(crate) struct Migration {
    /// Its file's path in the bundle.
    pub(crate) path: String,
    /// Its SQL, with the line ends of its author's machine.
    sql: String,
}

impl Migration {
    /// A migration with the bytes in the bundle.
    pub(crate) fn new(path: &str, sql: &str) -> Self {
        Self { path: path.to_owned(), sql: sql.strip_prefix('\u{feff}').unwrap_or(sql).to_owned() }
    }

    /// The recorded digest. It ignores line ends, because version control can change them.
    fn digest(&self) -> String {
        Digest::of(self.lines("\n").as_bytes()).to_string()
    }

    /// Whether a recorded digest belongs to this migration. Earlier versions recorded the digest of the unchanged
    /// bytes.
    fn is(&self, recorded: &str) -> bool {
        let marked = |text: &str| format!("\u{feff}{text}");
        let forms = ["\n", "\r\n", "\r"].map(|end| self.lines(end)).into_iter().chain([self.sql.clone()]);
        forms.flat_map(|form| [marked(&form), form]).any(|form| Digest::of(form.as_bytes()).to_string() == recorded)
    }

    fn lines(&self, end: &str) -> String {
        self.sql.replace("\r\n", "\n").replace('\r', "\n").replace('\n', end)
    }
}

/// The migrations that are not applied yet. Errors with 409 when one was changed after it was applied.
pub(super) fn pending(connection: &Connection, migrations: &[Migration]) -> Result<Vec<Migration>, Failure> {
    let applied = applied(connection)?;
    let mut pending = Vec::new();
    for migration in migrations {
        match applied.get(&migration.path) {
            Some(recorded) if migration.is(recorded) => {}
            Some(_) => {
                let message = format!(
                    "migration {} was changed after it was applied; restore it and add a new migration",
                    migration.path
                );
                return Err(Failure::conflict(message));
            }
            None => pending.push(migration.clone()),
        }
    }
    Ok(pending)
}

/// Errors with 409 when a new version does not contain an applied migration, because its schema would differ from the
/// database's.
pub(super) fn has_all(connection: &Connection, migrations: &[Migration]) -> Result<(), Failure> {
    let applied = applied(connection)?;
    let is_known = |path: &String| migrations.iter().any(|migration| migration.path == *path);
    let unknown: Vec<&str> = applied.keys().filter(|path| !is_known(path)).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let (count, shown) = (unknown.len(), unknown.iter().take(5).copied().collect::<Vec<_>>().join(", "));
    Err(Failure::conflict(format!(
        "this version does not contain {count} of the migrations applied to the database: {shown}; a migration cannot be undone: \
         publish a version that contains them, and add a new migration for each change"
    )))
}

/// The digests of the migrations that were applied, by their paths.
fn applied(connection: &Connection) -> Result<BTreeMap<String, String>, Failure> {
    let failed = |error: rusqlite::Error| Failure::internal(error.to_string());
    let recorded = format!("SELECT count(*) FROM main.sqlite_schema WHERE name = '{MIGRATIONS}'");
    if connection.query_row(&recorded, [], |row| row.get::<_, i64>(0)).map_err(failed)? == 0 {
        return Ok(BTreeMap::new());
    }
    let mut rows = connection.prepare(&format!("SELECT path, sha256 FROM main.{MIGRATIONS}")).map_err(failed)?;
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}

/// Applies migrations to a file that is not shared, within `time`. Foreign keys are off meanwhile, because rebuilding a table
/// requires it, and are checked at the end. After a failure the file cannot be used.
pub(super) fn apply(guarded: &Guarded, migrations: &[Migration], time: Duration) -> Result<(), Failure> {
    let connection = &guarded.connection;
    let failed = |error: rusqlite::Error| guarded.told(&error);
    // A whole migration file is one text for SQLite, and the initial rows of a table can be one statement.
    for (bound, most) in [(Bound::SQLITE_LIMIT_SQL_LENGTH, 16 << 20), (Bound::SQLITE_LIMIT_VDBE_OP, 1_000_000)] {
        connection.set_limit(bound, most).map_err(failed)?;
    }
    connection.pragma_update(None, "foreign_keys", "OFF").map_err(failed)?;
    guarded.bound_size("temp").map_err(failed)?;
    guarded.within(Role::Migrate, time, |guarded| {
        let own = |sql: &str| guarded.own(|connection| connection.execute_batch(sql)).map_err(failed);
        own("BEGIN EXCLUSIVE")?;
        own(&format!("CREATE TABLE IF NOT EXISTS main.{MIGRATIONS} (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL)"))?;
        for migration in migrations {
            let named = |failure: Failure| name(&failure, &migration.path);
            run(guarded, &migration.sql).map_err(named)?;
            let insert = format!("INSERT INTO main.{MIGRATIONS} (path, sha256) VALUES (?1, ?2)");
            let record =
                guarded.own(|connection| connection.execute(&insert, [migration.path.as_str(), &migration.digest()]));
            record.map_err(|error| named(guarded.told(&error)))?;
        }
        check_keys(guarded)?;
        own("COMMIT")
    })?;
    verify(connection)
}

/// A failure of a migration, with its file's name. A refusal of SQLite becomes a conflict (409); limits and errors of
/// the disk keep their own status.
fn name(failure: &Failure, path: &str) -> Failure {
    let message = format!("migration {path} failed: {}", failure.message);
    match failure.status {
        408 | 413 | 500 | 507 => Failure::new(failure.status, &failure.code, message),
        _ => Failure::conflict(message),
    }
}

fn run(guarded: &Guarded, sql: &str) -> Result<(), Failure> {
    let told = |error: rusqlite::Error| guarded.told(&error);
    let mut statements = rusqlite::Batch::new(&guarded.connection, sql);
    while let Some(mut statement) = statements.next().map_err(told)? {
        if statement.parameter_count() > 0 {
            return Err(Failure::conflict("a migration cannot use parameters: they would have no values"));
        }
        let mut rows = statement.raw_query();
        while rows.next().map_err(told)?.is_some() {}
        drop(rows);
        if guarded.connection.is_autocommit() {
            return Err(Failure::conflict("a statement ended the transaction of the migrations; remove it"));
        }
        if guarded.watch.is_over() {
            return Err(guarded.limiter.refuse(Limit::MigrationTime, "the migrations took too long"));
        }
    }
    Ok(())
}

/// Checks that every foreign key refers to an existing row.
fn check_keys(guarded: &Guarded) -> Result<(), Failure> {
    let told = |error: rusqlite::Error| match guarded.told(&error) {
        failure if failure.status == 408 => failure,
        failure => {
            Failure::conflict(format!("foreign keys cannot be checked after the migrations: {}", failure.message))
        }
    };
    guarded.own(|connection| {
        let mut check = connection.prepare("PRAGMA foreign_key_check").map_err(told)?;
        let mut rows = check.query([]).map_err(told)?;
        let Some(row) = rows.next().map_err(told)? else { return Ok(()) };
        let (table, parent) = (row.get::<_, String>(0).map_err(told)?, row.get::<_, String>(2).map_err(told)?);
        let row = row.get::<_, Option<i64>>(1).map_err(told)?.map_or("a row".to_owned(), |id| format!("row {id}"));
        Err(Failure::conflict(format!(
            "after the migrations, {row} of table {table} refers to a row of table {parent} that does not exist; \
             correct or delete it in the migration"
        )))
    })
}

/// Checks that the migrations did not change the settings of the connection.
fn verify(connection: &Connection) -> Result<(), Failure> {
    let failed = |error: rusqlite::Error| Failure::internal(error.to_string());
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(failed);
    let journal: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).map_err(failed)?;
    let attached = number("SELECT count(*) FROM pragma_database_list WHERE name NOT IN ('main', 'temp')")?;
    let sound = connection.is_autocommit()
        && journal == "delete"
        && attached == 0
        && number("PRAGMA writable_schema")? == 0
        && number("SELECT count(*) FROM main.sqlite_schema")? > 0;
    match sound {
        true => Ok(()),
        false => Err(Failure::conflict("the migrations changed a setting of the connection; no migration was applied")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_not_part_of_a_migration() {
        let lf = Migration::new("/m/1.sql", "CREATE TABLE t (\n  x\n);\n");
        for text in
            ["CREATE TABLE t (\r\n  x\r\n);\r\n", "CREATE TABLE t (\r  x\r);\r", "\u{feff}CREATE TABLE t (\n  x\n);\n"]
        {
            let other = Migration::new("/m/1.sql", text);
            assert_eq!(other.digest(), lf.digest(), "{text:?}");
            // The records of earlier versions stay valid in both directions.
            assert!(lf.is(&Digest::of(text.as_bytes()).to_string()), "{text:?}");
            assert!(other.is(&lf.digest()));
        }
        let mixed = "CREATE TABLE t (\r\n  x\n);\r\n";
        assert!(Migration::new("/m/1.sql", mixed).is(&Digest::of(mixed.as_bytes()).to_string()));
        assert!(!lf.is(&Migration::new("/m/1.sql", "CREATE TABLE t (\n x\n);\n").digest()));
    }
}
