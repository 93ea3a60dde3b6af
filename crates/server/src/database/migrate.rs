//! Migrations: SQL files of the bundle, applied in the order of their names, each once.

use rusqlite::{Connection, OptionalExtension};
use starlane_bundle::Digest;

/// A migration of a bundle.
pub(crate) struct Migration {
    /// Its file's path in the bundle.
    pub(crate) path: String,
    /// Its SQL.
    pub(crate) sql: String,
}

/// Applies what was not applied yet. A migration that changed after it was applied is an error.
pub(super) fn migrate(connection: &mut Connection, migrations: &[Migration]) -> Result<(), String> {
    let told = |path: &str, error: rusqlite::Error| format!("the migration {path} failed: {error}");
    connection
        .execute_batch("CREATE TABLE IF NOT EXISTS starlane_migrations (path TEXT PRIMARY KEY, sha256 TEXT NOT NULL)")
        .map_err(|error| error.to_string())?;
    for Migration { path, sql } in migrations {
        let digest = Digest::of(sql.as_bytes()).to_string();
        let applied: Option<String> = connection
            .query_row("SELECT sha256 FROM starlane_migrations WHERE path = ?1", [path], |row| row.get(0))
            .optional()
            .map_err(|error| told(path, error))?;
        match applied {
            Some(known) if known == digest => continue,
            Some(_) => return Err(format!("the migration {path} was changed after it was applied: add a new one")),
            None => {}
        }
        let transaction = connection.transaction().map_err(|error| told(path, error))?;
        transaction.execute_batch(sql).map_err(|error| told(path, error))?;
        transaction
            .execute("INSERT INTO starlane_migrations (path, sha256) VALUES (?1, ?2)", [path, &digest])
            .map_err(|error| told(path, error))?;
        transaction.commit().map_err(|error| told(path, error))?;
    }
    Ok(())
}
