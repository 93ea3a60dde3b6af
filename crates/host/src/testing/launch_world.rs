//! A page and its server in one thread. A test can choose and damage the page's store and the source of bundles.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    future::ready,
    rc::Rc,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use serde_json::{Value, json};
use starlane_bundle::{AppRecord, Contents, Digest, FileEntry, PublicKey, SecretKey, SignedManifest};
use starlane_node::{
    ActorLimits, Authenticated, LinkConfig, Operations, Origin, Principal, PrincipalLimits,
    guest::{BatchReport, GuestCall, GuestPlan, InstanceId},
};
use starlane_protocol::{Address, Failure, Grant, HostSecret, Payload};

use super::{
    memory::{MemoryDialer, MemorySource},
    store_suite::Stores,
};
use crate::{
    Host, HostConfig, LaunchError, LaunchOptions, Launched, Served, Verification, VerifiedApp, handler,
    ports::{NoSource, Ports, Sandbox, SandboxError, Time, Verifier},
    resource::Resources,
    verify,
};

/// A page, its server, and the network between them.
pub struct World {
    /// The clock of both.
    pub time: Rc<dyn Time>,
    /// The store of the page.
    pub store: Rc<dyn Stores>,
    /// The source of bundles.
    pub source: MemorySource,
    network: MemoryDialer,
    verifier: InBytes,
    records: Rc<RefCell<HashMap<Address, AppRecord>>>,
    meter: Meter,
    failing: Rc<RefCell<Option<Failure>>>,
    logs: Rc<RefCell<Vec<String>>>,
    pages: Cell<u8>,
    _served: Served,
}

/// The trusted publisher.
pub fn publisher() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

/// Invalid file names, alone or beside other files.
pub fn hostile_names() -> Vec<Vec<String>> {
    let long = format!("/{}", "a".repeat(201));
    let alone = [
        "",
        "/",
        "one",
        "//one",
        "/one/",
        "/./one",
        "/../one",
        "/one/..",
        "/one//two",
        "../one",
        "/one/../../two",
        "/o ne",
        "/one\0",
        "/one\n",
        "/ö",
        "/one\\two",
        "C:/one",
        "/one:two",
        "/one?",
        "/one#two",
        "/%2e%2e/one",
        "~/one",
        &long,
    ];
    let together = [["/one.txt", "/One.TXT"], ["/one", "/one/two"], ["/ONE", "/one/two"]];
    let alone = alone.iter().map(|name| vec![(*name).to_owned()]);
    alone.chain(together.iter().map(|names| names.map(str::to_owned).to_vec())).collect()
}

/// An address.
pub fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

impl World {
    /// Makes a server without apps, and a page's store.
    pub fn new(time: Rc<dyn Time>, store: Rc<dyn Stores>) -> Self {
        let records = Rc::<RefCell<HashMap<Address, AppRecord>>>::default();
        let failing = Rc::<RefCell<Option<Failure>>>::default();
        let ports = Ports {
            time: Rc::clone(&time),
            dialer: Rc::new(MemoryDialer::new(drop)),
            sandbox: Rc::new(NoGuests::default()),
            bundles: Rc::new(crate::MemoryStore::new()),
            records: Rc::new(crate::MemoryStore::new()),
            state: Rc::new(crate::MemoryStateStore::default()),
            source: Rc::new(NoSource),
            verifier: Rc::new(InBytes::default()),
        };
        let server = Host::open(ports, config("starlane:server", HostSecret([9; 32]), Rc::default()));
        let (known, passing) = (Rc::clone(&records), Rc::clone(&failing));
        let answer = handler(move |incoming| {
            if let Some(failure) = passing.borrow().clone() {
                return ready(Err(failure));
            }
            let asked: Value = serde_json::from_slice(&incoming.payload.body).unwrap();
            let app = address(asked["app"].as_str().unwrap_or_default());
            let record = known.borrow().get(&app).map(|record| json!(record).to_string());
            ready(record.map(Payload::json).ok_or_else(|| Failure::not_found("no such app")))
        });
        let served = server.serve(&address("starlane:apps"), Operations::Named(vec!["get".into()]), answer).unwrap();
        let network = MemoryDialer::new(move |socket| server.accept(socket));
        let (source, logs) = (MemorySource::new(), Rc::default());
        Self {
            time,
            store,
            source,
            network,
            verifier: InBytes::default(),
            meter: Meter::default(),
            records,
            failing,
            logs,
            pages: Cell::new(0),
            _served: served,
        }
    }

    /// Opens a new page with the same store.
    pub fn page(&self) -> Page {
        self.page_with(None)
    }

    /// The same, with drivers.
    pub fn page_with(&self, resources: Option<Rc<dyn Resources>>) -> Page {
        self.pages.set(self.pages.get() + 1);
        let ports = Ports {
            time: Rc::clone(&self.time),
            dialer: Rc::new(self.network.clone()),
            sandbox: Rc::new(NoGuests { meter: self.meter.clone(), ..NoGuests::default() }),
            bundles: Rc::clone(&self.store) as _,
            records: Rc::clone(&self.store) as _,
            state: Rc::new(crate::MemoryStateStore::default()),
            source: Rc::new(self.source.clone()),
            verifier: Rc::new(self.verifier.clone()),
        };
        let secret = HostSecret([self.pages.get(); 32]);
        let config = config("starlane:page", secret, Rc::clone(&self.logs));
        let host = Host::open(ports, HostConfig { resources, ..config });
        host.connect("ws://server/mesh", Rc::new(|| Box::pin(ready(Ok(None)))));
        Page(host)
    }

    /// The number of announcements that modules will be compiled.
    pub fn prepared(&self) -> u32 {
        self.meter.prepared.get()
    }

    /// Sets whether the checks of modules are missing, so that pages cannot load them.
    pub fn set_meter_missing(&self, is_missing: bool) {
        self.meter.is_missing.set(is_missing);
    }

    /// Sets whether the verifier of bundles is missing, so that pages cannot load it.
    pub fn set_verifier_missing(&self, missing: bool) {
        self.verifier.is_missing.set(missing);
    }

    /// Sets whether the server and its bundles are unreachable.
    pub fn set_away(&self, away: bool) {
        self.network.set_down(away);
        self.source.set_offline(away);
    }

    /// Holds or releases the network. While it is held, messages of pages and of the server stay in the buffers of
    /// their sockets.
    pub fn hold(&self, held: bool) {
        self.network.hold(held);
    }

    /// The number of bytes in the buffers of all sockets.
    pub fn buffered(&self) -> usize {
        self.network.buffered()
    }

    /// The number of messages in the buffers of all sockets.
    pub fn messages(&self) -> usize {
        self.network.messages()
    }

    /// Publishes files as a bundle; `/module.wasm`, if there is one, is what the app runs in pages.
    pub fn publish(&self, bundle: &str, files: &[(&str, &[u8])]) -> SignedManifest {
        self.publish_as(bundle, files, &publisher(), |_| {})
    }

    /// The same, signed by `key` and with a change of the manifest.
    pub fn publish_as(
        &self,
        bundle: &str,
        files: &[(&str, &[u8])],
        key: &SecretKey,
        change: impl FnOnce(&mut Contents),
    ) -> SignedManifest {
        let mut manifest = manifest(bundle, files, key.public());
        change(&mut manifest);
        for (_, bytes) in files {
            self.source.add_blob(bytes.to_vec());
        }
        let signed = manifest.sign(key);
        self.source.publish(&manifest.address, signed.clone());
        signed
    }

    /// Sets the server's record of `acme:app`, or of another app.
    pub fn say(&self, app: &str, revision: u64, bundle: &str, manifest: &SignedManifest) {
        let record = AppRecord {
            app: address(app),
            revision,
            bundle: address(bundle),
            manifest: manifest.digest(),
            publisher: publisher().public(),
            overrides: Vec::new(),
            maker: None,
        };
        self.records.borrow_mut().insert(record.app.clone(), record);
    }

    /// Sets the failure of requests for a record; `None` for no failure.
    pub fn set_failing(&self, failure: Option<Failure>) {
        *self.failing.borrow_mut() = failure;
    }

    /// The log lines of pages since the last call.
    pub fn take_logs(&self) -> Vec<String> {
        self.logs.take()
    }
}

/// Verifies as a page does: request and reply are bytes. While it is missing, it verifies nothing.
#[derive(Clone, Default)]
struct InBytes {
    is_missing: Rc<Cell<bool>>,
}

impl Verifier for InBytes {
    fn verify(&self, verification: Verification) -> LocalBoxFuture<'static, Result<VerifiedApp, Failure>> {
        Box::pin(ready(match self.is_missing.get() {
            true => Err(Failure::new(503, "load-failed", "the verifier can't be loaded")),
            false => VerifiedApp::from_answer(&verify(&verification.to_bytes())),
        }))
    }
}

/// A page's host. Dropping it closes the host.
pub struct Page(pub Host);

impl Drop for Page {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Page {
    /// Launches an app.
    pub async fn launch(&self, app: &str) -> Result<Launched, LaunchError> {
        self.launch_trusting(app, &[&publisher()]).await
    }

    /// The same with these trusted publishers.
    pub async fn launch_trusting(&self, app: &str, trust: &[&SecretKey]) -> Result<Launched, LaunchError> {
        let trust = trust.iter().map(|key| key.public()).collect();
        let options = LaunchOptions { trust, inline: false, on_progress: None };
        self.0.launch(&address(app), options).await
    }

    /// Launches an app inline, or in workers.
    pub async fn launch_inline(&self, app: &str, inline: bool) -> Result<Launched, LaunchError> {
        let options = LaunchOptions { trust: vec![publisher().public()], inline, on_progress: None };
        self.0.launch(&address(app), options).await
    }

    /// Returns the code of the error of a launch.
    pub async fn refused(&self, app: &str) -> String {
        self.launch(app).await.err().map(|error| error.code().to_owned()).unwrap_or_default()
    }

    /// Reads a file of a bundle by message, as mechtrons do.
    pub async fn read(&self, bundle: &str, path: &str) -> Result<Bytes, Failure> {
        let origin = Origin { address: address("starlane:page"), caller: Principal::default() };
        let body = Payload::json(json!({ "path": path }).to_string());
        self.0.request(&origin, &address(bundle), "read", body, 0).await.map(|reply| reply.body)
    }
}

fn config(own: &str, secret: HostSecret, logs: Rc<RefCell<Vec<String>>>) -> HostConfig {
    HostConfig {
        address: address(own),
        secret,
        link: LinkConfig::default(),
        max_awake: 1,
        limits: PrincipalLimits::default(),
        actors: ActorLimits::default(),
        authenticate: Rc::new(|_| {
            let grants = [Grant::parse("request **", None).unwrap()];
            Ok(Authenticated { principal: Principal::new("page", grants), remaining_ms: None })
        }),
        log: Rc::new(move |line| logs.borrow_mut().push(line.text.clone())),
        resources: None,
    }
}

fn manifest(bundle: &str, files: &[(&str, &[u8])], publisher: PublicKey) -> Contents {
    let entry = |bytes: &[u8]| FileEntry {
        sha256: Digest::of(bytes),
        size: bytes.len() as u64,
        media_type: "application/octet-stream".into(),
    };
    let table = files.iter().map(|(path, bytes)| ((*path).to_owned(), entry(bytes)));
    let table: serde_json::Map<String, Value> = table.map(|(path, entry)| (path, json!(entry))).collect();
    let mut value = json!({
        "format": 1, "address": bundle, "publisher": publisher, "created": 1_700_000_000, "public": true, "name": "app",
        "files": table, "app": { "name": "app" },
    });
    if table_has_module(files) {
        value["binds"] = json!({ "/bind.toml": { "name": "echo" } });
        value["mechtrons"] =
            json!({ "/mechtron.toml": { "wasm": "/module.wasm", "name": "echo", "bind": "/bind.toml" } });
        value["app"]["mechtrons"] = json!({ "echo": { "config": "/mechtron.toml", "placement": "browser" } });
    }
    serde_json::from_value(value).unwrap()
}

fn table_has_module(files: &[(&str, &[u8])]) -> bool {
    files.iter().any(|(path, _)| *path == "/module.wasm")
}

/// The checks of modules for all pages.
#[derive(Clone, Default)]
struct Meter {
    prepared: Rc<Cell<u32>>,
    is_missing: Rc<Cell<bool>>,
}

/// Accepts any bytes as a module, and runs none.
#[derive(Default)]
pub(crate) struct NoGuests {
    compiled: RefCell<Vec<Digest>>,
    meter: Meter,
}

impl Sandbox for NoGuests {
    fn has_module(&self, digest: &Digest, _: u64) -> bool {
        self.compiled.borrow().contains(digest)
    }

    fn prepare(&self) {
        self.meter.prepared.update(|count| count + 1);
    }

    fn compile(
        &self,
        _: &str,
        digest: Digest,
        _: u64,
        wasm: Bytes,
    ) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        assert!(Digest::of(&wasm) == digest, "a module that was not verified");
        if self.meter.is_missing.get() {
            let reason = "the meter can't be loaded".to_owned();
            return Box::pin(ready(Err(SandboxError::Unchecked { digest, reason })));
        }
        self.compiled.borrow_mut().push(digest);
        Box::pin(ready(Ok(())))
    }

    fn start(&self, _: &GuestPlan) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        Box::pin(ready(Err(SandboxError::Instance("no guest runs here".into()))))
    }

    fn run(&self, _: InstanceId, _: Vec<GuestCall>) -> LocalBoxFuture<'static, BatchReport> {
        panic!("no guest was started")
    }

    fn stop(&self, _: InstanceId) {}

    fn place(&self, _: InstanceId) -> String {
        "nowhere".into()
    }
}
