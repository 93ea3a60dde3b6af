//! Handlers: resources of this host that are code and not guests, such as drivers and functions of a page.

use std::{
    future::{Future, ready},
    rc::Rc,
};

use futures_channel::oneshot;
use futures_util::future::{AbortHandle, LocalBoxFuture};
use starlane_node::HandlerId;
use starlane_protocol::{Address, Failure, Message, Outcome, Payload};

use crate::{host::Host, stream::Incoming};

/// Answers the messages to an address.
pub trait Handler {
    /// Handles one message. The host logs a failure of a one-way message. The host drops the future when the sender
    /// stops waiting.
    fn handle(&self, message: Message) -> LocalBoxFuture<'static, Outcome>;

    /// Handles one message whose body is a stream. By default it is refused with 415 `no-streams`.
    fn handle_stream(&self, message: Message, stream: Incoming) -> LocalBoxFuture<'static, Outcome> {
        let text = format!("`{}` of {} takes no stream: send the whole body", message.operation, message.to);
        let refused = Failure::no_streams(text);
        stream.stop(refused.clone());
        Box::pin(ready(Err(refused)))
    }
}

/// A request that a handler is answering.
pub(crate) struct Handling {
    pub(crate) abort: AbortHandle,
    pub(crate) handler: HandlerId,
    pub(crate) to: Address,
    /// Completes when the request is answered. Only one caller can wait for it.
    pub(crate) ended: Option<oneshot::Receiver<()>>,
}

/// The failure for a handler that was released before it answered. Its effects can have happened.
pub(crate) fn unknown_outcome(to: &Address) -> Failure {
    let message = "the resource was released while it handled the request: what was asked may have been done or not; look \
                   before you ask again";
    Failure::new(500, "outcome-unknown", message).at(to)
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

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use futures_util::future::{join, join3, pending};
    use starlane_node::{Operations, Origin, Principal};

    use super::*;
    use crate::{
        ports::Time,
        testing::{launch_world::address, resource_suite, virtual_time::VirtualTime},
    };

    #[test]
    fn open_requests_of_a_released_handler_have_an_unknown_outcome() {
        let time = VirtualTime::default();
        let clock = time.clone();
        let done = time.run(async move {
            let host = resource_suite::bare_host(&(Rc::new(clock.clone()) as Rc<dyn Time>));
            let at = address("acme:texts");
            let from = Origin { address: address("acme:asker"), caller: Principal::named("ada") };
            let serve = |handler| host.serve(&at, Operations::Named(vec!["put".to_owned()]), handler).unwrap();
            let put = || host.request(&from, &at, "put", Payload::nothing(), 0);

            let served = RefCell::new(Some(serve(handler(|_| pending()))));
            let (outcome, ()) = join(put(), async {
                clock.sleep(5).await;
                drop(served.take());
            })
            .await;
            assert_eq!(outcome.unwrap_err().code, "outcome-unknown");
            assert_ne!(put().await.unwrap_err().code, "outcome-unknown", "it was never started");

            // Waiting for all answers does not consume the answer of a requester.
            let slow = clock.clone();
            let answer = handler(move |_| {
                let slow = slow.clone();
                async move {
                    slow.sleep(50).await;
                    Ok(Payload::nothing())
                }
            });
            let served = RefCell::new(Some(serve(answer)));
            let release = async {
                clock.sleep(5).await;
                host.answered(&address("acme:texts")).await;
                drop(served.take());
            };
            let (first, second, ()) = join3(put(), put(), release).await;
            assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
            host.answered(&at).await;
        });
        assert!(done.is_some(), "it hangs");
    }
}
