//! Every fault of the browser's storage × every operation, on a connection that is open and on one that is not: an operation
//! may fail aloud, and the store may go on in memory and say so. It may never say that all is well when it is not.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures_util::future::join_all;
use starlane_browser::IndexedDbStore;
use starlane_bundle::{AppRecord, Digest, SecretKey, SignedManifest};
use starlane_host::{ports::Store, testing::launch_world::address};
use starlane_protocol::{Address, HostSecret};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Patch, figure, fresh_name, open_store, script};

/// What a fault does to the store in the end.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    /// Nothing: all goes well, on a second try.
    Heals,
    /// It goes on in memory, or at least the operation fails.
    Breaks,
    /// What was kept is gone; what is kept from now on is not.
    Empties,
    /// What was kept is no good.
    Spoils,
}
use Effect::{Breaks, Empties, Heals, Spoils};

/// A change of the browser's own functions, which lasts during the operation.
struct Fault(&'static str, Effect, How);

enum How {
    /// Once and for ever: the JavaScript that happens in place of, or after, a function of the browser's.
    Calls(&'static str, &'static str, u32),
    /// Done to the database before, by JavaScript with `name` and `done`, a promise of a request's result.
    Before(&'static str),
}
use How::{Before, Calls};

const EVER: u32 = u32::MAX;
const TRANSACTION: &str = "IDBDatabase.prototype.transaction";
const PUT: &str = "IDBObjectStore.prototype.put";
const GET: &str = "IDBObjectStore.prototype.get";
const OPEN: &str = "IDBFactory.prototype.open";
const ABORT: &str =
    "const made = own.apply(this, all); queueMicrotask(() => { try { made.abort(); } catch {} }); return made;";
const LOST: &str = "throw new DOMException('connection lost', 'InvalidStateError');";
const UNKNOWN: &str = "throw new DOMException('internal error', 'UnknownError');";
const QUOTA: &str = "throw new DOMException('no room', 'QuotaExceededError');";
const REFUSED: &str = "const request = { error: new DOMException('internal error', 'UnknownError') }; \
    setTimeout(() => request.onerror({ preventDefault() {} })); return request;";
const EACH_VALUE: &str = "const db = await done(indexedDB.open(name)); \
    const change = (value) => { const bytes = value.bytes ?? value; \
      if (bytes instanceof Uint8Array) { bytes[bytes.length >> 1] ^= 4; return value; } \
      return typeof value === 'string' ? value.replace('\"revision\":7', '\"revision\":5') : value; }; \
    for (const store of ['blobs', 'manifests', 'records']) { \
      const objects = db.transaction(store, 'readwrite').objectStore(store); \
      for (const key of await done(objects.getAllKeys())) await done(objects.put(CHANGED, key)); } \
    db.close();";

const FAULTS: [Fault; 20] = [
    Fault("connection lost once", Heals, Calls(TRANSACTION, LOST, 1)),
    Fault("connection lost twice", Heals, Calls(TRANSACTION, LOST, 2)),
    Fault("connection lost for ever", Breaks, Calls(TRANSACTION, LOST, EVER)),
    Fault("transaction aborted once", Heals, Calls(TRANSACTION, ABORT, 1)),
    Fault("transaction aborted for ever", Breaks, Calls(TRANSACTION, ABORT, EVER)),
    Fault("unknown error of a read, once", Heals, Calls(GET, UNKNOWN, 1)),
    Fault("unknown error of each read", Breaks, Calls(GET, UNKNOWN, EVER)),
    Fault("unknown error of a write, once", Heals, Calls(PUT, UNKNOWN, 1)),
    Fault("unknown error of each write", Breaks, Calls(PUT, UNKNOWN, EVER)),
    Fault("no room once", Heals, Calls(PUT, QUOTA, 1)),
    Fault("no room for ever", Breaks, Calls(PUT, QUOTA, EVER)),
    Fault("opening fails once", Heals, Calls(OPEN, REFUSED, 1)),
    Fault("opening fails for ever", Breaks, Calls(OPEN, REFUSED, EVER)),
    Fault("storage is switched off", Breaks, Calls(OPEN, "throw new DOMException('not here', 'SecurityError');", EVER)),
    Fault("no locks", Heals, Calls("LockManager.prototype.query", "return Promise.reject(new Error('no'));", EVER)),
    Fault("deleted", Empties, Before("await done(indexedDB.deleteDatabase(name))")),
    Fault("a newer layout", Breaks, Before("(await done(indexedDB.open(name, 99))).close()")),
    Fault("values of another form", Spoils, Before("CHANGED=7")),
    Fault("values with a flipped bit", Spoils, Before("CHANGED=change(await done(objects.get(key)))")),
    Fault(
        "weights of another form",
        Heals,
        Before(
            "const db = await done(indexedDB.open(name)); \
             for (const store of ['bundles', 'sizes', 'settings']) { \
               const objects = db.transaction(store, 'readwrite').objectStore(store); \
               for (const key of await done(objects.getAllKeys())) if (key !== 'secret') await done(objects.put('x', key)); } \
             db.close();",
        ),
    ),
];

impl Fault {
    /// Makes it happen; it ends when this is dropped.
    async fn inject(&self, name: &str) -> Option<Patch> {
        match &self.2 {
            Calls(function, instead, times) => Some(Patch::apply(&format!(
                "const own = {function}; let left = {times}; \
                 {function} = function (...all) {{ if (left-- > 0) {{ {instead} }} return own.apply(this, all); }}; \
                 return () => {{ {function} = own; }};"
            ))),
            Before(work) => {
                let work = match work.strip_prefix("CHANGED=") {
                    Some(changed) => EACH_VALUE.replace("CHANGED", changed),
                    None => (*work).to_owned(),
                };
                let done = "const name = given; const done = (request) => new Promise((resolve, reject) => { \
                    request.onsuccess = () => resolve(request.result); request.onerror = () => reject(request.error); }); ";
                script(&[done, &work].concat(), &JsValue::from_str(name)).await;
                None
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Operation {
    Manifest,
    PutManifest,
    Blob,
    PutBlob,
    PutBlobThatNeedsRoom,
    DropBlob,
    Record,
    Records,
    PutRecord,
    DropRecord,
    Secret,
    Pin,
}
use Operation::*;

const OPERATIONS: [Operation; 12] = [
    Manifest,
    PutManifest,
    Blob,
    PutBlob,
    PutBlobThatNeedsRoom,
    DropBlob,
    Record,
    Records,
    PutRecord,
    DropRecord,
    Secret,
    Pin,
];

/// The budget of all stores here, in bytes, and a blob that fills most of it.
const BUDGET: usize = 10_000;
const FILLING: usize = 9_000;

fn app() -> Address {
    address("acme:app")
}

fn bundle() -> Address {
    address("acme:repo:app:1.0.0")
}

fn manifest(text: &str) -> SignedManifest {
    SignedManifest { bytes: text.into(), signature: SecretKey::from_seed([7; 32]).sign(text.as_bytes()) }
}

fn record(revision: u64) -> AppRecord {
    let publisher = SecretKey::from_seed([7; 32]).public();
    AppRecord { app: app(), revision, bundle: bundle(), manifest: Digest::of(b""), publisher, overrides: Vec::new() }
}

fn large() -> Bytes {
    Bytes::from(vec![7; 2_000])
}

/// Something of each kind.
async fn keep_all(store: &IndexedDbStore) {
    store.put_manifest(&bundle(), manifest("kept")).await.unwrap();
    store.put_blob(&Digest::of(b"kept"), Bytes::from_static(b"kept")).await.unwrap();
    store.put_blob(&Digest::of(b"filling"), vec![1; FILLING].into()).await.unwrap();
    store.put_record(record(7)).await.unwrap();
    store.secret(HostSecret([1; 32])).await.unwrap();
    store.pin(&bundle(), vec![Digest::of(b"kept")]).await.unwrap();
    store.unpin(&bundle());
}

/// What an operation said.
#[derive(Debug, PartialEq)]
enum Said {
    /// That it failed.
    Failed(String),
    /// That it is done, and gave what was kept.
    Kept,
    /// That it is done, and gave nothing.
    Nothing,
    /// That it is done, and gave something else.
    Wrong(String),
}

fn said<T: PartialEq + std::fmt::Debug, E: ToString>(result: Result<Option<T>, E>, kept: &T) -> Said {
    match result {
        Err(error) => Said::Failed(error.to_string()),
        Ok(None) => Said::Nothing,
        Ok(Some(found)) if found == *kept => Said::Kept,
        Ok(Some(found)) => Said::Wrong(format!("{found:?}")),
    }
}

fn done<E: ToString>(result: Result<(), E>) -> Said {
    result.map_or_else(|error| Said::Failed(error.to_string()), |()| Said::Kept)
}

/// The bytes of a blob as a host takes them: what does not fit its digest is none.
async fn verified(store: &IndexedDbStore, digest: &Digest) -> Result<Option<Bytes>, String> {
    match store.blob(digest).await {
        Ok(Some(bytes)) if Digest::of(&bytes) != *digest => Err("the digest does not fit".into()),
        other => other.map_err(|error| error.to_string()),
    }
}

async fn verified_manifest(store: &IndexedDbStore) -> Result<Option<SignedManifest>, String> {
    match store.manifest(&bundle()).await {
        Ok(Some(found)) if found.signature != SecretKey::from_seed([7; 32]).sign(&found.bytes) => {
            Err("the signature does not fit".into())
        }
        other => other.map_err(|error| error.to_string()),
    }
}

impl Operation {
    async fn run(self, store: &IndexedDbStore) -> Said {
        match self {
            Manifest => said(verified_manifest(store).await, &manifest("kept")),
            PutManifest => done(store.put_manifest(&bundle(), manifest("new")).await),
            Blob => said(verified(store, &Digest::of(b"kept")).await, &Bytes::from_static(b"kept")),
            PutBlob => done(store.put_blob(&Digest::of(b"new"), Bytes::from_static(b"new")).await),
            PutBlobThatNeedsRoom => done(store.put_blob(&Digest::of(&large()), large()).await),
            DropBlob => done(store.drop_blob(&Digest::of(b"kept")).await),
            Record => said(store.record(&app()).await, &record(7)),
            Records => said(store.records().await.map(|mut all| all.pop()), &record(7)),
            PutRecord => done(store.put_record(record(8)).await.map(drop)),
            DropRecord => done(store.drop_record(&app()).await),
            Secret => said(store.secret(HostSecret([2; 32])).await.map(|secret| Some(secret.0)), &[1; 32]),
            Pin => done(store.pin(&bundle(), vec![Digest::of(b"kept")]).await),
        }
    }

    /// Whether the store holds what it holds after this operation was done.
    async fn is_done(self, store: &IndexedDbStore) -> bool {
        match self {
            PutManifest => verified_manifest(store).await == Ok(Some(manifest("new"))),
            PutBlob => verified(store, &Digest::of(b"new")).await == Ok(Some(Bytes::from_static(b"new"))),
            PutBlobThatNeedsRoom => verified(store, &Digest::of(&large())).await == Ok(Some(large())),
            DropBlob => store.blob(&Digest::of(b"kept")).await == Ok(None),
            PutRecord => store.record(&app()).await == Ok(Some(record(8))),
            DropRecord => store.record(&app()).await == Ok(None),
            Manifest | Blob | Record | Records | Secret | Pin => true,
        }
    }
}

/// An operation that is to be tried: on a database where all is kept, by a store that has it open or not.
struct Case {
    operation: Operation,
    warm: bool,
    name: String,
    store: IndexedDbStore,
    reasons: Rc<RefCell<Vec<String>>>,
}

impl Case {
    async fn prepare(operation: Operation, warm: bool) -> Self {
        let name = fresh_name();
        keep_all(&open_store(&name, BUDGET as f64).0).await;
        let (store, reasons) = open_store(&name, BUDGET as f64);
        if warm {
            store.records().await.unwrap();
        }
        Self { operation, warm, name, store, reasons }
    }

    async fn run(&self, fault: &Fault) -> Said {
        let _patch = fault.inject(&self.name).await;
        self.operation.run(&self.store).await
    }

    /// Why what was said under a fault is not right; nothing if it is.
    async fn wrong(&self, fault: &Fault, said: Said) -> Option<String> {
        let (degraded, told) = (self.store.is_degraded(), self.reasons.borrow().len());
        let when = if self.warm { "open" } else { "not yet open" };
        let wrong = |what: String| Some(format!("{}, {when}: {:?}: {said:?}, {what}", fault.0, self.operation));
        if told != usize::from(degraded) {
            return wrong(format!("told {told} times, degraded: {degraded}"));
        }
        // What went on in memory is there; else another page finds it in the database.
        let other = if degraded { self.store.clone() } else { open_store(&self.name, BUDGET as f64).0 };
        let is_done = self.operation.is_done(&other).await;
        let secret = self.operation == Secret;
        let right = match (fault.1, &said) {
            (Heals, said) => !degraded && is_done && *said == Said::Kept,
            (_, Said::Failed(_)) => true,
            (_, Said::Kept) => is_done,
            (Breaks, Said::Nothing) => degraded,
            (Empties, Said::Nothing) => true,
            // The listing is of what can be read.
            (Spoils, Said::Nothing) => self.operation == Records,
            // A fresh secret is right where there is none any more.
            (Breaks, Said::Wrong(_)) => secret && degraded,
            (Empties, Said::Wrong(_)) => secret,
            (Spoils, Said::Wrong(_)) => false,
        };
        if right { None } else { wrong(format!("degraded: {degraded}, done: {is_done}")) }
    }
}

#[wasm_bindgen_test]
async fn no_operation_says_that_all_is_well_when_it_is_not() {
    let mut tried = 0;
    let mut silent = Vec::new();
    for fault in &FAULTS {
        let cases =
            OPERATIONS.into_iter().flat_map(|operation| [true, false].map(|warm| Case::prepare(operation, warm)));
        let cases = join_all(cases).await;
        let mut said = Vec::new();
        // One after another: a fault is the whole browser's.
        for case in &cases {
            said.push(case.run(fault).await);
        }
        tried += cases.len();
        let wrong = cases.iter().zip(said).map(|(case, said)| case.wrong(fault, said));
        silent.extend(join_all(wrong).await.into_iter().flatten());
    }
    figure("storage faults", "storage-faults.tried", tried as f64, "operations");
    figure("storage faults", "storage-faults.silent", silent.len() as f64, "operations");
    assert!(silent.is_empty(), "{silent:#?}");
}
