//! The JavaScript that lowers calls into guests. Each batch of an inline guest crosses to it once.

use js_sys::{Object, WebAssembly::Module};
use starlane_node::guest::GuestLimits;
use wasm_bindgen::prelude::*;

use crate::object::object;

#[wasm_bindgen(module = "/js/module.js")]
extern "C" {
    /// An instance of a guest.
    #[derive(Clone)]
    pub(super) type Guest;

    /// What is wrong with the imports or exports of a module.
    #[wasm_bindgen(js_name = checkModule)]
    pub(super) fn check_module(module: &Module) -> Option<String>;

    /// Makes an instance in this thread; `glue` is the URL of `glue.js`.
    #[wasm_bindgen(js_name = createInline)]
    pub(super) fn create_inline(
        glue: &JsValue,
        module: &Module,
        limits: &Object,
        contract: &JsValue,
    ) -> js_sys::Promise;

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
