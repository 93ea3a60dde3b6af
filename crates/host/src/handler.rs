//! Handlers: resources of this host that are code and not guests, such as drivers and functions of a page.

use std::{future::Future, rc::Rc};

use futures_util::future::LocalBoxFuture;
use starlane_node::HandlerId;
use starlane_protocol::{Address, Failure, Message, Outcome, Payload};

use crate::host::Host;

/// Answers the messages to an address.
pub trait Handler {
    /// Handles one message. The host logs a failure of a one-way message. The host drops the future when the sender
    /// stops waiting.
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

/// A served address. Dropping this releases the address.
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

    /// Declares that it emits only these events. A subscription to another event is refused.
    pub fn with_events(self, events: &[&str]) -> Self {
        let events = events.iter().map(|event| (*event).to_owned()).collect();
        self.host.turn(|node, _| node.handle_events(self.id, events));
        self
    }

    /// Emits an event to the topic `address#event`. Returns an error if `event` does not have the form of a segment.
    pub fn emit(&self, event: &str, payload: Payload) -> Result<(), Failure> {
        self.host.emit(&self.address, event, payload)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.host.release(self.id);
    }
}
