//! Handlers: resources of this host that are code, not guests: drivers, and functions of a page.

use std::{future::Future, rc::Rc};

use futures_util::future::LocalBoxFuture;
use starlane_node::HandlerId;
use starlane_protocol::{Address, Failure, Message, Outcome, Payload};

use crate::host::Host;

/// Answers the messages to an address.
pub trait Handler {
    /// Handles one message. For a one-way message the outcome is logged if it is a failure. The future is dropped when
    /// nobody waits any more.
    fn handle(&self, message: Message) -> LocalBoxFuture<'static, Outcome>;
}

struct HandlerFn<F>(F);

impl<F, O> Handler for HandlerFn<F>
where
    F: Fn(Message) -> O,
    O: Future<Output = Outcome> + 'static,
{
    fn handle(&self, message: Message) -> LocalBoxFuture<'static, Outcome> {
        Box::pin((self.0)(message))
    }
}

/// A function as a handler.
pub fn handler<F, O>(function: F) -> Rc<dyn Handler>
where
    F: Fn(Message) -> O + 'static,
    O: Future<Output = Outcome> + 'static,
{
    Rc::new(HandlerFn(function))
}

/// An address that is served; dropping it releases the address.
pub struct Served {
    pub(crate) host: Host,
    pub(crate) id: HandlerId,
    pub(crate) address: Address,
}

impl Served {
    /// The address.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// It emits these events and no others: who subscribes to another is told so.
    pub fn with_events(self, events: &[&str]) -> Self {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        self.host.turn(|node, _| node.handle_events(self.id, events));
        self
    }

    /// Emits an event to the topic `address#event`. Errors when `event` does not have the form of a segment.
    pub fn emit(&self, event: &str, payload: Payload) -> Result<(), Failure> {
        self.host.emit(&self.address, event, payload)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.host.release(self.id);
    }
}
