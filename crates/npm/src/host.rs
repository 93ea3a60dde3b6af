//! The host behind TypeScript's `Host`. Every method takes `&self`, and returns at once or returns a promise, so that no nested
//! call from JavaScript finds the object borrowed.

use std::rc::Rc;

use futures_util::{FutureExt, StreamExt, future::LocalBoxFuture};
use js_sys::{Function, Promise};
use starlane_browser::{BrowserOptions, ports};
use starlane_host::{
    ActorLimits, Host, HostConfig, Level, LinkConfig, LinkState, LogLine, Operations, Origin, Principal,
    PrincipalLimits, TokenProvider, ports::StoreError,
};
use starlane_protocol::{Failure, HostSecret, Topic};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{JsFuture, spawn_local};

use crate::{
    launch,
    serve::{FunctionHandler, RawServed},
    subscription::RawSubscription,
    tickets::Tickets,
    values::{RawPayload, address, failure_from_js, failure_to_js, from_js, malformed, to_js},
};

/// The maximum number of awake actors. Chromium allows about 125 Wasm memories per process, and the page and other tabs need some.
const MAX_AWAKE: usize = 64;

/// A host. Failures are thrown as `{ status, code, message, address }`.
#[wasm_bindgen]
pub struct RawHost {
    host: Host,
    origin: Origin,
    tickets: Tickets,
}

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
        let secret = ports.identity.secret(HostSecret(ports.time.random())).await.map_err(|error| storage(&error))?;
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
        let host = Host::open(ports, config);
        host.connect(&mesh, token);
        Ok(Self { host, origin: Origin { address: own, caller: Principal::default() }, tickets: Tickets::default() })
    }

    /// Checks an address. Throws if the text is not one.
    pub fn check(&self, text: &str) -> Result<(), JsValue> {
        address(text).map(drop)
    }

    /// Sends a request. Resolves with the reply. `timeout` is in milliseconds; 0 is the default, 30 s.
    #[wasm_bindgen(unchecked_return_type = "Promise<RawPayload>")]
    pub fn request(
        &self,
        to: &str,
        operation: String,
        payload: &RawPayload,
        timeout: u32,
        ticket: u32,
    ) -> Result<Promise, JsValue> {
        let to = address(to)?;
        let payload = from_js(payload).map_err(|failure| failure_to_js(&failure.at(&to)))?;
        let (host, origin) = (self.host.clone(), self.origin.clone());
        Ok(self.begin(ticket, async move {
            match host.request(&origin, &to, &operation, payload, timeout).await {
                Ok(reply) => Ok(to_js(&reply).into()),
                Err(failure) => Err(failure_to_js(&failure.at(&to))),
            }
        }))
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
        let served = self.host.serve(&at, Operations::Named(operations), Rc::new(FunctionHandler(handler)));
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

    /// The state of the link to the server: `connecting`, `up`, `down` or `refused`.
    #[wasm_bindgen(unchecked_return_type = "\"connecting\" | \"up\" | \"down\" | \"refused\"")]
    pub fn link(&self) -> String {
        state_name(&self.host.link_state()).to_owned()
    }

    /// Why the link is refused; undefined in other states.
    #[wasm_bindgen(unchecked_return_type = "RawFailure | undefined")]
    pub fn refusal(&self) -> JsValue {
        match self.host.link_state() {
            LinkState::Refused(goodbye) => {
                let status = if goodbye.code == "version" { 426 } else { 401 };
                failure_to_js(&Failure::new(status, goodbye.code.as_str(), goodbye.reason))
            }
            _ => JsValue::UNDEFINED,
        }
    }

    /// Calls `callback` with each new state of the link, until the host is freed.
    #[wasm_bindgen(js_name = watchLink)]
    pub fn watch_link(&self, #[wasm_bindgen(unchecked_param_type = "(state: string) => void")] callback: Function) {
        let mut states = self.host.watch_link();
        spawn_local(async move {
            while let Some(state) = states.next().await {
                let _ = callback.call1(&JsValue::UNDEFINED, &JsValue::from_str(state_name(&state)));
            }
        });
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

fn state_name(state: &LinkState) -> &'static str {
    match state {
        LinkState::Connecting => "connecting",
        LinkState::Up => "up",
        LinkState::Down => "down",
        LinkState::Refused(_) => "refused",
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Trace | Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn storage(error: &StoreError) -> JsValue {
    failure_to_js(&match error {
        StoreError::Full(_) => Failure::storage_full(error.to_string()),
        _ => Failure::internal(error.to_string()),
    })
}
