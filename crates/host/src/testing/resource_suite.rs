//! The contract of resources that are not mechtrons: [`bind_holds`] for everything that is served with a bind, and
//! [`all`] for the resources of a driver.

// The cases of a suite fail by panics.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{cell::RefCell, future::Future, io, rc::Rc};

use litemap::LiteMap;
use serde_json::{Map, Value, json};
use starlane_bundle::{AppRecord, Bind, Digest, FileEntry, SecretKey};
use starlane_node::{ActorLimits, AppPlan, LinkConfig, Origin, Principal, PrincipalLimits};
use starlane_protocol::{Address, Failure, Grant, HostSecret, Outcome, Payload, Topic};

use super::{launch_world::NoGuests, memory::MemoryDialer};
use crate::{
    BundleFiles, Host, HostConfig, LocalVerifier, MemoryStateStore, MemoryStore, VerifiedApp,
    ports::{NoSource, Ports, Time},
    resource::{Archive, Driver, Prepared, Registry},
};

/// A driver, and messages that show the data of its resources.
pub struct Subject {
    /// The driver, without any data.
    pub driver: Rc<dyn Driver>,
    /// The settings of the resource.
    pub settings: Value,
    /// The files of the app's bundle.
    pub files: Vec<(&'static str, &'static str)>,
    /// The operation and the body that store a text, which replaces `TEXT` in the body.
    pub write: (&'static str, Value),
    /// The operation and the body that return stored texts.
    pub read: (&'static str, Value),
}

const APP: &str = "acme:app";
const RESOURCE: &str = "acme:app:own";

/// Runs all cases, each on a fresh driver.
pub async fn all<F: Future<Output = Subject>>(time: Rc<dyn Time>, fresh: impl Fn() -> F) {
    its_bind_holds(&World::new(&time, fresh().await)).await;
    nothing_answers_before_a_version_is_in_effect(&World::new(&time, fresh().await)).await;
    what_is_kept_stays_over_versions(&World::new(&time, fresh().await)).await;
    an_abandoned_version_changes_nothing(&World::new(&time, fresh().await)).await;
    what_is_kept_is_there_after_a_restart(&time, fresh().await).await;
    a_backup_has_what_is_kept_and_nothing_that_was_removed(&World::new(&time, fresh().await)).await;
    an_address_is_released_with_its_app(&World::new(&time, fresh().await)).await;
    apps_keep_their_own(&World::new(&time, fresh().await)).await;
}

struct World {
    host: Host,
    registry: Registry,
    subject: Subject,
    store: Rc<MemoryStore>,
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn host(time: &Rc<dyn Time>, store: &Rc<MemoryStore>, registry: Option<Registry>) -> Host {
    let ports = Ports {
        time: Rc::clone(time),
        dialer: Rc::new(MemoryDialer::new(drop)),
        sandbox: Rc::new(NoGuests::default()),
        bundles: Rc::clone(store) as _,
        records: Rc::clone(store) as _,
        state: Rc::new(MemoryStateStore::default()),
        source: Rc::new(NoSource),
        verifier: Rc::new(LocalVerifier),
    };
    let config = HostConfig {
        address: address("starlane:server"),
        secret: HostSecret([9; 32]),
        link: LinkConfig::default(),
        max_awake: 1,
        limits: PrincipalLimits::default(),
        actors: ActorLimits::default(),
        authenticate: Rc::new(|_| Err(Failure::auth_refused("nobody dials it"))),
        log: Rc::new(|_| ()),
        resources: registry.map(|registry| Rc::new(registry) as _),
    };
    Host::open(ports, config)
}

/// Makes a host without resources, for [`bind_holds`].
pub fn bare_host(time: &Rc<dyn Time>) -> Host {
    host(time, &Rc::new(MemoryStore::new()), None)
}

impl World {
    fn new(time: &Rc<dyn Time>, subject: Subject) -> Self {
        let registry = Registry::new(vec![Rc::clone(&subject.driver)]);
        let store = Rc::new(MemoryStore::new());
        Self { host: host(time, &store, Some(registry.clone())), registry, subject, store }
    }

    /// The app with its one resource, or without any.
    async fn app(&self, app: &str, has_resource: bool) -> VerifiedApp {
        let mut files = LiteMap::new();
        for (path, text) in &self.subject.files {
            let (sha256, bytes) = (Digest::of(text.as_bytes()), bytes::Bytes::from_static(text.as_bytes()));
            crate::ports::BundleStore::put_blob(&*self.store, &sha256, bytes).await.unwrap();
            let media_type = "text/plain".to_owned();
            files.insert((*path).to_owned(), FileEntry { sha256, size: text.len() as u64, media_type });
        }
        let mut own = Map::from_iter([("kind".to_owned(), json!(self.subject.driver.kind()))]);
        own.extend(self.subject.settings.as_object().cloned().unwrap());
        VerifiedApp {
            publisher: SecretKey::from_seed([1; 32]).public(),
            expires: None,
            modules: Vec::new(),
            wasm: LiteMap::new(),
            bundles: vec![BundleFiles { address: address("acme:repo:app:1.0.0"), files }],
            plan: AppPlan { app: address(app), mechtrons: Vec::new() },
            resources: if has_resource { json!({ "own": own }).to_string() } else { String::new() },
        }
    }

    async fn prepare(&self, app: &VerifiedApp, from: u64, to: u64) -> Box<dyn Prepared> {
        self.host.prepare(app, (from, to)).await.unwrap().unwrap()
    }

    async fn install(&self, app: &str, from: u64, to: u64) {
        let verified = self.app(app, true).await;
        let prepared = self.prepare(&verified, from, to).await;
        self.put(verified, to, prepared);
    }

    fn put(&self, verified: VerifiedApp, revision: u64, prepared: Box<dyn Prepared>) {
        let record = AppRecord {
            app: verified.plan.app.clone(),
            revision,
            bundle: verified.bundles[0].address.clone(),
            manifest: Digest::of(b""),
            publisher: verified.publisher,
            overrides: Vec::new(),
            maker: None,
        };
        self.host.install(verified, record, false, Some(prepared)).unwrap();
    }

    async fn write(&self, to: &str, text: &str) {
        let (operation, body) = &self.subject.write;
        let body = body.to_string().replace("TEXT", text);
        ask(&self.host, &address(to), operation, Payload::json(body)).await.unwrap();
    }

    async fn has(&self, at: &str, text: &str) -> bool {
        let (operation, body) = &self.subject.read;
        let answer = ask(&self.host, &address(at), operation, Payload::json(body.to_string())).await.unwrap();
        String::from_utf8_lossy(&answer.body).contains(text)
    }

    /// The names and sizes of the files in a backup.
    fn backup(&self) -> Vec<(String, usize)> {
        struct Listed(RefCell<Vec<(String, usize)>>);
        impl Archive for Listed {
            fn add(&mut self, path: &str, size: u64, content: &mut dyn io::Read) -> io::Result<()> {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                assert_eq!(bytes.len() as u64, size, "{path}");
                self.0.borrow_mut().push((path.to_owned(), bytes.len()));
                Ok(())
            }
        }
        let mut listed = Listed(RefCell::default());
        for kept in self.registry.kept() {
            (kept.backup)(&mut listed).unwrap();
            let all = listed.0.borrow();
            assert!(all.iter().all(|(path, _)| path.split('/').next() == Some(kept.name)), "{all:?}");
        }
        listed.0.into_inner()
    }
}

async fn ask(host: &Host, to: &Address, operation: &str, payload: Payload) -> Outcome {
    let origin = Origin { address: address("acme:asker"), caller: Principal::named("ada") };
    host.request(&origin, to, operation, payload, 0).await
}

/// Checks a served address: each operation of its bind refuses bodies that do not match, and other operations do not
/// exist.
pub async fn bind_holds(host: &Host, at: &Address, bind: &Bind) {
    assert!(!bind.operations.is_empty(), "{at} answers nothing");
    for (name, operation) in &bind.operations {
        assert!(operation.request.schema.is_some(), "`{name}` at {at} takes anything");
        let refused = ask(host, at, name, Payload::json("[1, 2]")).await.unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (422, "schema-mismatch"), "{at} {name}: {refused}");
        assert!(refused.message.contains("does not fit its schema: at "), "{at} {name}: {refused}");
        let refused = ask(host, at, name, Payload::json("{")).await.unwrap_err();
        assert_eq!(refused.code, "schema-mismatch", "{at} {name}: {refused}");
        let refused = ask(host, at, name, Payload::json(r#"{"no-such-field": 1}"#)).await.unwrap_err();
        let pointed = ["at /no-such-field", "at its root"].iter().any(|place| refused.message.contains(place));
        assert!(refused.code == "schema-mismatch" && pointed, "{at} {name}: {refused}");
        let refused = ask(host, at, name, Payload::new("text/plain", "{}")).await.unwrap_err();
        assert_eq!(refused.code, "schema-mismatch", "{at} {name}: {refused}");
        assert!(refused.message.contains("takes application/json, but got text/plain"), "{at} {name}: {refused}");
        if operation.response.is_some() {
            let origin = Origin { address: address("acme:asker"), caller: Principal::named("ada") };
            let refused = host.notify(&origin, at, name, Payload::json("{}")).unwrap_err();
            assert!(refused.message.contains("send it as a request"), "{at} {name}: {refused}");
        }
    }
    let refused = ask(host, at, "no-such-operation", Payload::json("{}")).await.unwrap_err();
    assert_eq!((refused.status, refused.code.as_str()), (404, "no-operation"), "{at}: {refused}");
    for name in bind.operations.keys() {
        assert!(refused.message.contains(name.as_str()), "{at}: {refused}");
    }
    let topic = |event: &str| Topic::new(at.clone(), event).unwrap();
    let everybody = Principal::new("ada", [Grant::parse("admin **", None).unwrap()]);
    let refused = host.admit_subscriber(&everybody, &topic("no-such-event")).unwrap_err();
    assert_eq!(refused.code, "no-event", "{at}");
    for event in bind.events.keys() {
        assert_eq!(host.admit_subscriber(&everybody, &topic(event)), Ok(()), "{at}");
    }
}

async fn its_bind_holds(world: &World) {
    world.install(APP, 0, 1).await;
    bind_holds(&world.host, &address(RESOURCE), world.subject.driver.bound().bind()).await;
    assert_eq!(world.host.kinds(), [world.subject.driver.kind()].into_iter().collect());
}

/// Requests during the change wait or are refused.
async fn nothing_answers_before_a_version_is_in_effect(world: &World) {
    let prepared = world.prepare(&world.app(APP, true).await, 0, 1).await;
    prepared.abandon().await;
    let (operation, body) = &world.subject.read;
    assert!(ask(&world.host, &address(RESOURCE), operation, Payload::json(body.to_string())).await.is_err());
    assert_eq!(world.backup(), [], "a version that never took effect keeps nothing");
}

async fn what_is_kept_stays_over_versions(world: &World) {
    world.install(APP, 0, 1).await;
    assert!(!world.has(RESOURCE, "lovelace").await);
    world.write(RESOURCE, "lovelace").await;
    for revision in 2..5 {
        world.install(APP, revision - 1, revision).await;
        assert!(world.has(RESOURCE, "lovelace").await, "revision {revision}");
    }
}

async fn an_abandoned_version_changes_nothing(world: &World) {
    world.install(APP, 0, 1).await;
    world.write(RESOURCE, "lovelace").await;
    world.prepare(&world.app(APP, true).await, 1, 2).await.abandon().await;
    drop(world.prepare(&world.app(APP, true).await, 1, 2).await);
    world.write(RESOURCE, "hopper").await;
    assert!(world.has(RESOURCE, "lovelace").await && world.has(RESOURCE, "hopper").await);
}

async fn what_is_kept_is_there_after_a_restart(time: &Rc<dyn Time>, subject: Subject) {
    let first = World::new(time, subject);
    first.install(APP, 0, 1).await;
    first.write(RESOURCE, "lovelace").await;
    first.host.close();
    let World { subject, .. } = first;
    let second = World::new(time, subject);
    second.install(APP, 1, 1).await;
    assert!(second.has(RESOURCE, "lovelace").await);
}

async fn a_backup_has_what_is_kept_and_nothing_that_was_removed(world: &World) {
    world.install(APP, 0, 1).await;
    world.write(RESOURCE, "lovelace").await;
    let kept = world.backup();
    assert!(kept.iter().any(|(path, size)| path.contains("own") && *size > 0), "{kept:?}");
    let app = world.app(APP, true).await;
    let resources = world.host.resources_of(&app).unwrap();
    assert_eq!(resources.len(), 1);
    world.host.uninstall(&address(APP));
    assert_eq!(world.backup().len(), kept.len(), "a deleted app keeps its data, and backups have it");
    for resource in &resources {
        resource.remove().await.unwrap();
    }
    assert_eq!(world.backup(), []);
    // Also of an app that does not run.
    for resource in world.host.resources_of(&app).unwrap() {
        resource.remove().await.unwrap();
    }
    drop(resources);
    world.install(APP, 1, 2).await;
    assert!(!world.has(RESOURCE, "lovelace").await, "it begins anew");
}

async fn an_address_is_released_with_its_app(world: &World) {
    world.install(APP, 0, 1).await;
    let without = world.app(APP, false).await;
    let prepared = world.prepare(&without, 1, 2).await;
    let is_served = || async {
        let gone = ask(&world.host, &address(RESOURCE), "no-such-operation", Payload::nothing()).await.unwrap_err();
        gone.code == "no-operation"
    };
    assert!(is_served().await);
    world.put(without, 2, prepared);
    assert!(!is_served().await, "a version without it does not serve it");
    world.install(APP, 2, 3).await;
    assert!(is_served().await);
    world.host.uninstall(&address(APP));
    assert!(!is_served().await);
}

async fn apps_keep_their_own(world: &World) {
    world.install(APP, 0, 1).await;
    world.install("acme:other", 0, 1).await;
    world.write(RESOURCE, "lovelace").await;
    assert!(!world.has("acme:other:own", "lovelace").await);
    let other = world.app("acme:other", true).await;
    world.host.uninstall(&address("acme:other"));
    for resource in world.host.resources_of(&other).unwrap() {
        resource.remove().await.unwrap();
    }
    assert!(world.has(RESOURCE, "lovelace").await);
}
