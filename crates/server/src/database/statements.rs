//! Statements of messages: one at a time, bounded in time and size, answered as JSON.
//!
//! An answer is written as text while SQLite steps, so that its size is known before each value is added.

use std::time::Duration;

use rusqlite::fallible_iterator::FallibleIterator as _;
use serde::Deserialize;
use starlane_protocol::{Failure, Message, Outcome, Payload};

use super::{
    connection::Guarded,
    values::{self, Params},
    watch::Role,
};
use crate::{body::unknown, limits::Limit};

/// One statement of a message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    sql: String,
    #[serde(default)]
    params: Params,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction {
    statements: Vec<Statement>,
}

/// A request to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Query,
    Execute,
    Transaction,
}

impl Operation {
    pub(super) fn read(message: &Message) -> Result<Self, Failure> {
        match message.operation.as_str() {
            "query" => Ok(Self::Query),
            "execute" => Ok(Self::Execute),
            "transaction" => Ok(Self::Transaction),
            _ => unknown(message),
        }
    }
}

/// Answers a message; `remaining_ms` is the time until the caller's deadline, or 0 without a deadline.
pub(super) fn answer(guarded: &Guarded, operation: Operation, body: &[u8], remaining_ms: u32) -> Outcome {
    let most = Duration::from_millis(guarded.limiter.get(Limit::SqlTime));
    let time = match remaining_ms {
        0 => most,
        ms => most.min(Duration::from_millis(u64::from(ms))),
    };
    let role = match operation {
        Operation::Query => Role::Read,
        Operation::Execute | Operation::Transaction => Role::Write,
    };
    let text = guarded.within(role, time, |guarded| {
        let mut answer = Answer { text: String::new(), rows: 0, guarded };
        match operation {
            Operation::Query => answer.query(&read(body)?)?,
            Operation::Execute => answer.execute(&read(body)?)?,
            Operation::Transaction => answer.transaction(&read(body)?)?,
        }
        Ok::<_, Failure>(answer.text)
    })?;
    Ok(Payload::json(text))
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| {
        Failure::malformed(format!("{error}: expected {{\"sql\": \"…\", \"params\": […]}}, or \"statements\" of such"))
    })
}

/// The answer that is being written.
struct Answer<'a> {
    text: String,
    rows: usize,
    guarded: &'a Guarded,
}

impl Answer<'_> {
    fn query(&mut self, statement: &Statement) -> Result<(), Failure> {
        let mut prepared = prepare(self.guarded, statement)?;
        // The authorizer has already refused the statements that it recognises as writes.
        if !prepared.readonly() {
            return Err(Failure::malformed(
                "`query` only reads: send a statement that writes with the operation `execute`",
            ));
        }
        self.push("{")?;
        self.columns_and_rows(&mut prepared)?;
        self.push("}")
    }

    /// The number of changes, and the rows of a statement with `RETURNING`.
    fn execute(&mut self, statement: &Statement) -> Result<(), Failure> {
        let mut prepared = prepare(self.guarded, statement)?;
        let connection = &self.guarded.connection;
        let before = connection.total_changes();
        let mut rows = None;
        if prepared.column_count() > 0 {
            let start = self.text.len();
            self.push(",")?;
            self.columns_and_rows(&mut prepared)?;
            rows = Some(self.text.split_off(start));
        } else {
            let mut found = prepared.raw_query();
            while found.next().map_err(|error| self.guarded.told(&error))?.is_some() {}
        }
        let changed = connection.total_changes() - before;
        let last = values::integer(connection.last_insert_rowid());
        self.push(&format!("{{\"changed\":{changed},\"last_id\":{last}{}}}", rows.unwrap_or_default()))
    }

    /// All statements, or none of them.
    fn transaction(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        let guarded = self.guarded;
        let told = |error: rusqlite::Error| guarded.told(&error);
        guarded.own(|connection| connection.execute_batch("BEGIN IMMEDIATE")).map_err(told)?;
        let done = self.all(&transaction.statements);
        // A conflict can have ended the transaction already (`INSERT OR ROLLBACK`).
        let open = !guarded.connection.is_autocommit();
        let ended = match &done {
            Ok(()) if open => guarded.own(|connection| connection.execute_batch("COMMIT")).map_err(told),
            Ok(()) => Err(Failure::conflict("a statement rolled the transaction back")),
            Err(_) => Ok(()),
        };
        if !guarded.connection.is_autocommit() {
            guarded.watch.end_after(None);
            guarded.own(|connection| connection.execute_batch("ROLLBACK")).map_err(told)?;
        }
        done.and(ended)
    }

    fn all(&mut self, statements: &[Statement]) -> Result<(), Failure> {
        self.push("{\"results\":[")?;
        for (at, statement) in statements.iter().enumerate() {
            if at > 0 {
                self.push(",")?;
            }
            self.execute(statement)?;
            if self.guarded.connection.is_autocommit() {
                return Err(Failure::conflict("a statement rolled the transaction back"));
            }
        }
        self.push("]}")
    }

    /// `"columns":[…],"rows":[…]`. The column names of a row are distinct, so that no value replaces another.
    fn columns_and_rows(&mut self, prepared: &mut rusqlite::Statement<'_>) -> Result<(), Failure> {
        let guarded = self.guarded;
        let told = |error: rusqlite::Error| guarded.told(&error);
        let names = distinct(prepared.column_names());
        let keys = names.iter().map(json).collect::<Result<Vec<_>, _>>()?;
        self.push("\"columns\":[")?;
        self.push(&keys.join(","))?;
        self.push("],\"rows\":[")?;
        let most = guarded.limiter.count(Limit::SqlRows);
        let mut found = prepared.raw_query();
        let mut first = true;
        while let Some(row) = found.next().map_err(told)? {
            self.rows += 1;
            if self.rows > most {
                return Err(guarded
                    .limiter
                    .refuse(Limit::SqlRows, "the result has too many rows; use LIMIT and read it in parts"));
            }
            self.push(if first { "{" } else { ",{" })?;
            first = false;
            for (at, key) in keys.iter().enumerate() {
                let value = row.get_ref(at).map_err(told)?;
                self.has_room(key.len() + values::weight(value) + 2)?;
                if at > 0 {
                    self.push(",")?;
                }
                self.push(key)?;
                self.push(":")?;
                self.push(&json(&values::to_json(value))?)?;
            }
            self.push("}")?;
        }
        self.push("]")
    }

    fn push(&mut self, text: &str) -> Result<(), Failure> {
        self.has_room(text.len())?;
        self.text.push_str(text);
        Ok(())
    }

    /// Check the size before copying a value: one row can be much larger than the maximum answer.
    fn has_room(&self, bytes: usize) -> Result<(), Failure> {
        match self.text.len() + bytes > self.guarded.limiter.count(Limit::SqlResult) {
            true => Err(self
                .guarded
                .limiter
                .refuse(Limit::SqlResult, "the result is too large; select less, or read it in parts")),
            false => Ok(()),
        }
    }
}

fn prepare<'c>(guarded: &'c Guarded, statement: &Statement) -> Result<rusqlite::Statement<'c>, Failure> {
    let mut batch = rusqlite::Batch::new(&guarded.connection, &statement.sql);
    let first = batch.next().map_err(|error| guarded.told(&error))?;
    let mut prepared = first.ok_or_else(|| Failure::malformed("the SQL is empty"))?;
    if !matches!(batch.next(), Ok(None)) {
        guarded.watch.take_refusal();
        return Err(Failure::malformed("expected one statement; send several with the operation `transaction`"));
    }
    values::bind(&mut prepared, &statement.params)?;
    Ok(prepared)
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::internal(error.to_string()))
}

/// Names of columns, made distinct as SQLite makes those of a subquery: `id`, `id:1`.
fn distinct(columns: Vec<&str>) -> Vec<String> {
    let mut known: std::collections::HashSet<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let mut used = std::collections::HashSet::new();
    let mut counts: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    let mut names = Vec::with_capacity(columns.len());
    for column in columns {
        let mut name = column.to_owned();
        if !used.insert(column) {
            let count = counts.entry(column).or_default();
            while {
                *count += 1;
                name = format!("{column}:{count}");
                !known.insert(name.clone())
            } {}
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_columns_are_distinct() {
        assert_eq!(distinct(vec!["id", "n", "id", "id:1", "id", ""]), ["id", "n", "id:2", "id:1", "id:3", ""]);
    }
}
