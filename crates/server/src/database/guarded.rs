//! Statements of messages: one at a time, bounded in time and size, and without what reaches beyond the database.

use std::time::{Duration, Instant};

use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{
    Connection, ErrorCode,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};
use serde_json::{Map, Value, json};
use starlane_protocol::Failure;

use super::{Statement, values};

/// The most rows of an answer.
const ROWS: usize = 10_000;
/// The most bytes of an answer, about.
const BYTES: usize = 8 * 1024 * 1024;
/// The longest text or byte string, in bytes: an expression must not fill the memory.
const VALUE: i32 = 16 * 1024 * 1024;
/// The most time of a message's statements.
const TIME: Duration = Duration::from_secs(5);
/// How often the time is looked at, in instructions of SQLite's machine.
const LOOK: i32 = 10_000;

/// Takes from a connection, for ever, what messages may not do: SQLite itself asks before each step of a statement.
pub(super) fn guard(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, 1_000_000)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, VALUE)?;
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Pragma { .. } => Authorization::Deny,
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Authorization::Deny,
        AuthAction::CreateVtable { .. } | AuthAction::DropVtable { .. } => Authorization::Deny,
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            Authorization::Deny
        }
        _ => Authorization::Allow,
    }))
}

/// A connection for the time of one message.
pub(super) struct Guarded<'a>(&'a mut Connection);

impl<'a> Guarded<'a> {
    /// `remaining_ms` is how long somebody waits; 0 for no deadline.
    pub(super) fn new(connection: &'a mut Connection, remaining_ms: u32) -> Self {
        let time = match remaining_ms {
            0 => TIME,
            ms => TIME.min(Duration::from_millis(u64::from(ms))),
        };
        let end = Instant::now() + time;
        // Fails only on connections that are not open.
        let _ = connection.progress_handler(LOOK, Some(move || Instant::now() > end));
        Self(connection)
    }

    pub(super) fn query(&mut self, statement: &Statement) -> Result<Value, Failure> {
        let mut prepared = prepare(self.0, statement)?;
        let columns: Vec<String> = prepared.column_names().into_iter().map(str::to_owned).collect();
        let mut found = prepared.raw_query();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = found.next().map_err(told)? {
            let mut object = Map::new();
            for (at, name) in columns.iter().enumerate() {
                let value = row.get_ref(at).map_err(told)?;
                bytes += name.len() + values::weight(value);
                object.insert(name.clone(), values::to_json(value));
            }
            rows.push(Value::Object(object));
            if rows.len() > ROWS || bytes > BYTES {
                let message = format!("the answer is over {ROWS} rows or {BYTES} bytes: use LIMIT, and ask in parts");
                return Err(Failure::too_large(message));
            }
        }
        Ok(json!({ "columns": columns, "rows": rows }))
    }

    pub(super) fn execute(&mut self, statement: &Statement) -> Result<Value, Failure> {
        run(self.0, statement)
    }

    /// All statements, or none of them.
    pub(super) fn transaction(&mut self, statements: &[Statement]) -> Result<Vec<Value>, Failure> {
        // The transaction itself is ours, and messages may not begin any.
        self.0.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(told)?;
        let result = transaction(self.0, statements);
        guard(self.0).map_err(told)?;
        result
    }
}

impl Drop for Guarded<'_> {
    fn drop(&mut self) {
        let _ = self.0.progress_handler(0, None::<fn() -> bool>);
    }
}

fn transaction(connection: &mut Connection, statements: &[Statement]) -> Result<Vec<Value>, Failure> {
    let transaction = connection.transaction().map_err(told)?;
    guard(&transaction).map_err(told)?;
    let results: Result<Vec<Value>, Failure> =
        statements.iter().map(|statement| run(&transaction, statement)).collect();
    transaction.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(told)?;
    let results = results?;
    transaction.commit().map_err(told)?;
    Ok(results)
}

fn run(connection: &Connection, statement: &Statement) -> Result<Value, Failure> {
    let mut prepared = prepare(connection, statement)?;
    let before = connection.total_changes();
    let mut rows = prepared.raw_query();
    while rows.next().map_err(told)?.is_some() {}
    drop(rows);
    Ok(json!({ "changed": connection.total_changes() - before, "last_id": connection.last_insert_rowid() }))
}

fn prepare<'c>(connection: &'c Connection, statement: &Statement) -> Result<rusqlite::Statement<'c>, Failure> {
    let mut batch = rusqlite::Batch::new(connection, &statement.sql);
    let first = batch.next().map_err(told)?;
    let mut prepared = first.ok_or_else(|| Failure::malformed("the SQL is empty"))?;
    if !matches!(batch.next(), Ok(None)) {
        return Err(Failure::malformed("one statement at a time: `transaction` takes several"));
    }
    values::bind(&mut prepared, &statement.params)?;
    Ok(prepared)
}

/// An error of SQLite as a failure, in SQLite's words.
fn told(error: rusqlite::Error) -> Failure {
    let message = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => Failure::conflict(message),
        Some(ErrorCode::OperationInterrupted) => {
            Failure::deadline("the statement took too long: add an index, or ask for less")
        }
        // A function that is refused has the code of any faulty statement.
        code if code == Some(ErrorCode::AuthorizationForStatementDenied) || message.starts_with("not authorized") => {
            let what = "ATTACH, PRAGMA, transactions, virtual tables and extensions are not for messages";
            Failure::no_grant(format!("{what} ({message})"))
        }
        Some(ErrorCode::TooBig) => Failure::too_large(message),
        Some(ErrorCode::DiskFull) => Failure::storage_full(message),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::conflict(message),
        _ => Failure::malformed(message),
    }
}
