//! The contract of actors on two linked hosts: the same tests for every engine.
//!
//! Each case takes a [`World`], whose page and server run guests in sandboxes of their own. Nothing waits for a time: what a test
//! must see has come before the reply to a later message, because a link and a mailbox keep their order. The macro
//! [`actor_cases!`](crate::actor_cases) passes the names of the cases to a macro of the caller, as
//! [`sandbox_cases!`](crate::sandbox_cases).

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{cell::RefCell, future::ready, pin::pin, rc::Rc};

use bytes::Bytes;
use futures_util::future::{Either, join, select};
use serde_json::{Value, json};
use starlane_bundle::{AppRecord, Contents, Digest, FileEntry, KindSet, SignedManifest};
use starlane_node::{ActorLimits, Authenticated, LinkConfig, Origin, Principal, PrincipalLimits};
use starlane_protocol::{Grant, HostSecret, Outcome, Payload};

use super::{
    launch_world::{address, publisher},
    memory::MemoryDialer,
    sandbox_suite::wat,
};
use crate::{
    Host, HostConfig, LocalVerifier, MemoryStateStore, MemoryStore, Side, VerifiedApp,
    ports::{NoSource, Ports, Sandbox, Time},
};

/// Passes the cases to a macro: `$tests! { name name … }`.
#[macro_export]
macro_rules! actor_cases {
    ($tests:ident) => {
        $tests! {
            a_one_way_message_reaches_an_actor
            a_one_way_message_crosses_a_link_in_both_directions
            an_actor_gets_the_events_that_it_subscribed_to
            events_of_the_server_cross_a_link_to_an_actor_of_the_page
            calls_of_an_actor_interleave_up_to_its_concurrency
        }
    };
}

const APP: &str = "acme:app";
const BUNDLE: &str = "acme:repo:app:1.0.0";
/// The echo guest in the page, on the server, and on both.
const PAGE: &str = "acme:app:page";
const SERVER: &str = "acme:app:server";
const BOTH: &str = "acme:app:both";
/// A guest that holds a message until another one comes, on both hosts.
const HOLDER: &str = "acme:app:holder";

/// A page and its server with an app, linked.
pub struct World {
    page: Peer,
    server: Peer,
}

/// A host, and what its guests logged.
struct Peer {
    host: Host,
    logs: Rc<RefCell<Vec<(String, String)>>>,
}

impl World {
    /// Links a page and a server, which both run the app. `sandbox` makes a new one each time.
    pub async fn new(time: Rc<dyn Time>, sandbox: impl Fn() -> Rc<dyn Sandbox>, echo: Bytes) -> Self {
        let server = Peer::open("starlane:server", 9, &time, sandbox(), MemoryDialer::new(drop));
        let accepting = server.host.clone();
        let network = MemoryDialer::new(move |socket| accepting.accept(socket));
        let page = Peer::open("starlane:page", 1, &time, sandbox(), network);
        let holder = wat::holder();
        let signed = manifest(&[("/echo.wasm", &echo), ("/holder.wasm", &holder)]);
        page.install(&signed, Side::Browser, [&echo, &holder]).await;
        server.install(&signed, Side::Server, [&echo, &holder]).await;
        page.host.connect("ws://server/mesh", Rc::new(|| Box::pin(ready(Ok(None)))));
        // The link is up when this is answered.
        page.ask(SERVER, "echo", &json!(1)).await;
        Self { page, server }
    }

    /// An actor of the page, as the server calls it.
    fn in_page(&self, actor: &str) -> String {
        format!("{}::{actor}", self.page.host.name())
    }

    /// Has the server's actor send a request to an actor of the page: only mechtrons may do that.
    async fn ask_page(&self, actor: &str, operation: &str) -> Value {
        let forward = json!({ "target": self.in_page(actor), "operation": operation });
        self.server.ask(SERVER, "call", &forward).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.page.host.close();
        self.server.host.close();
    }
}

impl Peer {
    fn open(own: &str, secret: u8, time: &Rc<dyn Time>, sandbox: Rc<dyn Sandbox>, dialer: MemoryDialer) -> Self {
        let store = Rc::new(MemoryStore::new());
        let ports = Ports {
            time: Rc::clone(time),
            dialer: Rc::new(dialer),
            sandbox,
            bundles: Rc::clone(&store) as _,
            records: Rc::clone(&store) as _,
            state: Rc::new(MemoryStateStore::default()),
            source: Rc::new(NoSource),
            verifier: Rc::new(LocalVerifier),
        };
        let logs = Rc::<RefCell<Vec<_>>>::default();
        let log = Rc::clone(&logs);
        let config = HostConfig {
            address: address(own),
            secret: HostSecret([secret; 32]),
            link: LinkConfig::default(),
            max_awake: 100,
            limits: PrincipalLimits::default(),
            actors: ActorLimits::default(),
            authenticate: Rc::new(|_| {
                let grants = ["request **", "notify **", "subscribe **#*"];
                let grants = grants.map(|grant| Grant::parse(grant, None).unwrap());
                Ok(Authenticated { principal: Principal::new("page", grants), remaining_ms: None })
            }),
            log: Rc::new(move |line| log.borrow_mut().push((line.address.to_string(), line.text.clone()))),
            resources: None,
        };
        Self { host: Host::open(ports, config), logs }
    }

    async fn install(&self, signed: &SignedManifest, side: Side, modules: [&Bytes; 2]) {
        let manifest = signed.open().unwrap();
        let app = VerifiedApp::of(&manifest, &address(APP), side, KindSet::default()).unwrap();
        for module in modules {
            self.host.0.ports.bundles.put_blob(&Digest::of(module), module.clone()).await.unwrap();
        }
        let loaded = self.host.load_modules(&app).await.unwrap();
        let record = AppRecord {
            app: address(APP),
            revision: 1,
            bundle: address(BUNDLE),
            manifest: signed.digest(),
            publisher: publisher().public(),
            overrides: Vec::new(),
            maker: None,
        };
        self.host.install(app, record, false, None).unwrap();
        drop(loaded);
    }

    async fn request(&self, to: &str, operation: &str, payload: Payload) -> Outcome {
        self.host.request(&origin(), &address(to), operation, payload, 10_000).await
    }

    /// Sends JSON, and returns that of the reply.
    async fn ask(&self, to: &str, operation: &str, body: &Value) -> Value {
        let reply = self.request(to, operation, Payload::json(body.to_string())).await;
        let reply = reply.unwrap_or_else(|failure| panic!("{to} {operation}: {failure}"));
        if reply.body.is_empty() { Value::Null } else { serde_json::from_slice(&reply.body).unwrap() }
    }

    /// Has an actor log a text, one way.
    fn tell(&self, to: &str, text: &str) {
        let body = Payload::json(json!({ "text": text }).to_string());
        self.host.notify(&origin(), &address(to), "log", body).unwrap();
    }

    /// What guests have logged since the last call, with their addresses.
    fn take_logs(&self) -> Vec<(String, String)> {
        self.logs.take()
    }
}

fn origin() -> Origin {
    Origin { address: address("starlane:test"), caller: Principal::default() }
}

fn manifest(files: &[(&str, &Bytes)]) -> SignedManifest {
    let files = files.iter().map(|(path, bytes)| {
        let media_type = "application/wasm".to_owned();
        ((*path).to_owned(), json!(FileEntry { sha256: Digest::of(bytes), size: bytes.len() as u64, media_type }))
    });
    let answered = ["echo", "call", "tell", "count", "subscribe", "unsubscribe", "emit", "last-event"];
    let answered = answered.map(|name| (name.to_owned(), json!({ "response": {} })));
    let operations: serde_json::Map<_, _> = answered.into_iter().chain([("log".to_owned(), json!({}))]).collect();
    let held = json!({ "hold": { "response": {} }, "release": { "response": {} }, "go": { "response": {} } });
    let allow =
        json!(["request **", "request ~*::**", "notify **", "notify ~*::**", "subscribe **#*", "subscribe ~*::**#*"]);
    let placed = |config: &str, placement: &str| json!({ "config": config, "placement": placement, "allow": allow });
    let contents = json!({
        "format": 1, "address": BUNDLE, "publisher": publisher().public(), "created": 1_700_000_000, "public": true,
        "name": "app", "files": files.collect::<serde_json::Map<_, _>>(),
        "binds": {
            "/echo-bind.toml": { "name": "echo", "operations": operations, "events": { "said": {} } },
            "/holder-bind.toml": { "name": "holder", "operations": held },
        },
        "mechtrons": {
            "/echo.toml": { "wasm": "/echo.wasm", "name": "echo", "bind": "/echo-bind.toml", "limits": { "call-ms": 5_000 } },
            "/holder.toml": {
                "wasm": "/holder.wasm", "name": "holder", "bind": "/holder-bind.toml",
                "limits": { "call-ms": 5_000, "concurrency": 2 },
            },
        },
        "app": { "name": "app", "mechtrons": {
            "page": placed("/echo.toml", "browser"),
            "server": placed("/echo.toml", "server"),
            "both": placed("/echo.toml", "both"),
            "holder": placed("/holder.toml", "both"),
        } },
    });
    serde_json::from_value::<Contents>(contents).unwrap().sign(&publisher())
}

/// On its own host.
pub async fn a_one_way_message_reaches_an_actor(world: World) {
    for (side, actor) in [(&world.page, PAGE), (&world.server, SERVER)] {
        side.tell(actor, "one way");
        side.ask(actor, "count", &Value::Null).await;
        assert_eq!(side.take_logs(), [(actor.to_owned(), "one way".to_owned())], "once");
        let answered = side.host.notify(&origin(), &address(actor), "count", Payload::nothing());
        assert_eq!(answered.unwrap_err().code, "schema-mismatch", "an operation with a response is not one-way");
        assert_eq!(side.ask(actor, "count", &Value::Null).await, json!(2));
    }
}

/// From the page to an actor of the server, and from an actor of the server to one of the page.
pub async fn a_one_way_message_crosses_a_link_in_both_directions(world: World) {
    let World { page, server } = &world;
    page.tell(SERVER, "from the page");
    page.ask(SERVER, "count", &Value::Null).await;
    assert_eq!(server.take_logs(), [(SERVER.to_owned(), "from the page".to_owned())]);
    let tell = json!({ "target": world.in_page(PAGE), "operation": "log", "body": { "text": "from the server" } });
    server.ask(SERVER, "tell", &tell).await;
    world.ask_page(PAGE, "count").await;
    assert_eq!(page.take_logs(), [(PAGE.to_owned(), "from the server".to_owned())]);
    assert_eq!((page.take_logs(), server.take_logs()), (vec![], vec![]), "nothing came twice, or to the wrong host");
}

/// Of a topic on its own host, until it unsubscribes.
pub async fn an_actor_gets_the_events_that_it_subscribed_to(world: World) {
    for (side, emitter) in [(&world.page, PAGE), (&world.server, SERVER)] {
        let topic = json!(format!("{emitter}#said"));
        let emit = async |body: u32| side.ask(emitter, "emit", &json!({ "event": "said", "body": body })).await;
        let last = async || side.ask(BOTH, "last-event", &Value::Null).await;
        emit(1).await;
        assert_eq!(last().await, Value::Null, "it has not subscribed");
        side.ask(BOTH, "subscribe", &topic).await;
        emit(2).await;
        assert_eq!(last().await, json!({ "from": emitter, "event": "said", "body": 2 }));
        side.ask(BOTH, "unsubscribe", &topic).await;
        emit(3).await;
        assert_eq!(last().await["body"], json!(2), "it has unsubscribed");
    }
}

/// Of a topic on the server. The server does not get the events of pages, and says so.
pub async fn events_of_the_server_cross_a_link_to_an_actor_of_the_page(world: World) {
    let World { page, server } = &world;
    page.ask(PAGE, "subscribe", &json!(format!("{SERVER}#said"))).await;
    // The subscription is on the same link before it.
    page.ask(SERVER, "emit", &json!({ "event": "said", "body": 1 })).await;
    let last = world.ask_page(PAGE, "last-event").await;
    assert_eq!(last, json!({ "from": SERVER, "event": "said", "body": 1 }));

    let topic = format!("{}#said", world.in_page(PAGE));
    server.ask(SERVER, "subscribe", &json!(topic)).await;
    let logs = server.take_logs();
    let [(address, text)] = &logs[..] else { panic!("one line, not {logs:?}") };
    assert!(address == SERVER && text.contains(&topic) && text.contains("subscribe there"), "{text}");
}

/// With a concurrency of 2, a second message is received and answered while the first is unfinished.
pub async fn calls_of_an_actor_interleave_up_to_its_concurrency(world: World) {
    for side in [&world.page, &world.server] {
        let ask = |operation: &'static str| side.request(HOLDER, operation, Payload::nothing());
        let held = pin!(ask("hold"));
        let Either::Right((outcome, held)) = select(held, pin!(ask("go"))).await else {
            panic!("the first message was answered before the second was received")
        };
        assert_eq!(outcome, Ok(Payload::nothing()));
        let (held, released) = join(held, ask("release")).await;
        assert_eq!((held, released), (Ok(Payload::nothing()), Ok(Payload::nothing())));
    }
}
