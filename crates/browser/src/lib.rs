#![doc = include_str!("../README.md")]

mod failure;
mod object;
mod sandbox;
mod socket;
mod source;
mod store;
mod time;
mod verifier;

use std::rc::Rc;

use starlane_host::{
    MemoryStateStore, TokenProvider,
    ports::{NoSource, Ports, Source},
};

pub use self::{
    sandbox::BrowserSandbox, socket::WebSocketDialer, source::HttpSource, store::IndexedDbStore, time::BrowserTime,
    verifier::PageVerifier,
};

/// What a browser host is made from.
pub struct BrowserOptions {
    /// The origin of the server that bundles come from, such as `https://mesh.example`; none: only what is kept is used.
    pub server: Option<String>,
    /// Gives the token for bundles that are not public.
    pub token: TokenProvider,
    /// The name of the IndexedDB database that is the cache.
    pub cache: String,
    /// How many bytes of blobs and manifests are kept there at most.
    pub cache_bytes: f64,
    /// Makes a worker: `() => new Worker(new URL("./worker.js", import.meta.url), { type: "module" })`.
    pub worker: js_sys::Function,
    /// Loads what checks modules: `() => Promise<WebAssembly.Module>`, the module of the crate `meter`.
    pub meter: js_sys::Function,
    /// Gives the URL of a script that is loaded when it is needed: `contract` or `glue`.
    pub script: js_sys::Function,
    /// Verifies bundles: `(question: Uint8Array) => Promise<Uint8Array>`, by the function of the crate `verifier`.
    pub verify: js_sys::Function,
    /// Called once, with the reason, if the browser's storage can't be used and all is kept in memory.
    pub degraded: js_sys::Function,
}

/// The ports of a host in this page. Nothing is opened, fetched or started yet.
pub fn ports(options: BrowserOptions) -> Ports {
    let source: Rc<dyn Source> = match &options.server {
        Some(server) => Rc::new(HttpSource::new(server, options.token)),
        None => Rc::new(NoSource),
    };
    let store = IndexedDbStore::new(&options.cache, options.cache_bytes, &options.degraded);
    Ports {
        time: Rc::new(BrowserTime),
        dialer: Rc::new(WebSocketDialer),
        sandbox: Rc::new(BrowserSandbox::new(&options.worker, &options.meter, options.script)),
        bundles: Rc::new(store.clone()),
        records: Rc::new(store.clone()),
        identity: Rc::new(store),
        // A page keeps the state of its actors for as long as it is open.
        state: Rc::new(MemoryStateStore::default()),
        source,
        verifier: Rc::new(PageVerifier::new(options.verify)),
    }
}
