//! Addresses that the page serves: a function takes each message and returns a promise of the reply.

use futures_util::future::LocalBoxFuture;
use js_sys::{Function, Promise};
use starlane_host::{Handler, Host, Incoming, Served};
use starlane_protocol::{Failure, Message, Outcome};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::AbortController;

use crate::{
    tickets::Tickets,
    values::{RawPayload, failure_from_js, failure_to_js, from_js, from_js_with_source, make_incoming, to_js},
};

/// An address that the page serves. Freeing the object releases the address.
#[wasm_bindgen]
pub struct RawServed(Served);

impl RawServed {
    pub(crate) fn new(served: Served) -> Self {
        Self(served)
    }
}

#[wasm_bindgen]
impl RawServed {
    /// Emits an event of this address.
    pub fn emit(&self, event: &str, payload: &RawPayload) -> Result<(), JsValue> {
        let emitted = from_js(payload).and_then(|payload| self.0.emit(event, payload));
        emitted.map_err(|failure| failure_to_js(&failure.at(self.0.address())))
    }
}

/// A JavaScript function as a handler. It decides by itself whether it takes a stream.
pub(crate) struct FunctionHandler {
    pub(crate) function: Function,
    pub(crate) host: Host,
    pub(crate) tickets: Tickets,
}

impl Handler for FunctionHandler {
    fn handle(&self, incoming: Message) -> LocalBoxFuture<'static, Outcome> {
        self.call(incoming, None)
    }

    fn handle_stream(&self, incoming: Message, stream: Incoming) -> LocalBoxFuture<'static, Outcome> {
        self.call(incoming, Some(stream))
    }
}

impl FunctionHandler {
    fn call(&self, incoming: Message, stream: Option<Incoming>) -> LocalBoxFuture<'static, Outcome> {
        let (function, host, tickets) = (self.function.clone(), self.host.clone(), self.tickets.clone());
        // The first poll calls the function, so that it never runs in the middle of the host's own turn.
        Box::pin(async move {
            let controller =
                AbortController::new().map_err(|_| Failure::internal("this browser has no AbortController"))?;
            let mut abandoned = AbortOnDrop(Some(controller));
            let signal = abandoned.0.as_ref().map(AbortController::signal);
            let signal = signal.ok_or_else(|| Failure::internal("the handler was abandoned"))?;
            let message = make_incoming(
                &incoming.operation,
                &to_js(&incoming.payload, stream),
                incoming.from.as_str(),
                incoming.caller.name(),
                &signal,
            );
            let called = function.call1(&JsValue::UNDEFINED, &message);
            let answered = match called {
                Ok(value) => JsFuture::from(Promise::resolve(&value)).await,
                Err(error) => Err(error),
            };
            abandoned.0 = None;
            let reply = answered.map_err(|error| failure_from_js(&error).at(&incoming.to))?;
            from_js_with_source(reply.unchecked_ref::<RawPayload>(), &host, &tickets)
        })
    }
}

/// Aborts the function's signal when nobody waits for the reply any more.
struct AbortOnDrop(Option<AbortController>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(controller) = &self.0 {
            controller.abort();
        }
    }
}
