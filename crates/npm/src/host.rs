//! The host behind TypeScript's `Host`. Every method takes `&self`, and returns at once or returns a promise, so that no nested
//! call from JavaScript finds the object borrowed.

use std::rc::Rc;

use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture};
use js_sys::{Array, Function, Promise};
use starlane_browser::{BrowserOptions, ports};
use starlane_host::{
    ActorLimits, Host, HostConfig, Level, LinkConfig, LinkStatus, LogLine, Operations, Origin, Principal,
    PrincipalLimits, TokenProvider, ports::Time,
};
use starlane_protocol::{Failure, HostSecret, Topic};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::{
    launch,
    serve::{FunctionHandler, RawServed},
    subscription::RawSubscription,
    tickets::Tickets,
    values::{RawPayload, address, failure_from_js, failure_to_js, from_js, from_js_with_source, malformed, to_js},
};

/// The maximum number of awake actors. Chromium allows about 125 Wasm memories per process, and the page and other tabs need some.
const MAX_AWAKE: usize = 64;

/// A host. Failures are thrown as `{ status, code, message, address }`.
#[wasm_bindgen]
pub struct RawHost {
    host: Host,
    time: Rc<dyn Time>,
    origin: Origin,
    tickets: Tickets,
}

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
export type RawStatus = [
  state: "connecting" | "up" | "down" | "refused", code: string | undefined, message: string | undefined,
  since: number, attempt: number, next: number | undefined,
];
"#;

#[wasm_bindgen]
impl RawHost {
    /// Opens a host and begins to connect it to `server`, an `http:` or `https:` URL without a slash at its end.
    ///
    /// - `cache` names the IndexedDB database, and `cache_bytes` is its maximum size.
    /// - `worker()` makes a Worker.
    /// - `script(name)` returns the URL of `contract` or `glue`.
    /// - `verify(question)` calls the crate `verifier`.
    /// - `meter()` loads the crate `meter`.
    /// - `token()` returns a promise of a string or undefined.
    /// - `log(level, address, text)` writes a log line.
    /// - `degraded(reason)` is called when the cache is memory only from now on.
    #[allow(
        clippy::too_many_arguments,
        reason = "one call, in shared.ts: an object would cost more code on both sides"
    )]
    pub async fn open(
        server: String,
        cache: String,
        cache_bytes: f64,
        #[wasm_bindgen(unchecked_param_type = "() => Worker")] worker: Function,
        #[wasm_bindgen(unchecked_param_type = "(name: string) => string")] script: Function,
        #[wasm_bindgen(unchecked_param_type = "(question: Uint8Array) => Promise<Uint8Array>")] verify: Function,
        #[wasm_bindgen(unchecked_param_type = "() => Promise<WebAssembly.Module>")] meter: Function,
        #[wasm_bindgen(unchecked_param_type = "() => Promise<string | undefined>")] token: Function,
        #[wasm_bindgen(unchecked_param_type = "(level: string, address: string, text: string) => void")] log: Function,
        #[wasm_bindgen(unchecked_param_type = "(reason: string) => void")] degraded: Function,
    ) -> Result<RawHost, JsValue> {
        let mesh = format!("{}/mesh", server.replacen("http", "ws", 1));
        let token = token_provider(token);
        let options = BrowserOptions {
            server: Some(server),
            token: Rc::clone(&token),
            cache,
            cache_bytes,
            worker,
            meter,
            script,
            verify,
            degraded,
        };
        let ports = ports(options);
        // If the browser's storage cannot be used, the page hears of it before anything else.
        let _ = ports.records.records().await;
        // A name belongs to one running host. A secret in a storage would be copied with a duplicated tab.
        let secret = HostSecret(ports.time.random());
        let own = address("starlane:page")?;
        let config = HostConfig {
            address: own.clone(),
            secret,
            link: LinkConfig::default(),
            max_awake: MAX_AWAKE,
            // The page is the only principal here.
            limits: PrincipalLimits { keys: usize::MAX, ..PrincipalLimits::default() },
            actors: ActorLimits::default(),
            authenticate: Rc::new(|_| Err(Failure::auth_refused("a page accepts no links"))),
            log: Rc::new(move |line: &LogLine| {
                let line = [level_name(line.level), line.address.as_str(), &line.text];
                let [level, address, text] = line.map(JsValue::from_str);
                let _ = log.call3(&JsValue::UNDEFINED, &level, &address, &text);
            }),
            resources: None,
        };
        let time = Rc::clone(&ports.time);
        let host = Host::open(ports, config);
        host.connect(&mesh, token);
        Ok(Self {
            host,
            time,
            origin: Origin { address: own, caller: Principal::default() },
            tickets: Tickets::default(),
        })
    }

    /// Checks an address. Throws if the text is not one.
    pub fn check(&self, text: &str) -> Result<(), JsValue> {
        address(text).map(drop)
    }

    /// Sends a request with a whole body. Resolves with the reply, which must have one too. `timeout` is in milliseconds; 0 is the
    /// default, 30 s.
    #[wasm_bindgen(unchecked_return_type = "Promise<RawPayload>")]
    pub fn request(
        &self,
        to: &str,
        operation: String,
        payload: &RawPayload,
        timeout: u32,
        ticket: u32,
    ) -> Result<Promise, JsValue> {
        self.ask(to, operation, payload, (timeout, ticket), true)
    }

    /// Sends a request. Its body and that of the reply may be streams. `timeout` is the time until the head of the reply.
    #[wasm_bindgen(unchecked_return_type = "Promise<RawPayload>")]
    pub fn fetch(
        &self,
        to: &str,
        operation: String,
        payload: &RawPayload,
        timeout: u32,
        ticket: u32,
    ) -> Result<Promise, JsValue> {
        self.ask(to, operation, payload, (timeout, ticket), false)
    }

    /// Sends a one-way message. Resolves when the receiver has accepted it.
    #[wasm_bindgen(unchecked_return_type = "Promise<undefined>")]
    pub fn notify(&self, to: &str, operation: String, payload: &RawPayload, ticket: u32) -> Result<Promise, JsValue> {
        let to = address(to)?;
        let payload = from_js(payload).map_err(|failure| failure_to_js(&failure.at(&to)))?;
        let (host, origin) = (self.host.clone(), self.origin.clone());
        Ok(self.begin(ticket, async move {
            let taken = host.notify_taken(&origin, &to, &operation, payload).await;
            taken.map(|()| JsValue::UNDEFINED).map_err(|failure| failure_to_js(&failure.at(&to)))
        }))
    }

    /// Subscribes to a topic at once.
    pub fn subscribe(&self, topic: &str, buffer: u32) -> Result<RawSubscription, JsValue> {
        let topic = Topic::parse(topic).map_err(|error| malformed(&error))?;
        Ok(RawSubscription::new(self.host.subscribe(topic, buffer as usize).answer_together()))
    }

    /// Serves an address with a function that takes a message and returns a promise of the reply's payload.
    pub fn serve(
        &self,
        at: &str,
        operations: Vec<String>,
        #[wasm_bindgen(unchecked_param_type = "(message: RawIncoming) => Promise<RawPayload>")] handler: Function,
    ) -> Result<RawServed, JsValue> {
        let at = address(at)?;
        let (host, tickets) = (self.host.clone(), self.tickets.clone());
        let handler = FunctionHandler { function: handler, host, tickets };
        let served = self.host.serve(&at, Operations::Named(operations), Rc::new(handler));
        served.map(RawServed::new).map_err(|failure| failure_to_js(&failure.at(&at)))
    }

    /// Launches an app: runs its browser mechtrons here, if its bundle is signed by one of `trust`.
    #[wasm_bindgen(unchecked_return_type = "Promise<RawLaunched>")]
    pub fn launch(
        &self,
        app: &str,
        inline: bool,
        trust: Vec<String>,
        #[wasm_bindgen(unchecked_param_type = "((loaded: number, total: number) => void) | undefined")]
        on_progress: Option<Function>,
        ticket: u32,
    ) -> Result<Promise, JsValue> {
        let (app, trust) = (address(app)?, launch::publishers(&trust)?);
        Ok(self.tickets.start(ticket, Box::pin(launch::launch(self.host.clone(), app, inline, trust, on_progress))))
    }

    /// Stops an app: its actors here end.
    pub fn uninstall(&self, app: &str) -> Result<(), JsValue> {
        self.host.uninstall(&address(app)?);
        Ok(())
    }

    /// Cancels the work that was started with this ticket.
    pub fn cancel(&self, ticket: u32) {
        self.tickets.cancel(ticket);
    }

    /// The state of the link to the server, the code and text of the reason, since when, the number of dials that led to nothing,
    /// and when the next dial is due. Times are in milliseconds since 1970.
    #[wasm_bindgen(unchecked_return_type = "RawStatus")]
    pub fn link(&self) -> Array {
        self.status(&self.host.link_status())
    }

    /// Calls `callback` after each change of the state of the link, until the host is freed.
    #[wasm_bindgen(js_name = watchLink)]
    pub fn watch_link(&self, #[wasm_bindgen(unchecked_param_type = "() => void")] callback: Function) {
        let mut states = self.host.watch_link();
        spawn_local(async move {
            while states.next().await.is_some() {
                let _ = callback.call0(&JsValue::UNDEFINED);
            }
        });
    }

    /// Checks a link that is up, and shortens a pause before a dial: the network or the page may have come back.
    pub fn wake(&self) {
        self.host.wake();
    }

    /// Dials the server soon, also after it refused this host.
    pub fn reconnect(&self) {
        self.host.reconnect();
    }

    /// The state of the host, as JSON.
    pub fn inspect(&self) -> Result<String, JsValue> {
        let shown = serde_json::to_string(&self.host.inspect());
        shown.map_err(|error| failure_to_js(&Failure::internal(error.to_string())))
    }

    /// Closes the host. Pending work fails with `not-running`.
    pub fn close(&self) {
        self.host.close();
    }
}

impl RawHost {
    fn ask(
        &self,
        to: &str,
        operation: String,
        payload: &RawPayload,
        (timeout, ticket): (u32, u32),
        is_whole: bool,
    ) -> Result<Promise, JsValue> {
        let to = address(to)?;
        let payload = from_js_with_source(payload, &self.host, &self.tickets);
        let payload = payload.map_err(|failure| failure_to_js(&failure.at(&to)))?;
        let (host, origin) = (self.host.clone(), self.origin.clone());
        Ok(self.begin(ticket, async move {
            let fetched = host.fetch(&origin, &to, &operation, payload, timeout).await;
            let fetched = fetched.and_then(|fetched| match is_whole {
                true => fetched.whole().map(|payload| to_js(&payload, None)),
                false => Ok(to_js(&fetched.payload, fetched.stream)),
            });
            fetched.map(JsValue::from).map_err(|failure| failure_to_js(&failure.at(&to)))
        }))
    }

    fn status(&self, status: &LinkStatus) -> Array {
        let text = |text: Option<&str>| text.map_or(JsValue::UNDEFINED, JsValue::from_str);
        let reason = status.reason.as_ref();
        let shift = js_sys::Date::now() - self.time.now_ms() as f64;
        let time = |at: u64| JsValue::from_f64((at as f64 + shift).round());
        Array::from_iter([
            status.state.as_str().into(),
            text(reason.map(|reason| reason.code.as_str())),
            text(reason.map(|reason| reason.reason.as_str())),
            time(status.since),
            status.attempt.into(),
            status.next.map_or(JsValue::UNDEFINED, time),
        ])
    }

    /// Begins to send a message. The message leaves before this call returns, so that later messages of the page stay behind it.
    fn begin(&self, ticket: u32, sending: impl Future<Output = Result<JsValue, JsValue>> + 'static) -> Promise {
        let mut sending: LocalBoxFuture<'static, _> = Box::pin(sending);
        let ended = sending.as_mut().now_or_never();
        let rest = async move {
            match ended {
                Some(result) => result,
                None => sending.await,
            }
        };
        self.tickets.start(ticket, Box::pin(rest))
    }
}

fn token_provider(token: Function) -> TokenProvider {
    Rc::new(move || {
        let token = token.clone();
        Box::pin(async move {
            let promised = token.call0(&JsValue::UNDEFINED);
            let given = match promised {
                Ok(promised) => JsFuture::from(Promise::resolve(&promised)).await,
                Err(error) => Err(error),
            };
            given.map(|token| token.as_string()).map_err(|error| failure_from_js(&error).message)
        })
    })
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace | Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}
