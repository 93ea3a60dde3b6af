//! SQLite's values as JSON and back; types are kept.

use data_encoding::BASE64;
use rusqlite::{
    Statement,
    types::{Value as Sql, ValueRef},
};
use serde_json::{Value, json};
use starlane_protocol::Failure;

/// The largest integer that every JSON reader keeps exactly.
const EXACT: i64 = 1 << 53;

pub(super) fn to_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) if (-EXACT..=EXACT).contains(&number) => json!(number),
        ValueRef::Integer(number) => json!({ "$integer": number.to_string() }),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => json!({ "$bytes": BASE64.encode(bytes) }),
    }
}

/// About how many bytes a value is in an answer.
pub(super) fn weight(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len() + 8,
        _ => 16,
    }
}

/// Binds parameters: an array by position, an object by name.
pub(super) fn bind(statement: &mut Statement<'_>, params: &Value) -> Result<(), Failure> {
    let wanted = statement.parameter_count();
    match params {
        Value::Null => expect(wanted, 0),
        Value::Array(values) => {
            expect(wanted, values.len())?;
            for (at, value) in values.iter().enumerate() {
                statement.raw_bind_parameter(at + 1, to_sql(value)?).map_err(refused)?;
            }
            Ok(())
        }
        Value::Object(values) => {
            expect(wanted, values.len())?;
            for (name, value) in values {
                let at = [":", "@", "$"]
                    .iter()
                    .find_map(|sign| statement.parameter_index(&format!("{sign}{name}")).ok().flatten());
                let at = at.ok_or_else(|| Failure::malformed(format!("the SQL has no parameter `:{name}`")))?;
                statement.raw_bind_parameter(at, to_sql(value)?).map_err(refused)?;
            }
            Ok(())
        }
        _ => Err(Failure::malformed("`params` is an array, for `?`, or an object, for `:name`")),
    }
}

fn expect(wanted: usize, given: usize) -> Result<(), Failure> {
    match wanted == given {
        true => Ok(()),
        false => Err(Failure::malformed(format!("the SQL has {wanted} parameters, and {given} were given"))),
    }
}

fn refused(error: rusqlite::Error) -> Failure {
    Failure::malformed(error.to_string())
}

fn to_sql(value: &Value) -> Result<Sql, Failure> {
    let refuse = || Failure::malformed(format!("a parameter can't be {value}: use null, a number, a text, or $bytes"));
    match value {
        Value::Null => Ok(Sql::Null),
        Value::Bool(flag) => Ok(Sql::Integer(i64::from(*flag))),
        Value::String(text) => Ok(Sql::Text(text.clone())),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Sql::Integer(whole)),
            (None, Some(real)) => Ok(Sql::Real(real)),
            (None, None) => Err(refuse()),
        },
        Value::Object(object) if object.len() == 1 => {
            let text = |name: &str| object.get(name).and_then(Value::as_str);
            if let Some(number) = text("$integer") {
                return number.parse().map(Sql::Integer).map_err(|_| refuse());
            }
            let bytes = text("$bytes").ok_or_else(refuse)?;
            BASE64.decode(bytes.as_bytes()).map(Sql::Blob).map_err(|_| refuse())
        }
        _ => Err(refuse()),
    }
}
