//! A subscription, as JavaScript reads it.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures_util::Stream;
use js_sys::Promise;
use starlane_host::{Item, Subscription};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::values::{failure_to_js, make_event, make_gap, make_lagged, to_js};

/// The events of a topic.
#[wasm_bindgen]
pub struct RawSubscription(Rc<RefCell<Reading>>);

struct Reading {
    subscription: Option<Subscription>,
    waker: Option<Waker>,
}

impl RawSubscription {
    pub(crate) fn new(subscription: Subscription) -> Self {
        Self(Rc::new(RefCell::new(Reading { subscription: Some(subscription), waker: None })))
    }
}

#[wasm_bindgen]
impl RawSubscription {
    /// Returns the next buffered item, or the failure that ended the subscription. `undefined`: nothing is buffered. `null`: the
    /// subscription has ended.
    #[wasm_bindgen(unchecked_return_type = "RawItem | RawFailure | null | undefined")]
    pub fn take(&self) -> JsValue {
        match self.0.borrow_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(item) => item_to_js(item),
            Poll::Pending => JsValue::UNDEFINED,
        }
    }

    /// Waits for the next item; `null` at the end.
    #[wasm_bindgen(unchecked_return_type = "Promise<RawItem | RawFailure | null>")]
    pub fn next(&self) -> Promise {
        let reading = Rc::clone(&self.0);
        future_to_promise(async move { Ok(item_to_js(poll_fn(|context| reading.borrow_mut().poll(context)).await)) })
    }

    /// Unsubscribes. A pending `next` gets the end.
    pub fn close(&self) {
        let (subscription, waker) = {
            let mut reading = self.0.borrow_mut();
            (reading.subscription.take(), reading.waker.take())
        };
        drop(subscription);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Reading {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let Some(subscription) = &mut self.subscription else { return Poll::Ready(None) };
        let polled = Pin::new(subscription).poll_next(context);
        if polled.is_pending() {
            self.waker = Some(context.waker().clone());
        }
        polled
    }
}

fn item_to_js(item: Option<Item>) -> JsValue {
    match item {
        Some(Item::Event { from, payload }) => make_event(from.as_str(), &to_js(&payload)),
        Some(Item::Lagged(count)) => make_lagged(count as f64),
        Some(Item::Gap) => make_gap(),
        Some(Item::Refused(failure)) => failure_to_js(&failure),
        None => JsValue::NULL,
    }
}
