//! Every fault of the browser's storage × every operation, on an open connection and on a new one. An operation may report a
//! failure, and the store may report that it continues in memory. It must not report success after a failure.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures_util::future::join_all;
use js_sys::{JSON, Reflect};
use starlane_browser::IndexedDbStore;
use starlane_bundle::{Digest, SignedManifest};
use starlane_host::{
    ports::{BundleStore, RecordStore, StoreError},
    testing::launch_world::{address, publisher},
};
use starlane_protocol::Address;
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Patch, eval, figure, fresh_name, manifest, open_store, record, stored};

/// The effect of a fault on the store.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    /// None: a second try succeeds.
    Heals,
    /// The store continues in memory, or at least the operation fails.
    Breaks,
    /// Earlier data is lost; later data is kept.
    Empties,
    /// Earlier data is damaged.
    Spoils,
}
use Effect::{Breaks, Empties, Heals, Spoils};

/// A fault during an operation. When it happens, it increments `globalThis.fired`.
struct StoreFault {
    name: &'static str,
    effect: Effect,
    how: How,
}

enum How {
    /// Replaces the first `times` calls of a browser's function by JavaScript. The script can use `this`, the arguments `all`, the
    /// original function `own`, and the definitions of [`LATE`].
    Calls { function: &'static str, instead: &'static str, times: u32 },
    /// Before the operation, replaces each value of these object stores by a JavaScript expression of `key` and `value`.
    Values { stores: &'static str, changed: &'static str },
    /// Before the operation, changes the database by JavaScript, with its name as `given`.
    Done(&'static str),
    /// Another tab holds a connection to the earlier layout, and so blocks the upgrade, until this JavaScript closes it. The script
    /// returns a function for the end of the operation.
    Blocked { until: &'static str },
}
use How::{Blocked, Calls, Done, Values};

const EVER: u32 = u32::MAX;
const TRANSACTION: &str = "IDBDatabase.prototype.transaction";
const PUT: &str = "IDBObjectStore.prototype.put";
const DELETE: &str = "IDBObjectStore.prototype.delete";
const GET: &str = "IDBObjectStore.prototype.get";
const GET_ALL: &str = "IDBObjectStore.prototype.getAll";
const OPEN: &str = "IDBFactory.prototype.open";
const LOCKS: &str = "LockManager.prototype.query";
const LOCK: &str = "LockManager.prototype.request";

// Immediate errors.
const LOST: &str = "throw new DOMException('connection lost', 'InvalidStateError');";
const UNKNOWN: &str = "throw new DOMException('internal error', 'UnknownError');";
const QUOTA: &str = "throw new DOMException('no room', 'QuotaExceededError');";
const SWITCHED_OFF: &str = "throw new DOMException('not here', 'SecurityError');";
const REJECTED: &str = "return Promise.reject(new Error('no'));";
const SILENT: &str = "return new Promise(() => {});";

// Late errors, as most are: events report them. The request fails, and its transaction too, which has the reason.
const ABORT: &str =
    "const made = own.apply(this, all); queueMicrotask(() => { try { made.abort(); } catch {} }); return made;";
const REFUSED: &str = "const request = { error: new DOMException('internal error', 'UnknownError') }; \
    setTimeout(() => request.onerror({ preventDefault() {} })); return request;";
const LATE_UNKNOWN: &str = "const request = own.apply(this, all); failWrite(this, 'UnknownError'); return request;";
const LATE_QUOTA: &str = "const request = own.apply(this, all); failWrite(this, 'QuotaExceededError'); return request;";
const LATE_READ: &str = "return failRead(own.apply(this, all), 'UnknownError');";
/// As in Firefox: after a lack of room, the connection writes nothing any more. Another connection works.
const POISONED: &str = "const request = own.apply(this, all); failWrite(this, 'QuotaExceededError'); \
    const database = this.transaction.db; const begin = database.transaction; \
    database.transaction = (stores, mode, options) => { const made = begin.call(database, stores, mode, options); \
      if (mode === 'readwrite') failWrite(made.objectStore(made.objectStoreNames[0]), 'QuotaExceededError'); \
      return made; }; \
    return request;";
/// `failWrite` makes a request fail in the transaction of an object store: the second of two that add the same key. `failRead` takes
/// a read request, which then never succeeds, and aborts its transaction.
const LATE: &str = "const say = (transaction, name) => Object.defineProperty(transaction, 'error', \
      { configurable: true, get: () => new DOMException('said later', name) }); \
    const failWrite = (objects, name) => { \
      say(objects.transaction, name); objects.add(0, 'twice'); objects.add(0, 'twice'); }; \
    const failRead = (request, name) => { \
      say(request.transaction, name); \
      request.addEventListener('success', (event) => { event.stopImmediatePropagation(); request.transaction.abort(); }); \
      return request; };";

/// The object stores of the host, and those with their sizes.
const VALUES: &str = "['blobs', 'manifests', 'records']";
const WEIGHTS: &str = "['bundles', 'sizes', 'settings']";
const FLIPPED: &str = "(() => { const bytes = value.bytes ?? value; \
    if (bytes instanceof Uint8Array) { bytes[bytes.length >> 1] ^= 4; return value; } \
    return typeof value === 'string' ? value.replace('\"revision\":7', '\"revision\":5') : value; })()";

/// Moves all data to the layout of version 1, and leaves the connection open as `old`.
const OLD_LAYOUT: &str = "const stores = ['blobs', 'manifests', 'records', 'settings']; const kept = []; \
    const newer = await done(indexedDB.open(given)); \
    for (const store of stores) { \
      const objects = newer.transaction(store).objectStore(store); \
      const [keys, values] = await Promise.all([done(objects.getAllKeys()), done(objects.getAll())]); \
      kept.push([store, keys.map((key, at) => [values[at], key])]); } \
    newer.close(); \
    await done(indexedDB.deleteDatabase(given)); \
    const request = indexedDB.open(given, 1); \
    request.onupgradeneeded = () => { for (const [store, rows] of kept) { \
      const objects = request.result.createObjectStore(store); for (const row of rows) objects.put(...row); } }; \
    const old = await done(request); \
    old.onversionchange = () => globalThis.fired++;";

const fn fault(name: &'static str, effect: Effect, how: How) -> StoreFault {
    StoreFault { name, effect, how }
}

const FAULTS: [StoreFault; 36] = [
    fault("connection lost once", Heals, Calls { function: TRANSACTION, instead: LOST, times: 1 }),
    fault("connection lost twice", Heals, Calls { function: TRANSACTION, instead: LOST, times: 2 }),
    fault("connection lost forever", Breaks, Calls { function: TRANSACTION, instead: LOST, times: EVER }),
    fault("transaction aborted once", Heals, Calls { function: TRANSACTION, instead: ABORT, times: 1 }),
    fault("transaction aborted forever", Breaks, Calls { function: TRANSACTION, instead: ABORT, times: EVER }),
    fault("unknown error of a read, once", Heals, Calls { function: GET, instead: UNKNOWN, times: 1 }),
    fault("unknown error of each read", Breaks, Calls { function: GET, instead: UNKNOWN, times: EVER }),
    fault("late error of a read, once", Heals, Calls { function: GET, instead: LATE_READ, times: 1 }),
    fault("late error of each read", Breaks, Calls { function: GET, instead: LATE_READ, times: EVER }),
    fault("late error of a listing, once", Heals, Calls { function: GET_ALL, instead: LATE_READ, times: 1 }),
    fault("late error of each listing", Breaks, Calls { function: GET_ALL, instead: LATE_READ, times: EVER }),
    fault("unknown error of a write, once", Heals, Calls { function: PUT, instead: UNKNOWN, times: 1 }),
    fault("unknown error of each write", Breaks, Calls { function: PUT, instead: UNKNOWN, times: EVER }),
    fault("late error of a write, once", Heals, Calls { function: PUT, instead: LATE_UNKNOWN, times: 1 }),
    fault("late error of each write", Breaks, Calls { function: PUT, instead: LATE_UNKNOWN, times: EVER }),
    fault("late error of a deletion, once", Heals, Calls { function: DELETE, instead: LATE_UNKNOWN, times: 1 }),
    fault("late error of each deletion", Breaks, Calls { function: DELETE, instead: LATE_UNKNOWN, times: EVER }),
    fault("no room once", Heals, Calls { function: PUT, instead: QUOTA, times: 1 }),
    fault("no room forever", Breaks, Calls { function: PUT, instead: QUOTA, times: EVER }),
    fault("no room once, found late", Heals, Calls { function: PUT, instead: LATE_QUOTA, times: 1 }),
    fault("no room forever, found late", Breaks, Calls { function: PUT, instead: LATE_QUOTA, times: EVER }),
    fault("no room, and the connection is poisoned", Heals, Calls { function: PUT, instead: POISONED, times: 1 }),
    fault("opening fails once", Heals, Calls { function: OPEN, instead: REFUSED, times: 1 }),
    fault("opening fails forever", Breaks, Calls { function: OPEN, instead: REFUSED, times: EVER }),
    fault("storage is switched off", Breaks, Calls { function: OPEN, instead: SWITCHED_OFF, times: EVER }),
    fault("no locks", Heals, Calls { function: LOCKS, instead: REJECTED, times: EVER }),
    fault("locks that never answer", Heals, Calls { function: LOCKS, instead: SILENT, times: EVER }),
    fault("locks that are refused", Heals, Calls { function: LOCK, instead: REJECTED, times: EVER }),
    fault("locks that are never granted", Heals, Calls { function: LOCK, instead: SILENT, times: EVER }),
    fault("deleted", Empties, Done("await done(indexedDB.deleteDatabase(given));")),
    fault("a newer layout", Breaks, Done("(await done(indexedDB.open(given, 99))).close();")),
    fault(
        "an upgrade that is blocked for a while",
        Heals,
        Blocked {
            until: "old.onversionchange = () => { globalThis.fired++; setTimeout(() => old.close(), 50); }; return () => {};",
        },
    ),
    // Timers run faster, but none fires before the upgrade is blocked.
    fault(
        "an upgrade that is blocked forever",
        Breaks,
        Blocked {
            until: "const own = setTimeout; \
                globalThis.setTimeout = (call, ms) => own(function late() { globalThis.fired ? call() : own(late, 5); }, ms / 100); \
                return () => { globalThis.setTimeout = own; old.close(); };",
        },
    ),
    fault("values of another form", Spoils, Values { stores: VALUES, changed: "7" }),
    fault("values with a flipped bit", Spoils, Values { stores: VALUES, changed: FLIPPED }),
    fault("weights of another form", Heals, Values { stores: WEIGHTS, changed: "'x'" }),
];

impl StoreFault {
    /// Injects the fault into the database `name`, until the returned value is dropped.
    async fn inject(&self, name: &str) -> Patch {
        eval("globalThis.fired = 0");
        let body = match &self.how {
            Calls { function, instead, times } => format!(
                "{LATE} const own = {function}; let left = {times}; \
                 {function} = function (...all) {{ \
                   if (left-- > 0) {{ globalThis.fired++; {instead} }} return own.apply(this, all); }}; \
                 return () => {{ {function} = own; }};"
            ),
            // The fault affects operations on these object stores.
            Values { stores, changed } => format!(
                "const db = await done(indexedDB.open(given)); const stores = {stores}; \
                 for (const store of stores) {{ \
                   const objects = db.transaction(store, 'readwrite').objectStore(store); \
                   for (const key of await done(objects.getAllKeys())) {{ \
                     const value = await done(objects.get(key)); await done(objects.put({changed}, key)); }} }} \
                 db.close(); \
                 const own = {TRANSACTION}; \
                 {TRANSACTION} = function (...all) {{ \
                   if (all[0].some((store) => stores.includes(store))) globalThis.fired++; \
                   return own.apply(this, all); }}; \
                 return () => {{ {TRANSACTION} = own; }};"
            ),
            Done(work) => format!("{work} globalThis.fired++; return () => {{}};"),
            Blocked { until } => format!("{OLD_LAYOUT} {until}"),
        };
        Patch::prepare(&body, &JsValue::from_str(name)).await
    }

    /// Whether it must affect an operation, on an open connection (`warm`) or a new one.
    fn concerns(&self, operation: Operation, warm: bool) -> bool {
        let weighs = matches!(operation, PutManifest | PutBlob | PutBlobThatNeedsRoom | DropBlob);
        match &self.how {
            Calls { function: GET, .. } => !matches!(operation, Records | DropRecord),
            Calls { function: GET_ALL, .. } => matches!(operation, Records | PutBlobThatNeedsRoom),
            Calls { function: PUT, .. } => weighs || matches!(operation, PutRecord | Pin),
            Calls { function: DELETE, .. } => matches!(operation, PutBlobThatNeedsRoom | DropBlob | DropRecord),
            Calls { function: OPEN, .. } => !warm,
            Calls { function: LOCK, .. } => operation == Pin,
            Calls { function: LOCKS, .. } => operation == PutBlobThatNeedsRoom,
            Values { stores: VALUES, .. } => operation != Pin,
            Values { .. } => weighs || operation == Pin,
            Calls { .. } | Done(_) | Blocked { .. } => true,
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
    Pin,
}
use Operation::*;

const OPERATIONS: [Operation; 11] =
    [Manifest, PutManifest, Blob, PutBlob, PutBlobThatNeedsRoom, DropBlob, Record, Records, PutRecord, DropRecord, Pin];

/// The budget of all stores here, in bytes, and a blob that fills most of it.
const BUDGET: usize = 10_000;
const FILLING: usize = 9_000;

fn app() -> Address {
    address("acme:app")
}

fn bundle() -> Address {
    address("acme:repo:app:1.0.0")
}

fn large() -> Bytes {
    Bytes::from(vec![7; 2_000])
}

/// Stores one value of each kind.
async fn keep_all(store: &IndexedDbStore) {
    store.put_manifest(&bundle(), manifest("kept")).await.unwrap();
    store.put_blob(&Digest::of(b"kept"), Bytes::from_static(b"kept")).await.unwrap();
    store.put_blob(&Digest::of(b"filling"), vec![1; FILLING].into()).await.unwrap();
    store.put_record(record(7)).await.unwrap();
    store.pin(&bundle(), vec![Digest::of(b"kept")]).await.unwrap();
    store.unpin(&bundle());
}

/// The result of an operation.
#[derive(Debug, PartialEq)]
enum Said {
    /// It failed.
    Failed(String),
    /// It succeeded, and returned the stored value.
    Kept,
    /// It succeeded, and returned nothing.
    Nothing,
    /// It succeeded, and returned another value.
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

/// The verified bytes of a blob, as a host reads them.
async fn verified(store: &IndexedDbStore, digest: &Digest) -> Result<Option<Bytes>, String> {
    match store.blob(digest).await {
        Ok(Some(bytes)) if Digest::of(&bytes) != *digest => Err("the digest does not match".into()),
        other => other.map_err(|error| error.to_string()),
    }
}

async fn verified_manifest(store: &IndexedDbStore) -> Result<Option<SignedManifest>, String> {
    match store.manifest(&bundle()).await {
        Ok(Some(found)) if found.signature != publisher().sign(&found.bytes) => {
            Err("the signature does not match".into())
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
            // With one blob more than at the first pin.
            Pin => done(store.pin(&bundle(), vec![Digest::of(b"kept"), Digest::of(b"new")]).await),
        }
    }

    /// Whether the store has the effect of this operation, in memory or in the database `name`.
    async fn is_done(self, store: &IndexedDbStore, name: &str) -> bool {
        match self {
            PutManifest => verified_manifest(store).await == Ok(Some(manifest("new"))),
            PutBlob => verified(store, &Digest::of(b"new")).await == Ok(Some(Bytes::from_static(b"new"))),
            PutBlobThatNeedsRoom => verified(store, &Digest::of(&large())).await == Ok(Some(large())),
            DropBlob => store.blob(&Digest::of(b"kept")).await == Ok(None),
            PutRecord => store.record(&app()).await == Ok(Some(record(8))),
            DropRecord => store.record(&app()).await == Ok(None),
            Pin if store.is_degraded() => stays(store, &Digest::of(b"new")).await,
            Pin => {
                let row = stored(name, "bundles", bundle().as_str()).await;
                let blobs = Reflect::get(&row, &JsValue::from_str("blobs")).unwrap_or_default();
                let blobs = JSON::stringify(&blobs).ok().and_then(|text| text.as_string()).unwrap_or_default();
                [&b"kept"[..], b"new"].iter().all(|bytes| blobs.contains(&Digest::of(bytes).to_string()))
            }
            Manifest | Blob | Record | Records => true,
        }
    }
}

/// Whether a pinned blob stays when there is no room beside it.
async fn stays(store: &IndexedDbStore, digest: &Digest) -> bool {
    let all = Bytes::from(vec![0; BUDGET]);
    store.put_blob(digest, Bytes::from_static(b"new")).await.unwrap();
    let refused = store.put_blob(&Digest::of(&all), all).await;
    matches!(refused, Err(StoreError::Full(_))) && matches!(store.blob(digest).await, Ok(Some(_)))
}

/// A trial of an operation on a filled database, by a store that has it open or not.
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

    /// The result of the operation, and whether the fault happened.
    async fn run(&self, fault: &StoreFault) -> (Said, bool) {
        let _patch = fault.inject(&self.name).await;
        let said = self.operation.run(&self.store).await;
        (said, eval("globalThis.fired").as_f64().unwrap() > 0.0)
    }

    /// The combination, for people.
    fn about(&self, fault: &StoreFault) -> String {
        let when = if self.warm { "open" } else { "not yet open" };
        format!("{}, {when}: {:?}", fault.name, self.operation)
    }

    /// Why a result under a fault is wrong; none if it is right.
    async fn wrong(&self, fault: &StoreFault, (said, fired): (Said, bool)) -> Option<String> {
        let (degraded, told) = (self.store.is_degraded(), self.reasons.borrow().len());
        let wrong = |what: String| Some(format!("{}: {said:?}, {what}", self.about(fault)));
        if told != usize::from(degraded) {
            return wrong(format!("reported {told} times, degraded: {degraded}"));
        }
        // A degraded store has the data in memory. Otherwise another page finds it in the database.
        let other = if degraded { self.store.clone() } else { open_store(&self.name, BUDGET as f64).0 };
        let is_done = self.operation.is_done(&other, &self.name).await;
        // A fault that did not happen has no effect.
        let effect = if fired { fault.effect } else { Heals };
        let right = match (effect, &said) {
            (Heals, said) => !degraded && is_done && *said == Said::Kept,
            (_, Said::Failed(_)) => true,
            (_, Said::Kept) => is_done,
            (Breaks, Said::Nothing) => degraded,
            (Empties, Said::Nothing) => true,
            // A listing skips unreadable values.
            (Spoils, Said::Nothing) => self.operation == Records,
            (_, Said::Wrong(_)) => false,
        };
        if right { None } else { wrong(format!("degraded: {degraded}, done: {is_done}")) }
    }
}

#[wasm_bindgen_test]
async fn no_operation_reports_success_after_a_failure() {
    let (mut tried, mut expected) = (0, 0);
    let (mut missed, mut silent) = (Vec::new(), Vec::new());
    for fault in &FAULTS {
        let cases =
            OPERATIONS.into_iter().flat_map(|operation| [true, false].map(|warm| Case::prepare(operation, warm)));
        let cases = join_all(cases).await;
        let mut said = Vec::new();
        // One after another, because a fault affects the whole browser.
        for case in &cases {
            let (answer, fired) = case.run(fault).await;
            let concerned = fault.concerns(case.operation, case.warm);
            tried += usize::from(fired);
            expected += usize::from(concerned);
            if concerned && !fired {
                missed.push(case.about(fault));
            }
            said.push((answer, fired));
        }
        let wrong = cases.iter().zip(said).map(|(case, said)| case.wrong(fault, said));
        silent.extend(join_all(wrong).await.into_iter().flatten());
    }
    figure("storage faults", "storage-faults.tried", tried as f64, "operations");
    figure("storage faults", "storage-faults.silent", silent.len() as f64, "operations");
    assert!(silent.is_empty(), "{silent:#?}");
    assert!(missed.is_empty(), "never happened: {missed:#?}");
    assert!(tried >= expected && expected > 300, "{tried} of at least {expected}");
}
