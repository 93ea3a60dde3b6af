//! The JavaScript of `ts/module.ts`, which has modules checked and runs inline guests. Each batch of an inline guest is one call into
//! JavaScript.

use js_sys::{Function, Object, Uint8Array, WebAssembly::Module};
use starlane_node::guest::GuestLimits;
use wasm_bindgen::prelude::*;
use web_sys::Worker;

use crate::object::object;

// `node crates/browser/build.mjs` makes it from `ts/module.ts`.
#[wasm_bindgen(module = "/dist/module.js")]
extern "C" {
    /// The modules of a sandbox. Has them checked in a worker, and compiles them.
    #[derive(Clone)]
    pub(super) type Modules;

    #[wasm_bindgen(constructor)]
    pub(super) fn new(worker: &Function, meter: &Function) -> Modules;

    /// Begins to load the checker of modules.
    #[wasm_bindgen(method)]
    pub(super) fn prepare(this: &Modules);

    /// Resolves to the compiled module, or to a string, the reason for its refusal. Rejects if the module cannot be checked.
    #[wasm_bindgen(method)]
    pub(super) fn compile(this: &Modules, wasm: &Uint8Array, memory: f64) -> js_sys::Promise;

    /// A worker without guests, for the caller alone.
    #[wasm_bindgen(method, catch)]
    pub(super) fn worker(this: &Modules) -> Result<Worker, JsValue>;

    /// Terminates its workers.
    #[wasm_bindgen(method)]
    pub(super) fn end(this: &Modules);

    /// The guests of a sandbox that run in this thread. They share their buffers.
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

    /// Runs encoded calls and returns the encoded report. Calls nothing of this crate meanwhile.
    #[wasm_bindgen(method, structural, catch)]
    pub(super) fn run(this: &Guest, calls: &[u8]) -> Result<Vec<u8>, JsValue>;
}

/// `{ memory, concurrency }` for the glue.
pub(super) fn limits(limits: &GuestLimits) -> Object {
    object(&[
        ("memory", JsValue::from_f64(limits.memory as f64)),
        ("concurrency", JsValue::from_f64(limits.concurrency.into())),
    ])
}
