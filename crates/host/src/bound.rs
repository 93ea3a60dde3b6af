//! Handlers under a bind: what a message carries is checked before a handler has it, and what a handler answers before anybody else has
//! it. The node checks operations and content types of messages; this checks the rest. A page has none of it: functions of a page
//! say the names of their operations alone.

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

/// Turns that have ended are not swept while there are fewer.
const MIN_SWEPT: usize = 64;

/// What a schema is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// What an operation takes.
    Request,
    /// What it answers.
    Response,
    /// What an event carries.
    Event,
}

/// The schemas of a bind, ready to check bodies.
pub trait Schemas {
    /// Checks what an operation or event of this name carries; what has no schema fits. The error says what does not fit, and where,
    /// as a JSON pointer. Checking is done at the expense of `payer`.
    fn check(
        &self,
        part: Part,
        name: &str,
        payload: Payload,
        payer: &Principal,
    ) -> LocalBoxFuture<'static, Result<(), String>>;
}

/// Decides whether a message may enter, before its body is looked at.
pub type Entry = Rc<dyn Fn(&Message) -> Result<(), Failure>>;

/// A bind that is enforced. Clones are the same.
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

    /// Lets `entry` decide, after those before it, which messages enter. It costs little: a message that it refuses has cost nothing
    /// more.
    pub fn entered_by(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// The bind.
    pub fn bind(&self) -> &Bind {
        &self.bind
    }

    /// Serves an address with a handler that gets only what fits, and whose answers fit. Errors as [`Host::serve`] does.
    pub fn serve(&self, host: &Host, address: &Address, handler: Rc<dyn Handler>) -> Result<Served, Failure> {
        let (operations, handler) = self.hold(handler);
        let events: Vec<&str> = self.bind.events.keys().map(String::as_str).collect();
        Ok(host.serve(address, operations, handler)?.with_events(&events))
    }

    /// What a handler is registered with, and what stands before it.
    pub(crate) fn hold(&self, handler: Rc<dyn Handler>) -> (Operations, Rc<dyn Handler>) {
        let checked = Checked { bound: self.clone(), handler, turns: RefCell::default() };
        (Operations::of_bind(&self.bind), Rc::new(checked))
    }

    /// Emits an event that fits. Errors with 422 `schema-mismatch` when it does not, and with 404 when the bind has no such event.
    pub async fn emit(&self, served: &Served, event: &str, payload: Payload) -> Result<(), Failure> {
        let Some(body) = self.bind.events.get(event) else {
            return Err(Failure::no_event(format!("the bind `{}` has no event `{event}`", self.bind.name)));
        };
        if !body.accepts(&payload.content_type) {
            let message = format!("the event `{event}` is {}, not {}", body.content_type, payload.content_type);
            return Err(Failure::schema_mismatch(message));
        }
        let payer = Principal::named(&self.bind.name);
        self.fits(Part::Event, event, &payload, &payer).await?;
        served.emit(event, payload)
    }

    async fn fits(&self, part: Part, name: &str, payload: &Payload, payer: &Principal) -> Result<(), Failure> {
        let read = if is_nothing(payload) { Payload::json("null") } else { payload.clone() };
        self.schemas.check(part, name, read, payer).await.map_err(Failure::schema_mismatch)
    }

    /// Checks an answer, its content type too.
    async fn answers(&self, operation: &str, payload: &Payload, payer: &Principal) -> Result<(), Failure> {
        let response = self.bind.operations.get(operation).and_then(|operation| operation.response.as_ref());
        let Some(body) = response else { return Ok(()) };
        if !is_nothing(payload) && !body.accepts(&payload.content_type) {
            let (wanted, given) = (&body.content_type, &payload.content_type);
            let message = format!("`{operation}` answers with {wanted}, and the resource gave {given}");
            return Err(Failure::schema_mismatch(message));
        }
        self.fits(Part::Response, operation, payload, payer).await
    }
}

/// "Nothing" is read as `null`: whoever has nothing to say need not say it in JSON.
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
            let fits = bound.fits(Part::Request, &operation, &message.payload, &caller).await;
            // The next of its sender is looked at now, and comes to the handler after this one.
            drop(turn);
            fits.map_err(|failure| failure.at(&to))?;
            let answer = handler.handle(message).await?;
            bound.answers(&operation, &answer, &caller).await.map_err(|failure| failure.at(&to))?;
            Ok(answer)
        })
    }
}

/// Messages of one sender keep their order, though a large one takes longer to check than a small one after it.
#[derive(Default)]
struct Turns {
    last: BTreeMap<(Address, String), oneshot::Receiver<()>>,
    /// Turns that have ended are swept when there are as many.
    sweep_at: usize,
    /// How many turns were looked at by sweeping.
    #[cfg(test)]
    swept: usize,
}

impl Turns {
    /// What the check of a message waits for, and what ends its turn when it is dropped.
    fn take(&mut self, message: &Message) -> (Option<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        // A peer chooses `from`, so there may be many: each is looked at once on average.
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
