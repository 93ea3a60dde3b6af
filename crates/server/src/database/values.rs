//! SQLite's values as JSON and back. A value that JSON or JavaScript would change travels as an object with one key:
//!
//! | tag | value |
//! |---|---|
//! | `{ "$integer": "9007199254740993" }` | an integer beyond 2^53 |
//! | `{ "$real": "Infinity" }`, `"-Infinity"` | an infinite real (SQLite has no NaN) |
//! | `{ "$bytes": "AAH/" }` | a byte string, as base64 |
//! | `{ "$text": "/0E=" }` | a text that is not UTF-8: its bytes, as base64 |

use data_encoding::BASE64;
use rusqlite::{
    Statement, ToSql,
    types::{ToSqlOutput, ValueRef},
};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json, value::RawValue};
use starlane_protocol::Failure;

/// The largest integer that every JSON reader keeps exactly.
const EXACT: i64 = 1 << 53;

pub(super) fn to_json(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => integer(number),
        ValueRef::Real(number) if number.is_finite() => json!(number),
        ValueRef::Real(number) => json!({ "$real": if number > 0.0 { "Infinity" } else { "-Infinity" } }),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => json!(text),
            Err(_) => json!({ "$text": BASE64.encode(text) }),
        },
        ValueRef::Blob(bytes) => json!({ "$bytes": BASE64.encode(bytes) }),
    }
}

/// An integer, tagged when it is beyond 2^53.
pub(super) fn integer(number: i64) -> Value {
    match (-EXACT..=EXACT).contains(&number) {
        true => json!(number),
        false => json!({ "$integer": number.to_string() }),
    }
}

/// The minimum number of bytes of a value in an answer.
pub(super) fn weight(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(text) => text.len(),
        ValueRef::Blob(bytes) => bytes.len() / 3 * 4,
        _ => 1,
    }
}

/// The parameters of a statement as they were sent. Numbers are read from the original text, because a JSON library can
/// round them.
#[derive(Debug, Default)]
pub(super) enum Params {
    #[default]
    None,
    Positions(Vec<Box<RawValue>>),
    Names(Vec<(String, Box<RawValue>)>),
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Params;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`params`: an array, for `?`, or an object, for `:name`")
            }

            fn visit_unit<E: Error>(self) -> Result<Params, E> {
                Ok(Params::None)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Params, A::Error> {
                let mut all = Vec::new();
                while let Some(value) = values.next_element()? {
                    all.push(value);
                }
                Ok(Params::Positions(all))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut values: A) -> Result<Params, A::Error> {
                let mut all: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((name, value)) = values.next_entry::<String, Box<RawValue>>()? {
                    if all.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("the parameter `{name}` is given twice")));
                    }
                    all.push((name, value));
                }
                Ok(Params::Names(all))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// Binds parameters: an array by position, an object by name.
pub(super) fn bind(statement: &mut Statement<'_>, params: &Params) -> Result<(), Failure> {
    let wanted = statement.parameter_count();
    match params {
        Params::None => expect(wanted, 0),
        Params::Positions(values) => {
            expect(wanted, values.len())?;
            for (at, value) in values.iter().enumerate() {
                set(statement, at + 1, value)?;
            }
            Ok(())
        }
        Params::Names(values) => {
            expect(wanted, values.len())?;
            for (name, value) in values {
                let at = [":", "@", "$"]
                    .iter()
                    .find_map(|sign| statement.parameter_index(&format!("{sign}{name}")).ok().flatten());
                let at = at.ok_or_else(|| Failure::malformed(format!("the SQL has no parameter `:{name}`")))?;
                set(statement, at, value)?;
            }
            Ok(())
        }
    }
}

fn set(statement: &mut Statement<'_>, at: usize, value: &RawValue) -> Result<(), Failure> {
    let value = to_sql(value)?;
    statement.raw_bind_parameter(at, value).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::TooBig) => Failure::too_large("a parameter exceeds the maximum length of a value"),
        _ => Failure::malformed(error.to_string()),
    })
}

fn expect(wanted: usize, given: usize) -> Result<(), Failure> {
    match wanted == given {
        true => Ok(()),
        false => Err(Failure::malformed(format!("the SQL has {wanted} parameters, but {given} were given"))),
    }
}

/// A parameter converted for SQLite.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Parameter {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl ToSql for Parameter {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

pub(super) fn to_sql(raw: &RawValue) -> Result<Parameter, Failure> {
    let text = raw.get();
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return number(text);
    }
    let refuse = || {
        let shown: String = text.chars().take(60).collect();
        Failure::malformed(format!(
            "a parameter cannot be {shown}: send null, true, false, a number, a text, or one of {{\"$integer\"}}, \
             {{\"$real\"}}, {{\"$bytes\"}}, {{\"$text\"}}"
        ))
    };
    let value: Value = serde_json::from_str(text).map_err(|_| refuse())?;
    let object = match value {
        Value::Null => return Ok(Parameter::Null),
        Value::Bool(flag) => return Ok(Parameter::Integer(i64::from(flag))),
        Value::String(text) => return Ok(Parameter::Text(text.into_bytes())),
        Value::Object(object) if object.len() == 1 => object,
        _ => return Err(refuse()),
    };
    let Some((tag, Value::String(value))) = object.iter().next() else { return Err(refuse()) };
    let decoded = || BASE64.decode(value.as_bytes()).map_err(|_| refuse());
    match tag.as_str() {
        "$integer" => value.parse().map(Parameter::Integer).map_err(|_| refuse()),
        "$real" => match value.as_str() {
            "Infinity" => Ok(Parameter::Real(f64::INFINITY)),
            "-Infinity" => Ok(Parameter::Real(f64::NEG_INFINITY)),
            _ => value.parse().ok().filter(|real: &f64| real.is_finite()).map(Parameter::Real).ok_or_else(refuse),
        },
        "$bytes" => decoded().map(Parameter::Blob),
        "$text" => decoded().map(Parameter::Text),
        _ => Err(refuse()),
    }
}

/// A number: without point and exponent it is an integer.
fn number(text: &str) -> Result<Parameter, Failure> {
    let refuse = |why: &str| Failure::malformed(format!("the parameter {text} {why}"));
    if text.contains(['.', 'e', 'E']) {
        let real: f64 = text.parse().map_err(|_| refuse("is not a number"))?;
        return match real.is_finite() {
            true => Ok(Parameter::Real(real)),
            false => Err(refuse("exceeds the largest real; for infinity send {\"$real\": \"Infinity\"}")),
        };
    }
    let beyond = "exceeds 64 bits and would be rounded; send a text, or a real with a decimal point";
    text.parse().map(Parameter::Integer).map_err(|_| refuse(beyond))
}
