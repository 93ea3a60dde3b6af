//! Checks bodies and settings against schemas in normal form. Servers and tools use this validator; pages have their
//! own.

use jsonschema::{Draft, PatternOptions, ValidationError, error::ValidationErrorKind, paths::Location};
use serde_json::{Value, json};

use super::{Cost, parts_mut};
use crate::json as strict;

/// JavaScript reads a whole number beyond this as the nearest double.
const EXACT: u64 = 1 << 53;

/// Limits of a validator's work, and of the length of quotations in errors.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The steps that are allowed for every value.
    pub steps: u64,
    /// The additional steps for each byte of its text.
    pub steps_per_byte: u64,
    /// The maximum number of steps for a value of any size.
    pub max_steps: u64,
    /// The maximum length of a quotation, in characters.
    pub quoted: usize,
}

/// The reason why a value is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// It does not match its schema.
    #[error("at {}: {reason}", if pointer.is_empty() { "its root" } else { pointer })]
    At {
        /// The place, as a JSON pointer (RFC 6901); empty for the whole value.
        pointer: String,
        /// What is wrong there.
        reason: String,
    },
    /// Checking it takes more steps than the validator allows.
    #[error("checking it takes too long: the body is too large for this schema")]
    TooLong,
}

/// A compiled schema.
#[derive(Debug)]
pub struct Validator {
    validator: jsonschema::Validator,
    cost: Cost,
    bounds: Bounds,
}

impl Validator {
    /// Compiles a schema in normal form. The error says why the schema can't be used.
    pub fn new(schema: &Value, bounds: Bounds) -> Result<Self, String> {
        let cost = Cost::of(schema).map_err(|reason| format!("a schema can't be used: {reason}"))?;
        let mut schema = schema.clone();
        keep_no_branches(&mut schema);
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(false);
        let options = options.with_pattern_options(PatternOptions::regex());
        let validator = options
            .build(&schema)
            .map_err(|error| format!("a schema can't be used: {}", misfit(&error, bounds.quoted)))?;
        Ok(Self { validator, cost, bounds })
    }

    /// Reads a body as pages do. The error says why it is not valid JSON.
    pub fn read(body: &[u8]) -> Result<Value, String> {
        let mut value = strict::value(body).map_err(|error| error.to_string())?;
        as_javascript_reads(&mut value);
        Ok(value)
    }

    /// Returns the maximum number of steps for checking a value.
    pub fn steps(&self, value: &Value) -> u64 {
        self.cost.steps(value)
    }

    /// Checks a value. `bytes` is the length of its text.
    pub fn check(&self, value: &Value, bytes: usize) -> Result<(), Misfit> {
        let Bounds { steps, steps_per_byte, max_steps, quoted } = self.bounds;
        if self.steps(value) > (steps + steps_per_byte * bytes as u64).min(max_steps) {
            return Err(Misfit::TooLong);
        }
        self.validator.validate(value).map_err(|error| misfit(&error, quoted))
    }
}

/// Turns `anyOf` and `oneOf` into conditions. If all branches fail, the validator would otherwise keep every fault of
/// every branch in memory, although no error shows them.
fn keep_no_branches(schema: &mut Value) {
    parts_mut(schema).into_iter().for_each(keep_no_branches);
    let Some(object) = schema.as_object_mut() else { return };
    let mut conditions = Vec::new();
    for keyword in ["anyOf", "oneOf"] {
        if let Some(branches) = object.remove(keyword) {
            conditions.push(json!({ "if": { keyword: branches }, "else": false }));
        }
    }
    if !conditions.is_empty()
        && let Some(all) = object.entry("allOf").or_insert_with(|| json!([])).as_array_mut()
    {
        all.append(&mut conditions);
    }
}

fn misfit(error: &ValidationError<'_>, quoted: usize) -> Misfit {
    let place = place(error);
    let pointer: String = place.as_str().chars().take(quoted).collect();
    let text = match error.kind() {
        // A `false`, or branches that all fail.
        ValidationErrorKind::FalseSchema => "it matches none of the allowed schemas".to_owned(),
        _ => error.to_string(),
    };
    let reason = match text.char_indices().nth(quoted) {
        Some(_) => error.masked().to_string().chars().take(quoted).collect(),
        None => text,
    };
    Misfit::At { pointer, reason }
}

/// Returns the place of a fault. For a member that is not allowed, or whose name is not allowed, it is the member.
fn place(error: &ValidationError<'_>) -> Location {
    let object = error.instance_path();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => match unexpected.first() {
            Some(name) => object.join(name.as_str()),
            None => object.clone(),
        },
        ValidationErrorKind::PropertyNames { error } => match error.instance().as_str() {
            Some(name) => object.join(name),
            None => object.clone(),
        },
        _ => object.clone(),
    }
}

/// Rounds numbers as JavaScript does, so that both hosts check alike.
fn as_javascript_reads(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let magnitude = number.as_u64().or_else(|| number.as_i64().map(i64::unsigned_abs));
            if magnitude.is_some_and(|magnitude| magnitude > EXACT)
                && let Some(nearest) = number.as_f64().and_then(serde_json::Number::from_f64)
            {
                *number = nearest;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(as_javascript_reads),
        Value::Object(fields) => fields.values_mut().for_each(as_javascript_reads),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}
