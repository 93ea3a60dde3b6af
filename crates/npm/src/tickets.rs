//! Work that JavaScript can cancel by a number that JavaScript chose.

use std::{cell::RefCell, rc::Rc};

use futures_util::future::{AbortHandle, LocalBoxFuture, abortable};
use js_sys::Promise;
use litemap::LiteMap;
use starlane_protocol::Failure;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::{future_to_promise, spawn_local};

use crate::values::failure_to_js;

/// The pending work that has a number.
#[derive(Clone, Default)]
pub(crate) struct Tickets(Rc<RefCell<LiteMap<u32, AbortHandle>>>);

impl Tickets {
    /// Starts work as a promise. Number 0 is for work that cannot be cancelled.
    pub(crate) fn start(&self, ticket: u32, work: LocalBoxFuture<'static, Result<JsValue, JsValue>>) -> Promise {
        if ticket == 0 {
            return future_to_promise(work);
        }
        let (work, handle) = abortable(work);
        self.0.borrow_mut().insert(ticket, handle);
        let tickets = self.clone();
        future_to_promise(async move {
            let result = work.await;
            tickets.0.borrow_mut().remove(&ticket);
            result.unwrap_or_else(|_| Err(failure_to_js(&Failure::new(499, "cancelled", "the caller cancelled it"))))
        })
    }

    /// Starts work whose end nobody waits for.
    pub(crate) fn spawn(&self, ticket: u32, work: impl Future<Output = ()> + 'static) {
        let (work, handle) = abortable(work);
        self.0.borrow_mut().insert(ticket, handle);
        let tickets = self.clone();
        spawn_local(async move {
            let _ = work.await;
            tickets.0.borrow_mut().remove(&ticket);
        });
    }

    /// Cancels the work with this number. Its resources are released at its next turn.
    pub(crate) fn cancel(&self, ticket: u32) {
        let handle = self.0.borrow_mut().remove(&ticket);
        if let Some(handle) = handle {
            handle.abort();
        }
    }
}
