//! Verifies bundles with code that the page loads when it launches its first app.

use std::pin::pin;

use futures_util::future::{Either, LocalBoxFuture, select};
use js_sys::{Function, Promise, Uint8Array};
use starlane_host::{Verification, VerifiedApp, ports::Verifier};
use starlane_protocol::Failure;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use crate::{failure, time::wait};

/// The time limit for loading that code and verifying a bundle.
const VERIFY_TIMEOUT_MS: u64 = 30_000;

/// Verifies bundles with a JavaScript function.
pub struct PageVerifier(Function);

impl PageVerifier {
    /// A verifier that calls `verify(question)`. The function takes a [`Verification`] and resolves to the answer of
    /// [`starlane_host::verify`], both as a `Uint8Array`.
    pub fn new(verify: Function) -> Self {
        Self(verify)
    }
}

impl Verifier for PageVerifier {
    fn verify(&self, verification: Verification) -> LocalBoxFuture<'static, Result<VerifiedApp, Failure>> {
        let question = Uint8Array::from(verification.to_bytes().as_slice());
        let promised = self.0.call1(&JsValue::UNDEFINED, &question);
        Box::pin(async move {
            let answer = async move { JsFuture::from(Promise::resolve(&promised?)).await };
            let answer = match select(pin!(answer), pin!(wait(VERIFY_TIMEOUT_MS))).await {
                Either::Left((answer, _)) => answer.map_err(|error| failure::text(&error)),
                Either::Right(_) => Err(format!("the verifier of bundles did not load within {VERIFY_TIMEOUT_MS} ms")),
            };
            let bytes = answer.and_then(|answer| {
                answer.dyn_into::<Uint8Array>().map_err(|_| "the verifier of bundles returned no bytes".to_owned())
            });
            VerifiedApp::from_answer(&bytes.map_err(|message| Failure::new(503, "load-failed", message))?.to_vec())
        })
    }
}
