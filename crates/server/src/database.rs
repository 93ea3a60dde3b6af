//! Database resources: SQLite behind messages.
//!
//! | operation | takes | answers |
//! |---|---|---|
//! | `query` | `{ "sql", "params" }` | `{ "columns": […], "rows": [{ column: value }] }` |
//! | `execute` | `{ "sql", "params" }` | `{ "changed", "last_id" }` |
//! | `transaction` | `{ "statements": [{ "sql", "params" }] }` | `{ "results": [{ "changed", "last_id" }] }` |
//!
//! `params` is an array for `?` and `?1`, or an object for `:name`. Integers beyond 2^53 are `{ "$integer": "…" }`, byte strings
//! `{ "$bytes": base64 }`, both ways. An answered write is on disk (`synchronous=FULL`).

mod guarded;
mod migrate;
mod values;

use std::{path::Path, rc::Rc, sync::Arc};

use rusqlite::Connection;
use serde::Deserialize;
use serde_json::{Value, json};
use starlane_host::{Handler, Incoming, handler};
use starlane_protocol::{Failure, Outcome, Payload};
use tokio::sync::Mutex;

use self::guarded::Guarded;
pub(crate) use self::migrate::Migration;

/// The operations of a database.
pub(crate) const OPERATIONS: [&str; 3] = ["query", "execute", "transaction"];

/// One statement of a message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Statement {
    sql: String,
    #[serde(default)]
    params: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction {
    statements: Vec<Statement>,
}

/// An open database.
#[derive(Clone)]
pub(crate) struct Database(Arc<Mutex<Connection>>);

impl Database {
    /// Opens the database in a file, and brings it up to date. Errors name what failed.
    pub(crate) fn open(file: &Path, migrations: &[Migration]) -> Result<Self, String> {
        let told = |error: rusqlite::Error| format!("{}: {error}", file.display());
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        let mut connection = Connection::open(file).map_err(told)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(told)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(told)?;
        connection.pragma_update(None, "foreign_keys", "ON").map_err(told)?;
        connection.pragma_update(None, "trusted_schema", "OFF").map_err(told)?;
        migrate::migrate(&mut connection, migrations)?;
        guarded::guard(&connection).map_err(told)?;
        Ok(Self(Arc::new(Mutex::new(connection))))
    }

    /// The handler that answers messages to this database.
    pub(crate) fn handler(&self) -> Rc<dyn Handler> {
        let database = self.clone();
        handler(move |incoming| {
            let (database, to) = (database.clone(), incoming.to.clone());
            async move {
                // The lock is fair, so messages keep their order. It goes aside with the work, and stays there even if
                // nobody waits for the answer any more.
                let mut connection = database.0.lock_owned().await;
                // SQLite waits for the disk: aside, not on the node's thread.
                let answered = tokio::task::spawn_blocking(move || answer(&mut connection, &incoming)).await;
                answered
                    .unwrap_or_else(|error| Err(Failure::internal(error.to_string())))
                    .map_err(|failure| failure.at(&to))
            }
        })
    }
}

fn answer(connection: &mut Connection, incoming: &Incoming) -> Outcome {
    let mut guarded = Guarded::new(connection, incoming.remaining_ms);
    let body = &incoming.payload.body;
    let answer = match incoming.operation.as_str() {
        "query" => guarded.query(&read(body)?)?,
        "execute" => guarded.execute(&read(body)?)?,
        _ => {
            let Transaction { statements } = read(body)?;
            json!({ "results": guarded.transaction(&statements)? })
        }
    };
    Ok(Payload::json(answer.to_string()))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::malformed(format!("{error}: expected {{\"sql\": \"…\", \"params\": […]}}, or \"statements\" of such"))
    })
}

#[cfg(test)]
mod tests;
