//! Helpers of the tests: a sandbox with real workers, a guest, a store and its contents, pieces of JavaScript.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use js_sys::{Array, Function, Promise, Uint8Array};
use starlane_browser::{BrowserSandbox, IndexedDbStore};
use starlane_bundle::{AppRecord, Digest, SignedManifest};
use starlane_host::{
    ports::Sandbox,
    testing::launch_world::{address, publisher},
};
use wasm_bindgen::{JsCast, JsValue, prelude::Closure};
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::console_log;
use web_sys::{Blob, BlobPropertyBag, Url};

/// The module of `tests/guests/rust/echo`, which `cargo xtask test` builds first.
pub(crate) fn echo() -> Bytes {
    Bytes::from_static(include_bytes!("../../target/guests/wasm32-unknown-unknown/release/echo.wasm"))
}

/// A sandbox with workers.
pub(crate) fn sandbox() -> Rc<dyn Sandbox> {
    Rc::new(BrowserSandbox::new(&worker_of(&worker_script()), &meter(), scripts()))
}

fn url_of(script: &str) -> String {
    let options = BlobPropertyBag::new();
    options.set_type("text/javascript");
    let blob = Blob::new_with_str_sequence_and_options(&Array::of1(&script.into()), &options).unwrap();
    Url::create_object_url_with_blob(&blob).unwrap()
}

/// A function that starts workers with a script.
pub(crate) fn worker_of(script: &str) -> Function {
    let url = url_of(script);
    Function::new_no_args(&format!("return new Worker('{url}', {{ type: 'module' }});"))
}

/// A function that starts the first worker with `first`, and all others with `others`.
pub(crate) fn first_worker(first: &Function, others: &Function) -> Function {
    let body = "let made = 0; return () => (made++ === 0 ? first() : others());";
    let function = Function::new_with_args("first, others", body);
    function.call2(&JsValue::UNDEFINED, first, others).unwrap().unchecked_into()
}

/// A function that loads the checker of modules, once.
pub(crate) fn meter() -> Function {
    let bytes = Uint8Array::from(include_bytes!("../../crates/npm/dist/wasm/meter.wasm").as_slice());
    let function = Function::new_with_args("bytes", "let meter; return () => (meter ??= WebAssembly.compile(bytes));");
    function.call1(&JsValue::UNDEFINED, &bytes).unwrap().unchecked_into()
}

/// A function that returns the URLs of scripts that are loaded on demand, as the npm package's bundler makes them.
pub(crate) fn scripts() -> Function {
    scripts_that("")
}

/// The same scripts. `contract`, which checks bodies, first runs more JavaScript, in the realm that loads it.
pub(crate) fn scripts_that(first: &str) -> Function {
    let contract = url_of(&[first, include_str!("../../crates/npm/dist/contract.js")].concat());
    let glue = url_of(include_str!("../../crates/npm/dist/glue.js"));
    Function::new_with_args("name", &format!("return {{ contract: '{contract}', glue: '{glue}' }}[name];"))
}

/// The worker as one file, as the npm package's bundler makes it.
pub(crate) fn worker_script() -> String {
    include_str!("../../crates/npm/dist/worker.js").to_owned()
}

/// Runs JavaScript that changes the browser's own functions. The script returns a function that restores them.
pub(crate) struct Patch(Function);

impl Patch {
    pub(crate) fn apply(script: &str) -> Self {
        let undo = Function::new_no_args(script).call0(&JsValue::UNDEFINED).unwrap();
        Self(undo.into())
    }

    /// The same for JavaScript that runs as with [`script`].
    pub(crate) async fn prepare(body: &str, given: &JsValue) -> Self {
        Self(script(body, given).await.unchecked_into())
    }
}

impl Drop for Patch {
    fn drop(&mut self) {
        self.0.call0(&JsValue::UNDEFINED).unwrap();
    }
}

/// Makes timers `times` times faster.
pub(crate) fn faster_timers(times: u32) -> Patch {
    Patch::apply(&format!(
        "const own = globalThis.setTimeout; globalThis.setTimeout = (call, ms) => own(call, ms / {times}); \
         return () => {{ globalThis.setTimeout = own; }};"
    ))
}

/// The value of a JavaScript expression.
pub(crate) fn eval(expression: &str) -> JsValue {
    Function::new_no_args(&format!("return {expression};")).call0(&JsValue::UNDEFINED).unwrap()
}

/// The value of a piece of JavaScript. It can use `await`, `given`, and `done`, which makes a promise of a request to IndexedDB.
pub(crate) async fn script(body: &str, given: &JsValue) -> JsValue {
    const DONE: &str = "const done = (request) => new Promise((resolve, reject) => { \
        request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); });";
    let function = Function::new_with_args("given", &format!("{DONE} return (async () => {{ {body} }})()"));
    let promise = function.call1(&JsValue::UNDEFINED, given).unwrap();
    JsFuture::from(Promise::resolve(&promise)).await.unwrap()
}

/// A name that no earlier run used: some engines keep databases from one run to the next.
pub(crate) fn fresh_name() -> String {
    let random = eval("crypto.getRandomValues(new Uint32Array(2)).join('-')").as_string().unwrap();
    ["test-", &random].concat()
}

/// A store, and the reasons why it continued in memory.
pub(crate) type Opened = (IndexedDbStore, Rc<RefCell<Vec<String>>>);

/// A store in a database, with a budget in bytes.
pub(crate) fn open_store(name: &str, budget: f64) -> Opened {
    let reasons = Rc::<RefCell<Vec<String>>>::default();
    let told = Rc::clone(&reasons);
    let degraded = Closure::<dyn Fn(String)>::new(move |reason| told.borrow_mut().push(reason)).into_js_value();
    (IndexedDbStore::new(name, budget, degraded.unchecked_ref()), reasons)
}

/// The value at a key of an object store.
pub(crate) async fn stored(name: &str, store: &str, key: &str) -> JsValue {
    look_into(name, store, &format!("get('{key}')")).await
}

/// The keys of an object store, in order.
pub(crate) async fn stored_keys(name: &str, store: &str) -> Vec<String> {
    let keys = Array::from(&look_into(name, store, "getAllKeys()").await);
    keys.iter().map(|key| key.as_string().unwrap()).collect()
}

async fn look_into(name: &str, store: &str, request: &str) -> JsValue {
    let body = format!(
        "const database = await done(indexedDB.open(given)); \
         try {{ return await done(database.transaction('{store}').objectStore('{store}').{request}); }} \
         finally {{ database.close(); }}"
    );
    script(&body, &JsValue::from_str(name)).await
}

/// A signed text: stores do not read it.
pub(crate) fn manifest(text: &str) -> SignedManifest {
    SignedManifest { bytes: text.into(), signature: publisher().sign(text.as_bytes()) }
}

/// A record of `acme:app`.
pub(crate) fn record(revision: u64) -> AppRecord {
    AppRecord {
        app: address("acme:app"),
        revision,
        bundle: address("acme:repo:app:1.0.0"),
        manifest: Digest::of(b""),
        publisher: publisher().public(),
        overrides: Vec::new(),
        maker: None,
    }
}

/// Prints a figure of a test. The program that started the test knows engine and size.
pub(crate) fn figure(test: &str, name: &str, value: f64, unit: &str) {
    console_log!("figure {{\"name\":\"{name}\",\"value\":{value},\"unit\":\"{unit}\",\"test\":\"{test}\"}}");
}
