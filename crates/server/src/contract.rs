//! The schemas of a bind that messages must match, compiled once for mechtrons and all other resources.

mod lines;
mod room;

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt::Display,
    sync::{Arc, Weak},
};

use futures_util::future::LocalBoxFuture;
use serde_json::Value;
use starlane_abi::{
    checking::{MAX_STEPS, QUOTED_CHARS, STEPS, STEPS_PER_BYTE},
    limits::LINE_BYTES,
};
use starlane_bundle::schema::{Bounds, Validator};
use starlane_host::{BodyRole, Bound, Principal, Schemas};
use starlane_protocol::{Failure, Payload};

pub(crate) use self::lines::{EndedLines, LineSplitter};

use self::{lines::Line, room::Room};
use crate::fair::Owner;

/// The stack of a thread that checks bodies, in bytes. Each level of a body can require several nested schemas. The
/// schemas of the server's own binds need less.
pub(crate) const STACK: usize = 8 * 1024 * 1024;
/// The length of a guest's body, in bytes, above which another thread checks it. Other guests of the thread continue
/// meanwhile.
pub(crate) const ASIDE: usize = 64 * 1024;
/// The same limit for resources that share the node's thread, which handles every message of the server.
const ASIDE_OF_NODE: usize = 4 * 1024;
/// The number of steps above which another thread checks a body.
const ASIDE_STEPS: u64 = 100_000;
/// The length of a body, in bytes, above which it is large. Large bodies have their own limit, so that small ones do
/// not wait for them.
const LARGE: usize = 1024 * 1024;
/// The maximum number of bytes of small bodies that other threads check at a time. A parsed body uses up to 30 times
/// its size.
const SMALL_AT_ONCE: usize = 4 * 1024 * 1024;
/// The same for large bodies.
const LARGE_AT_ONCE: usize = 12 * 1024 * 1024;
/// The maximum number of small bodies of one space that are checked at a time. For large bodies the maximum is one.
const SMALL_OF_ONE: usize = 4;
/// The content type of a body with a JSON value in each line. A bind that has a schema for it means each line.
const LINES: &str = "application/x-ndjson";
/// The maximum work for the check of one body, the same as in pages.
const BOUNDS: Bounds =
    Bounds { steps: STEPS, steps_per_byte: STEPS_PER_BYTE, max_steps: MAX_STEPS, quoted: QUOTED_CHARS };

/// The compiled schemas of a bind.
#[derive(Debug, Default)]
pub(crate) struct Contract {
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
        let tables: Value =
            serde_json::from_str(text).map_err(|error| format!("the contract is not valid JSON: {error}"))?;
        let table = |name: &str| {
            let schemas = tables.get(name).and_then(Value::as_object).into_iter().flatten();
            schemas
                .map(|(operation, schema)| Ok((operation.clone(), Validator::new(schema, BOUNDS)?)))
                .collect::<Result<_, String>>()
        };
        Ok(Self { requests: table("requests")?, responses: table("responses")?, events: table("events")? })
    }

    pub(crate) fn schema(&self, part: BodyRole, name: &str) -> Option<&Validator> {
        let table = match part {
            BodyRole::Request => &self.requests,
            BodyRole::Response => &self.responses,
            BodyRole::Event => &self.events,
        };
        table.get(name)
    }

    /// Checks a body. The error gives the mismatch and its place, as a JSON pointer.
    pub(crate) fn check(&self, part: BodyRole, name: &str, body: &[u8]) -> Result<(), String> {
        let Some(schema) = self.schema(part, name) else { return Ok(()) };
        let value = Validator::read(body).map_err(|what| misfit(part, name, what))?;
        schema.check(&value, body.len()).map_err(|what| misfit(part, name, what))
    }

    /// Checks lines in order, until one does not match.
    fn check_lines(&self, part: BodyRole, name: &str, lines: &[Line]) -> Result<(), String> {
        let Some(schema) = self.schema(part, name) else { return Ok(()) };
        lines.iter().try_for_each(|line| {
            let value = Validator::read(&line.text).map_err(|what| misfit_line(part, name, line, what))?;
            schema.check(&value, line.text.len()).map_err(|what| misfit_line(part, name, line, what))
        })
    }
}

/// The text about a mismatch, for people.
fn misfit(part: BodyRole, name: &str, what: impl Display) -> String {
    format!("the {} `{name}` does not fit its schema: {what}", role_name(part))
}

fn misfit_line(part: BodyRole, name: &str, line: &Line, what: impl Display) -> String {
    misfit(part, name, format_args!("line {}: {what}", line.number))
}

fn role_name(part: BodyRole) -> &'static str {
    match part {
        BodyRole::Request => "request",
        BodyRole::Response => "response",
        BodyRole::Event => "event",
    }
}

/// The contracts in use, each compiled once.
#[derive(Debug)]
pub(crate) struct Contracts {
    known: RefCell<HashMap<String, Weak<Contract>>>,
    rooms: Rooms,
}

/// The limits on bodies that other threads check.
#[derive(Debug, Clone)]
struct Rooms {
    small: Room,
    large: Room,
}

impl Default for Contracts {
    fn default() -> Self {
        let (small, large) = (Room::new(SMALL_AT_ONCE, SMALL_OF_ONE), Room::new(LARGE_AT_ONCE, 1));
        Self { known: RefCell::default(), rooms: Rooms { small, large } }
    }
}

impl Contracts {
    /// Returns the checker of a contract. Bodies longer than `aside` bytes are checked on another thread. The error
    /// says what is wrong with the contract.
    pub(crate) fn checker(&self, text: &str, aside: usize) -> Result<Checker, String> {
        Ok(Checker { contract: self.get(text)?, rooms: self.rooms.clone(), aside })
    }

    /// A contract for resources that are not mechtrons. Errors with 500 if it cannot be compiled, although it was
    /// compiled earlier.
    pub(crate) fn bound(&self, contract: starlane_bundle::Contract) -> Result<Bound, Failure> {
        let text = contract.bind.contract(&contract.schemas);
        let checker = self.checker(&text, ASIDE_OF_NODE).map_err(Failure::internal)?;
        Ok(Bound::new(contract.bind, std::rc::Rc::new(checker)))
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

/// Checks the bodies of one resource.
#[derive(Debug, Clone)]
pub(crate) struct Checker {
    contract: Arc<Contract>,
    rooms: Rooms,
    /// The length of a body, in bytes, above which another thread checks it.
    aside: usize,
}

impl Checker {
    /// Whether bodies of this part have a schema.
    pub(crate) fn has(&self, part: BodyRole, name: &str) -> bool {
        self.contract.schema(part, name).is_some()
    }

    /// Whether what the guest sends may have a schema.
    pub(crate) fn checks_output(&self) -> bool {
        !self.contract.responses.is_empty() || !self.contract.events.is_empty()
    }

    /// Checks a body. The error names the mismatch. A long check waits in the queue on the account of `payer`.
    pub(crate) async fn check(
        &self,
        part: BodyRole,
        name: &str,
        payload: &Payload,
        payer: impl FnOnce() -> Owner,
    ) -> Result<(), String> {
        let Some(schema) = self.contract.schema(part, name) else { return Ok(()) };
        let body = payload.body.clone();
        if payload.media_type() == LINES {
            let ended = LineSplitter::of_whole(&body);
            return self.check_lines(part, name, ended, payer).await.map_err(|failure| failure.message);
        }
        if body.len() <= self.aside {
            let value = Validator::read(&body).map_err(|what| misfit(part, name, what))?;
            if schema.steps(&value) <= ASIDE_STEPS {
                return schema.check(&value, body.len()).map_err(|what| misfit(part, name, what));
            }
        }
        let name = name.to_owned();
        self.aside(body.len(), payer(), move |contract| contract.check(part, &name, &body)).await
    }

    /// Checks lines of a stream in order, until one does not match or is too long. A long check waits in the queue on
    /// the account of `payer`.
    pub(crate) async fn check_lines(
        &self,
        part: BodyRole,
        name: &str,
        EndedLines { lines, too_long }: EndedLines,
        payer: impl FnOnce() -> Owner,
    ) -> Result<(), Failure> {
        self.check_each(part, name, lines, payer).await.map_err(Failure::schema_mismatch)?;
        match too_long {
            Some(number) => Err(Failure::too_large(format!(
                "line {number} of the {} `{name}` is too long; the maximum is {LINE_BYTES} bytes",
                role_name(part)
            ))),
            None => Ok(()),
        }
    }

    async fn check_each(
        &self,
        part: BodyRole,
        name: &str,
        mut lines: Vec<Line>,
        payer: impl FnOnce() -> Owner,
    ) -> Result<(), String> {
        let Some(schema) = self.contract.schema(part, name) else { return Ok(()) };
        let bytes: usize = lines.iter().map(|line| line.text.len()).sum();
        let (mut steps, mut checked) = (0, 0);
        for line in lines.iter().take_while(|_| bytes <= self.aside) {
            let value = Validator::read(&line.text).map_err(|what| misfit_line(part, name, line, what))?;
            steps += schema.steps(&value);
            if steps > ASIDE_STEPS {
                break;
            }
            schema.check(&value, line.text.len()).map_err(|what| misfit_line(part, name, line, what))?;
            checked += 1;
        }
        lines.drain(..checked);
        if lines.is_empty() {
            return Ok(());
        }
        let name = name.to_owned();
        self.aside(bytes, payer(), move |contract| contract.check_lines(part, &name, &lines)).await
    }

    /// Runs a check of so many bytes on another thread.
    async fn aside(
        &self,
        bytes: usize,
        payer: Owner,
        check: impl FnOnce(&Contract) -> Result<(), String> + Send + 'static,
    ) -> Result<(), String> {
        let Rooms { small, large } = &self.rooms;
        let room = if bytes <= LARGE { small } else { large };
        let share = room.take(payer, bytes.min(LARGE_AT_ONCE)).await;
        let contract = Arc::clone(&self.contract);
        let checked = tokio::task::spawn_blocking(move || {
            // A check continues after its caller is cancelled, and its bytes stay counted until it ends.
            let _share = share;
            check(&contract)
        });
        checked.await.unwrap_or_else(|error| Err(format!("cannot check the body: {error}")))
    }
}

impl Schemas for Checker {
    fn check(
        &self,
        part: BodyRole,
        name: &str,
        payload: Payload,
        payer: &Principal,
    ) -> LocalBoxFuture<'static, Result<(), String>> {
        let (checker, name, payer) = (self.clone(), name.to_owned(), payer.clone());
        Box::pin(async move { Checker::check(&checker, part, &name, &payload, || Owner::of_principal(&payer)).await })
    }
}

#[cfg(test)]
mod tests;
