//! A subscription, as JavaScript reads it.

use std::task::Poll;

use js_sys::Promise;
use starlane_host::{Item, Subscription};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

use crate::{
    reading::Reading,
    values::{failure_to_js, make_event, make_gap, make_lagged, to_js},
};

/// The events of a topic.
#[wasm_bindgen]
pub struct RawSubscription(Reading<Subscription>);

impl RawSubscription {
    pub(crate) fn new(subscription: Subscription) -> Self {
        Self(Reading::new(subscription))
    }
}

#[wasm_bindgen]
impl RawSubscription {
    /// Returns the next buffered item, or the failure that ended the subscription. `undefined`: nothing is buffered. `null`: the
    /// subscription has ended.
    #[wasm_bindgen(unchecked_return_type = "RawItem | RawFailure | null | undefined")]
    pub fn take(&self) -> JsValue {
        match self.0.take() {
            Poll::Ready(item) => item_to_js(item),
            Poll::Pending => JsValue::UNDEFINED,
        }
    }

    /// Waits for the next item; `null` at the end.
    #[wasm_bindgen(unchecked_return_type = "Promise<RawItem | RawFailure | null>")]
    pub fn next(&self) -> Promise {
        let next = self.0.next();
        future_to_promise(async move { Ok(item_to_js(next.await)) })
    }

    /// Unsubscribes. A pending `next` gets the end.
    pub fn close(&self) {
        drop(self.0.close());
    }
}

fn item_to_js(item: Option<Item>) -> JsValue {
    match item {
        Some(Item::Event { from, payload }) => make_event(from.as_str(), &to_js(&payload, None)),
        Some(Item::Lagged(count)) => make_lagged(count as f64),
        Some(Item::Gap) => make_gap(),
        Some(Item::Refused(failure)) => failure_to_js(&failure),
        None => JsValue::NULL,
    }
}
