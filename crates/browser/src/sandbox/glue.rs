//! The JavaScript that lowers calls into guests. Each batch of an inline guest crosses to it once.

use js_sys::{Object, WebAssembly::Module};
use starlane_node::guest::GuestLimits;
use wasm_bindgen::prelude::*;

use crate::object::object;

// `node crates/browser/build.mjs` makes it of `ts/module.ts`.
#[wasm_bindgen(module = "/dist/module.js")]
extern "C" {
    /// The guests of a sandbox that run in this thread: they share their buffers.
    pub(super) type InlineGuests;

    #[wasm_bindgen(constructor)]
    pub(super) fn new() -> InlineGuests;

    /// Makes an instance in this thread; `glue` is the URL of `glue.js`.
    #[wasm_bindgen(method)]
    pub(super) fn create(
        this: &InlineGuests,
        glue: &JsValue,
        module: &Module,
        limits: &Object,
        contract: &JsValue,
    ) -> js_sys::Promise;

    /// An instance of a guest.
    #[derive(Clone)]
    pub(super) type Guest;

    /// What is wrong with the imports or exports of a module.
    #[wasm_bindgen(js_name = checkModule)]
    pub(super) fn check_module(module: &Module) -> Option<String>;

    /// Runs encoded calls; the report comes back encoded. Nothing of ours is entered meanwhile.
    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn run(this: &Guest, calls: &[u8]) -> Result<Vec<u8>, JsValue>;
}

/// `{ memory, concurrency }` as the glue wants them.
pub(super) fn limits(limits: &GuestLimits) -> Object {
    object(&[
        ("memory", JsValue::from_f64(limits.memory as f64)),
        ("concurrency", JsValue::from_f64(limits.concurrency.into())),
    ])
}
