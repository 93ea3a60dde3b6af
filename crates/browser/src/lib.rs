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

/// The options of a browser host.
pub struct BrowserOptions {
    /// The origin of the server that bundles come from, such as `https://mesh.example`. None: only cached bundles are used.
    pub server: Option<String>,
    /// Returns the token for bundles that are not public.
    pub token: TokenProvider,
    /// The name of the IndexedDB database of the cache.
    pub cache: String,
    /// The maximum size of the cached blobs and manifests, in bytes.
    pub cache_bytes: f64,
    /// Makes a worker: `() => new Worker(new URL("./worker.js", import.meta.url), { type: "module" })`.
    pub worker: js_sys::Function,
    /// Loads the checker of modules, the crate `meter`: `() => Promise<WebAssembly.Module>`.
    pub meter: js_sys::Function,
    /// Returns the URL of a script that is loaded on demand: `contract` or `glue`.
    pub script: js_sys::Function,
    /// Verifies bundles: `(question: Uint8Array) => Promise<Uint8Array>`, by the function of the crate `verifier`.
    pub verify: js_sys::Function,
    /// Called once, with the reason, if the browser's storage cannot be used and the cache is memory only.
    pub degraded: js_sys::Function,
}

/// Makes the ports of a host in this page. Opens, fetches and starts nothing yet.
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
        records: Rc::new(store),
        // The state of a page's actors ends with the page.
        state: Rc::new(MemoryStateStore::default()),
        source,
        verifier: Rc::new(PageVerifier::new(options.verify)),
    }
}
