//! Streams: parts that JavaScript reads, and sources that it writes from.

use std::pin::pin;

use futures_util::future::{Either, select};
use js_sys::{Promise, Uint8Array};
use starlane_host::{Host, Incoming, Outgoing};
use starlane_protocol::{Failure, StreamRef};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, future_to_promise};

use crate::{
    reading::Reading,
    tickets::Tickets,
    values::{failure_from_js, failure_to_js},
};

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** The source of a stream. `next` returns the next part, and `undefined` at the end; its rejection is the failure of the stream. */
export interface RawSource {
  /** Cancelling this ticket ends the stream with `cancelled`, and the source is not used any more. */
  readonly ticket: number;
  next(): Promise<Uint8Array | undefined>;
  /** Called when the stream takes nothing more: it has ended, or for this reason of its reader or of a host. */
  ended(failure: RawFailure | undefined): void;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The source of a stream that JavaScript writes.
    #[wasm_bindgen(typescript_type = "RawSource")]
    pub type RawSource;
    #[wasm_bindgen(method, structural, getter)]
    fn ticket(this: &RawSource) -> u32;
    #[wasm_bindgen(method, structural, catch)]
    fn next(this: &RawSource) -> Result<Promise, JsValue>;
    #[wasm_bindgen(method, structural)]
    fn ended(this: &RawSource, failure: JsValue);
}

/// Opens a stream that takes its parts from a source, one at a time: the next one when all earlier ones were within its credit.
pub(crate) fn write_from(source: RawSource, host: &Host, tickets: &Tickets) -> StreamRef {
    let (stream, outgoing) = host.open_stream();
    let ticket = source.ticket();
    let writing = async move {
        let failure = write(outgoing, &source).await;
        source.ended(failure.map_or(JsValue::UNDEFINED, |failure| failure_to_js(&failure)));
    };
    tickets.spawn(ticket, writing);
    stream
}

/// Writes all parts of a source. Returns why the stream takes no more, unless that is because of the source.
async fn write(mut outgoing: Outgoing, source: &RawSource) -> Option<Failure> {
    loop {
        let next = async { JsFuture::from(source.next()?).await };
        let part = match select(pin!(next), pin!(outgoing.stopped())).await {
            Either::Left((part, _)) => part,
            Either::Right((failure, _)) => return Some(failure),
        };
        match part {
            Ok(part) if part.is_undefined() => {
                outgoing.finish(None);
                return None;
            }
            Ok(part) => {
                let part = part.unchecked_into::<Uint8Array>().to_vec();
                if let Err(failure) = outgoing.write(part.into()).await {
                    return Some(failure);
                }
            }
            Err(thrown) => {
                outgoing.finish(Some(failure_from_js(&thrown)));
                return None;
            }
        }
    }
}

/// A stream that JavaScript reads. Freeing the object stops its writer with `cancelled`.
#[wasm_bindgen]
pub struct RawReader(Reading<Incoming>);

impl RawReader {
    pub(crate) fn new(incoming: Incoming) -> Self {
        Self(Reading::new(incoming))
    }
}

#[wasm_bindgen]
impl RawReader {
    /// Waits for the next part; `undefined` at the end. Rejects with the failure that cut the stream short.
    #[wasm_bindgen(unchecked_return_type = "Promise<Uint8Array | undefined>")]
    pub fn next(&self) -> Promise {
        let next = self.0.next();
        future_to_promise(async move {
            match next.await {
                Some(Ok(part)) => Ok(Uint8Array::new_from_slice(&part).into()),
                Some(Err(failure)) => Err(failure_to_js(&failure)),
                None => Ok(JsValue::UNDEFINED),
            }
        })
    }

    /// Stops the writer for a reason, a failure. A pending `next` gets the end.
    pub fn stop(&self, reason: &JsValue) {
        if let Some(incoming) = self.0.close() {
            incoming.stop(failure_from_js(reason));
        }
    }
}
