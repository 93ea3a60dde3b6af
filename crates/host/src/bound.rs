//! Handlers under a bind: each message is checked before a handler gets it, and each reply before its requester gets
//! it. The node checks operations and content types of messages; this checks the rest. Pages do not use this: functions
//! of a page declare only the names of their operations.

use std::{cell::RefCell, collections::BTreeMap, future::ready, rc::Rc};

use futures_channel::oneshot;
use futures_util::future::LocalBoxFuture;
use starlane_bundle::Bind;
use starlane_node::{Operations, Principal};
use starlane_protocol::{Address, Failure, Message, Outcome, Payload};

use crate::{
    handler::{Handler, Served},
    host::Host,
};

/// The minimum number of turns for a sweep of ended ones.
const MIN_SWEPT: usize = 64;

/// The kind of body that a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRole {
    /// The body of a request.
    Request,
    /// The body of its response.
    Response,
    /// The body of an event.
    Event,
}

/// The schemas of a bind, ready to check bodies.
pub trait Schemas {
    /// Checks the body of an operation or event. A body without a schema always matches. The error gives the mismatch
    /// and its place, as a JSON pointer. The work is charged to `payer`.
    fn check(
        &self,
        part: BodyRole,
        name: &str,
        payload: Payload,
        payer: &Principal,
    ) -> LocalBoxFuture<'static, Result<(), String>>;
}

/// Decides whether a message is admitted, before its body is checked.
pub type Entry = Rc<dyn Fn(&Message) -> Result<(), Failure>>;

/// A bind that is checked for each message. Clones are the same.
#[derive(Clone)]
pub struct Bound {
    bind: Rc<Bind>,
    schemas: Rc<dyn Schemas>,
    entries: Vec<Entry>,
}

impl Bound {
    /// A bind, and what checks its schemas.
    pub fn new(bind: Bind, schemas: Rc<dyn Schemas>) -> Self {
        Self { bind: Rc::new(bind), schemas, entries: Vec::new() }
    }

    /// Adds `entry`, which decides after the earlier ones which messages are admitted. It must be cheap, because it
    /// runs before every other check.
    pub fn entered_by(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// The bind.
    pub fn bind(&self) -> &Bind {
        &self.bind
    }

    /// Serves an address with a handler. Its requests and replies are checked. Errors as [`Host::serve`] does.
    pub fn serve(&self, host: &Host, address: &Address, handler: Rc<dyn Handler>) -> Result<Served, Failure> {
        let (operations, handler) = self.hold(handler);
        let events: Vec<&str> = self.bind.events.keys().map(String::as_str).collect();
        Ok(host.serve(address, operations, handler)?.with_events(&events))
    }

    /// A registered handler with its checks.
    pub(crate) fn hold(&self, handler: Rc<dyn Handler>) -> (Operations, Rc<dyn Handler>) {
        let checked = Checked { bound: self.clone(), handler, turns: RefCell::default() };
        (Operations::of_bind(&self.bind), Rc::new(checked))
    }

    /// Emits an event after checking it. Errors with 422 `schema-mismatch` when it does not match, and with 404 when
    /// the bind has no such event.
    pub async fn emit(&self, served: &Served, event: &str, payload: Payload) -> Result<(), Failure> {
        let Some(body) = self.bind.events.get(event) else {
            return Err(Failure::no_event(format!("the bind `{}` has no event `{event}`", self.bind.name)));
        };
        if !body.accepts(&payload.content_type) {
            let message = format!("the event `{event}` is {}, not {}", body.content_type, payload.content_type);
            return Err(Failure::schema_mismatch(message));
        }
        let payer = Principal::named(&self.bind.name);
        self.fits(BodyRole::Event, event, &payload, &payer).await?;
        served.emit(event, payload)
    }

    async fn fits(&self, part: BodyRole, name: &str, payload: &Payload, payer: &Principal) -> Result<(), Failure> {
        let read = if is_nothing(payload) { Payload::json("null") } else { payload.clone() };
        self.schemas.check(part, name, read, payer).await.map_err(Failure::schema_mismatch)
    }

    /// Checks a reply, including its content type.
    async fn answers(&self, operation: &str, payload: &Payload, payer: &Principal) -> Result<(), Failure> {
        let response = self.bind.operations.get(operation).and_then(|operation| operation.response.as_ref());
        let Some(body) = response else { return Ok(()) };
        if !is_nothing(payload) && !body.accepts(&payload.content_type) {
            let (wanted, given) = (&body.content_type, &payload.content_type);
            let message = format!("`{operation}` answers with {wanted}, and the resource gave {given}");
            return Err(Failure::schema_mismatch(message));
        }
        self.fits(BodyRole::Response, operation, payload, payer).await
    }
}

/// An empty body is read as `null`, so that a caller without parameters need not send JSON.
fn is_nothing(payload: &Payload) -> bool {
    payload.content_type.is_empty() && payload.body.is_empty()
}

/// A handler under a bind.
struct Checked {
    bound: Bound,
    handler: Rc<dyn Handler>,
    turns: RefCell<Turns>,
}

impl Handler for Checked {
    fn handle(&self, message: Message) -> LocalBoxFuture<'static, Outcome> {
        if let Err(failure) = self.bound.entries.iter().try_for_each(|entry| entry(&message)) {
            return Box::pin(ready(Err(failure.at(&message.to))));
        }
        let (bound, handler) = (self.bound.clone(), Rc::clone(&self.handler));
        let (before, turn) = self.turns.borrow_mut().take(&message);
        Box::pin(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let (to, operation, caller) = (message.to.clone(), message.operation.clone(), message.caller.clone());
            let fits = bound.fits(BodyRole::Request, &operation, &message.payload, &caller).await;
            // The check of the sender's next message starts now; the handler gets it after this one.
            drop(turn);
            fits.map_err(|failure| failure.at(&to))?;
            let answer = handler.handle(message).await?;
            bound.answers(&operation, &answer, &caller).await.map_err(|failure| failure.at(&to))?;
            Ok(answer)
        })
    }
}

/// Keeps the order of one sender's messages, even if a large one takes longer to check than a later small one.
#[derive(Default)]
struct Turns {
    last: BTreeMap<(Address, String), oneshot::Receiver<()>>,
    /// Ended turns are swept when there are this many.
    sweep_at: usize,
    /// The number of turns that sweeps have checked, for tests.
    #[cfg(test)]
    swept: usize,
}

impl Turns {
    /// The turn of a message: it waits for the earlier one, and ends when it is dropped.
    fn take(&mut self, message: &Message) -> (Option<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        // A peer chooses `from`, so there can be many entries. On average, sweeps check each entry once.
        if self.last.len() >= self.sweep_at.max(MIN_SWEPT) {
            #[cfg(test)]
            {
                self.swept += self.last.len();
            }
            self.last.retain(|_, turn| matches!(turn.try_recv(), Ok(None)));
            self.sweep_at = 2 * self.last.len();
        }
        let (turn, ended) = oneshot::channel();
        let sender = (message.from.clone(), message.caller.name().to_owned());
        (self.last.insert(sender, ended), turn)
    }
}

#[cfg(test)]
mod tests;
