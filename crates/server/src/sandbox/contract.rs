//! What messages must fit: the schemas of a mechtron's bind, checked on the way into an instance and out of it.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;
use starlane_bundle::json;
use starlane_node::guest::{CallReport, GuestEffect, Kind, Level, Message, Returned};
use starlane_protocol::{Failure, Payload};

/// The stack of a thread that checks bodies, in bytes: for each level of a body the schemas that may be tried within each other.
pub(super) const STACK: usize = 8 * 1024 * 1024;
/// A longer body is checked aside, so that other guests of the thread go on, in bytes.
const ASIDE: usize = 64 * 1024;
/// How much of a body's own text a reason may quote, in characters.
const QUOTED: usize = 120;
/// Whole numbers beyond are the nearest double to a reader in JavaScript.
const EXACT: u64 = 1 << 53;

/// Which schema a body must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Request,
    Response,
    Event,
}

/// The compiled schemas of a bind.
#[derive(Debug, Default)]
pub(super) struct Contract {
    requests: HashMap<String, Validator>,
    responses: HashMap<String, Validator>,
    events: HashMap<String, Validator>,
}

impl Contract {
    /// Compiles a contract as [`starlane_node::guest::GuestPlan`] has it. The error says which schema can't be used.
    fn compile(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let tables: Value = serde_json::from_str(text).map_err(|error| format!("the contract is no JSON: {error}"))?;
        let table = |name: &str| {
            let schemas = tables.get(name).and_then(Value::as_object).into_iter().flatten();
            schemas
                .map(|(operation, schema)| Ok((operation.clone(), validator(schema)?)))
                .collect::<Result<_, String>>()
        };
        Ok(Self { requests: table("requests")?, responses: table("responses")?, events: table("events")? })
    }

    fn schema(&self, part: Part, name: &str) -> Option<&Validator> {
        let table = match part {
            Part::Request => &self.requests,
            Part::Response => &self.responses,
            Part::Event => &self.events,
        };
        table.get(name)
    }

    /// Checks a body. The error says what does not fit, and where, as a JSON pointer.
    pub(super) fn check(&self, part: Part, name: &str, body: &[u8]) -> Result<(), String> {
        let Some(validator) = self.schema(part, name) else { return Ok(()) };
        let refused = |what: String| {
            let of = match part {
                Part::Request => "the request",
                Part::Response => "the answer",
                Part::Event => "the event",
            };
            format!("{of} `{name}` does not fit its schema: {what}")
        };
        let mut value = json::value(body).map_err(|error| refused(error.to_string()))?;
        as_javascript_reads(&mut value);
        validator.validate(&value).map_err(|error| refused(told(&error)))
    }
}

/// A validator for a schema in normal form. The error says why there can be none.
pub(super) fn validator(schema: &Value) -> Result<Validator, String> {
    let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(false);
    let options = options.with_pattern_options(PatternOptions::regex());
    options.build(schema).map_err(|error| format!("a schema can't be used: {}", told(&error)))
}

fn told(error: &ValidationError<'_>) -> String {
    let place: String = error.instance_path().as_str().chars().take(QUOTED).collect();
    let text = error.to_string();
    let text = match text.char_indices().nth(QUOTED) {
        Some(_) => error.masked().to_string().chars().take(QUOTED).collect(),
        None => text,
    };
    format!("at {}: {text}", if place.is_empty() { "its root" } else { &place })
}

/// Numbers as JavaScript has them, so that both hosts judge alike.
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

/// The contracts that are in use, each compiled once.
#[derive(Debug, Default)]
pub(super) struct Contracts(RefCell<HashMap<String, Weak<Contract>>>);

impl Contracts {
    /// The compiled form of a contract. The error says what is wrong with it.
    pub(super) fn get(&self, text: &str) -> Result<Arc<Contract>, String> {
        let mut known = self.0.borrow_mut();
        if let Some(contract) = known.get(text).and_then(Weak::upgrade) {
            return Ok(contract);
        }
        let contract = Arc::new(Contract::compile(text)?);
        known.retain(|_, contract| contract.strong_count() > 0);
        known.insert(text.to_owned(), Arc::downgrade(&contract));
        Ok(contract)
    }
}

/// Checks what goes into one instance and what comes out.
pub(super) struct Gate {
    contract: Arc<Contract>,
    /// The operations of messages that wait for an answer with a schema.
    answering: HashMap<u64, String>,
}

impl Gate {
    pub(super) fn new(contract: Arc<Contract>) -> Self {
        Self { contract, answering: HashMap::new() }
    }

    /// Checks a message for the guest. The error says why it is not to have it.
    pub(super) async fn message(&mut self, message: &Message) -> Result<(), String> {
        if message.kind != Kind::Event {
            self.check(Part::Request, &message.operation, &message.payload).await?;
        }
        if message.kind == Kind::Request && self.contract.schema(Part::Response, &message.operation).is_some() {
            self.answering.insert(message.id, message.operation.clone());
        }
        Ok(())
    }

    /// Checks what a call asked for: an answer that does not fit becomes a failure, an event that does not fit is dropped, and
    /// the log says so. `message` is the one that the call was given.
    pub(super) async fn report(
        &mut self,
        message: Option<u64>,
        report: &mut CallReport,
        logs: &mut Vec<(Level, String)>,
    ) {
        let mut dropped = Vec::new();
        for (index, effect) in report.effects.iter_mut().enumerate() {
            let (fits, outcome) = match effect {
                GuestEffect::Emit { event, payload } => (self.check(Part::Event, event, payload).await, None),
                GuestEffect::Reply { id, outcome } => {
                    let Some(operation) = self.answering.remove(id) else { continue };
                    let Ok(payload) = outcome else { continue };
                    (self.check(Part::Response, &operation, payload).await, Some(outcome))
                }
                _ => continue,
            };
            let Err(reason) = fits else { continue };
            logs.push((Level::Error, reason.clone()));
            match outcome {
                Some(outcome) => *outcome = Err(Failure::schema_mismatch(reason)),
                None => dropped.push(index),
            }
        }
        for index in dropped.into_iter().rev() {
            report.effects.remove(index);
        }
        if let (Some(id), Returned::Received(true)) = (message, &report.returned) {
            self.answering.remove(&id);
        }
    }

    async fn check(&self, part: Part, name: &str, payload: &Payload) -> Result<(), String> {
        if self.contract.schema(part, name).is_none() {
            return Ok(());
        }
        let body: Bytes = payload.body.clone();
        if body.len() <= ASIDE {
            return self.contract.check(part, name, &body);
        }
        let (contract, name) = (Arc::clone(&self.contract), name.to_owned());
        let checked = tokio::task::spawn_blocking(move || contract.check(part, &name, &body)).await;
        checked.unwrap_or_else(|error| Err(format!("the body could not be checked: {error}")))
    }
}

#[cfg(test)]
mod tests;
