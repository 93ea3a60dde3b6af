//! What messages must fit: the schemas of a mechtron's bind, checked on the way into an instance and out of it.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use jsonschema::{Draft, PatternOptions, ValidationError, Validator, error::ValidationErrorKind, paths::Location};
use serde_json::{Value, json};
use starlane_abi::checking::{MAX_STEPS, QUOTED_CHARS, STEPS, STEPS_PER_BYTE};
use starlane_bundle::{
    json,
    schema::{Cost, parts_mut},
};
use starlane_node::guest::{CallReport, GuestEffect, Kind, Returned};
use starlane_protocol::{Failure, Message, Payload};
use tokio::sync::Semaphore;

/// The stack of a thread that checks bodies, in bytes: for each level of a body the schemas that may be tried within each other.
pub(super) const STACK: usize = 8 * 1024 * 1024;
/// A longer body is checked aside, so that other guests of the thread go on, in bytes; so is one that may take more steps.
const ASIDE: usize = 64 * 1024;
const ASIDE_STEPS: u64 = 100_000;
/// How many bytes of bodies are checked aside at a time, for all guests: read, a body takes up to thirty times its size.
const CHECKED_AT_ONCE: usize = 16 * 1024 * 1024;
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
    requests: HashMap<String, Compiled>,
    responses: HashMap<String, Compiled>,
    events: HashMap<String, Compiled>,
}

/// A schema, ready to check bodies.
#[derive(Debug)]
pub(super) struct Compiled {
    validator: Validator,
    cost: Cost,
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
                .map(|(operation, schema)| Ok((operation.clone(), Compiled::new(schema)?)))
                .collect::<Result<_, String>>()
        };
        Ok(Self { requests: table("requests")?, responses: table("responses")?, events: table("events")? })
    }

    fn schema(&self, part: Part, name: &str) -> Option<&Compiled> {
        let table = match part {
            Part::Request => &self.requests,
            Part::Response => &self.responses,
            Part::Event => &self.events,
        };
        table.get(name)
    }

    /// Checks a body. The error says what does not fit, and where, as a JSON pointer.
    pub(super) fn check(&self, part: Part, name: &str, body: &[u8]) -> Result<(), String> {
        let Some(schema) = self.schema(part, name) else { return Ok(()) };
        let checked = schema.read(body).and_then(|value| schema.check(&value, body.len()));
        checked.map_err(|what| misfit(part, name, &what))
    }
}

/// What does not fit, for people.
fn misfit(part: Part, name: &str, what: &str) -> String {
    let of = match part {
        Part::Request => "request",
        Part::Response => "response",
        Part::Event => "event",
    };
    format!("the {of} `{name}` does not fit its schema: {what}")
}

impl Compiled {
    /// A schema in normal form. The error says why it can't be used.
    pub(super) fn new(schema: &Value) -> Result<Self, String> {
        let cost = Cost::of(schema).map_err(|reason| format!("a schema can't be used: {reason}"))?;
        let mut schema = schema.clone();
        keep_no_branches(&mut schema);
        let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(false);
        let options = options.with_pattern_options(PatternOptions::regex());
        let validator = options.build(&schema).map_err(|error| format!("a schema can't be used: {}", told(&error)))?;
        Ok(Self { validator, cost })
    }

    /// Reads a body as pages do.
    fn read(&self, body: &[u8]) -> Result<Value, String> {
        let mut value = json::value(body).map_err(|error| error.to_string())?;
        as_javascript_reads(&mut value);
        Ok(value)
    }

    /// Checks a body that has so many bytes.
    fn check(&self, body: &Value, bytes: usize) -> Result<(), String> {
        if self.cost.steps(body) > (STEPS + STEPS_PER_BYTE * bytes as u64).min(MAX_STEPS) {
            return Err(
                "it can't be checked here: that takes too long for so large a body and such a schema".to_owned()
            );
        }
        self.validator.validate(body).map_err(|error| told(&error))
    }
}

/// Of branches that all fail the validator would keep each fault in memory, of which none is told: as a condition it keeps none.
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

fn told(error: &ValidationError<'_>) -> String {
    let place = place(error);
    let place: String = place.as_str().chars().take(QUOTED_CHARS).collect();
    let text = match error.kind() {
        // A `false`, or branches of which none fits.
        ValidationErrorKind::FalseSchema => "it is none of what may be here".to_owned(),
        _ => error.to_string(),
    };
    let text = match text.char_indices().nth(QUOTED_CHARS) {
        Some(_) => error.masked().to_string().chars().take(QUOTED_CHARS).collect(),
        None => text,
    };
    format!("at {}: {text}", if place.is_empty() { "its root" } else { &place })
}

/// Where a fault is: for a member that may not be there, or not by this name, the member.
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
#[derive(Debug)]
pub(super) struct Contracts {
    known: RefCell<HashMap<String, Weak<Contract>>>,
    /// Bytes of bodies that may now be checked aside.
    room: Arc<Semaphore>,
}

impl Default for Contracts {
    fn default() -> Self {
        Self { known: RefCell::default(), room: Arc::new(Semaphore::new(CHECKED_AT_ONCE)) }
    }
}

impl Contracts {
    /// A gate for an instance under a contract. The error says what is wrong with it.
    pub(super) fn gate(&self, text: &str) -> Result<Gate, String> {
        Ok(Gate::new(self.get(text)?, Arc::clone(&self.room)))
    }

    fn get(&self, text: &str) -> Result<Arc<Contract>, String> {
        let mut known = self.known.borrow_mut();
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
    /// Bytes of bodies that may now be checked aside.
    room: Arc<Semaphore>,
    /// The operations of messages that wait for an answer with a schema.
    answering: HashMap<u64, String>,
}

impl Gate {
    fn new(contract: Arc<Contract>, room: Arc<Semaphore>) -> Self {
        Self { contract, room, answering: HashMap::new() }
    }

    /// Checks a message for the guest. The error says why it is not to have it.
    pub(super) async fn message(&mut self, id: u64, message: &Message) -> Result<(), String> {
        if message.kind != Kind::Event {
            self.check(Part::Request, &message.operation, &message.payload).await?;
        }
        if message.kind == Kind::Request && self.contract.schema(Part::Response, &message.operation).is_some() {
            self.answering.insert(id, message.operation.clone());
        }
        Ok(())
    }

    /// Checks what a call asked for: a response that does not fit becomes a failure, an event that does not fit is dropped,
    /// and the log is to say so. `message` is the one that the call was given.
    pub(super) async fn report(&mut self, message: Option<u64>, report: &mut CallReport) -> Vec<String> {
        let (mut dropped, mut logs) = (Vec::new(), Vec::new());
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
            logs.push(reason.clone());
            match outcome {
                Some(outcome) => *outcome = Err(Failure::schema_mismatch(reason)),
                None => dropped.push(index),
            }
        }
        for index in dropped.into_iter().rev() {
            report.effects.remove(index);
        }
        if let (Some(id), Returned::Received(true) | Returned::TooLarge(_)) = (message, &report.returned) {
            self.answering.remove(&id);
        }
        logs
    }

    async fn check(&self, part: Part, name: &str, payload: &Payload) -> Result<(), String> {
        let Some(schema) = self.contract.schema(part, name) else { return Ok(()) };
        let body: Bytes = payload.body.clone();
        if body.len() <= ASIDE {
            let value = schema.read(&body).map_err(|what| misfit(part, name, &what))?;
            if schema.cost.steps(&value) <= ASIDE_STEPS {
                return schema.check(&value, body.len()).map_err(|what| misfit(part, name, &what));
            }
        }
        let room = self.room.acquire_many(body.len().min(CHECKED_AT_ONCE) as u32).await;
        let _room = room.map_err(|error| misfit(part, name, &error.to_string()))?;
        let (contract, name) = (Arc::clone(&self.contract), name.to_owned());
        let checked = tokio::task::spawn_blocking(move || contract.check(part, &name, &body)).await;
        checked.unwrap_or_else(|error| Err(format!("the body could not be checked: {error}")))
    }
}

#[cfg(test)]
mod tests;
