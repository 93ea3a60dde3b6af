//! The host's store in IndexedDB. `ts/storage.ts` has the transactions, and keeps the cache within its budget.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use js_sys::{Array, Function, Promise, Uint8Array};
use starlane_bundle::{AppRecord, Digest, Signature, SignedManifest, json};
use starlane_host::ports::{BundleStore, RecordStore, StoreError};
use starlane_protocol::Address;
use wasm_bindgen::{JsCast, JsValue, prelude::wasm_bindgen};
use wasm_bindgen_futures::JsFuture;

use crate::{
    failure,
    object::{get, object},
};

/// `Digest` in hex → `Uint8Array`.
const BLOBS: &str = "blobs";
/// `Address` of a bundle → `{ bytes: Uint8Array, signature: string }`.
const MANIFESTS: &str = "manifests";
/// `Address` of an app → a string: a digest, and the JSON of the app's record, whose numbers need 64 bits. Version 1 had no digest.
const RECORDS: &str = "records";
/// The name of the error of a full storage.
const FULL: &str = "QuotaExceededError";

// `node crates/browser/build.mjs` makes it from `ts/storage.ts`.
#[wasm_bindgen(module = "/dist/storage.js")]
extern "C" {
    /// A database, opened when it is first used.
    type Storage;

    #[wasm_bindgen(constructor)]
    fn new(name: &str, budget: f64, degraded: &Function) -> Storage;

    /// Does a step. Resolves to an array of values.
    #[wasm_bindgen(method)]
    fn run(this: &Storage, store: &str, step: &str, key: &str, value: &JsValue) -> Promise;

    #[wasm_bindgen(method)]
    fn pin(this: &Storage, bundle: &str, blobs: &Array) -> Promise;

    #[wasm_bindgen(method)]
    fn unpin(this: &Storage, bundle: &str);

    #[wasm_bindgen(method, getter, js_name = inMemory)]
    fn in_memory(this: &Storage) -> bool;

    #[wasm_bindgen(method)]
    fn close(this: &Storage);
}

type Done<T> = LocalBoxFuture<'static, Result<T, StoreError>>;

/// Stores a host's cache in an IndexedDB database. If the browser's storage cannot be used, continues in memory and calls `degraded`
/// once with the reason. Clones share everything.
#[derive(Clone)]
pub struct IndexedDbStore(Rc<Inner>);

struct Inner(Storage);

impl IndexedDbStore {
    /// The store in the database `name`, which the first use opens. `budget` is the maximum size of blobs and manifests in bytes.
    /// `degraded` is called with a reason.
    pub fn new(name: &str, budget: f64, degraded: &Function) -> Self {
        Self(Rc::new(Inner(Storage::new(name, budget, degraded))))
    }

    /// Whether the browser's storage could not be used.
    pub fn is_degraded(&self) -> bool {
        self.0.0.in_memory()
    }

    /// Begins a step. Resolves to its values.
    fn run(&self, store: &str, step: &str, key: &str, value: &JsValue) -> Done<Vec<JsValue>> {
        done(self.0.0.run(store, step, key, value))
    }

    /// Does a step without values.
    fn write(&self, store: &str, step: &str, key: &str, value: &JsValue) -> Done<()> {
        let done = self.run(store, step, key, value);
        Box::pin(async move { done.await.map(drop) })
    }

    /// Reads and decodes a value. The error of `decode` says what is wrong with it.
    fn read<T: 'static>(
        &self,
        store: &str,
        key: String,
        decode: impl FnOnce(&JsValue) -> Result<T, String> + 'static,
    ) -> Done<Option<T>> {
        let done = self.run(store, "get", &key, &JsValue::UNDEFINED);
        Box::pin(async move {
            let values = done.await?;
            let decoded = values.first().map(decode).transpose();
            decoded.map_err(|reason| StoreError::Damaged { name: key, reason })
        })
    }
}

fn done(promise: Promise) -> Done<Vec<JsValue>> {
    Box::pin(async move {
        match JsFuture::from(promise).await {
            Ok(values) => Ok(Array::from(&values).to_vec()),
            Err(error) => {
                let (text, full) = (failure::text(&error), failure::name(&error).as_deref() == Some(FULL));
                Err(if full { StoreError::Full(text) } else { StoreError::Failed(text) })
            }
        }
    })
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn bytes_of(value: &JsValue) -> Result<Vec<u8>, String> {
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec).ok_or_else(|| "it is not a Uint8Array".to_owned())
}

fn record_of(value: &JsValue) -> Result<AppRecord, String> {
    let text = value.as_string().ok_or("it is not a string")?;
    // A record of version 1 has no digest.
    let (digest, record) = text.split_at(text.find('{').unwrap_or_default());
    if !digest.is_empty() && digest != Digest::of(record.as_bytes()).to_string() {
        return Err("its digest does not match".to_owned());
    }
    json::from_slice(record.as_bytes()).map_err(|error| error.to_string())
}

impl BundleStore for IndexedDbStore {
    fn manifest(&self, bundle: &Address) -> Done<Option<SignedManifest>> {
        let decode = |value: &JsValue| {
            let signature = get(value, "signature").as_string().unwrap_or_default();
            let signature = Signature::parse(&signature).map_err(|error| error.to_string())?;
            Ok(SignedManifest { bytes: bytes_of(&get(value, "bytes"))?, signature })
        };
        self.read(MANIFESTS, bundle.to_string(), decode)
    }

    fn put_manifest(&self, bundle: &Address, manifest: SignedManifest) -> Done<()> {
        let value = object(&[
            ("bytes", Uint8Array::from(manifest.bytes.as_slice()).into()),
            ("signature", JsValue::from_str(&manifest.signature.to_string())),
        ]);
        self.write(MANIFESTS, "put", bundle.as_str(), &value)
    }

    fn blob(&self, digest: &Digest) -> Done<Option<Bytes>> {
        self.read(BLOBS, digest.to_string(), |value| bytes_of(value).map(Bytes::from))
    }

    fn put_blob(&self, digest: &Digest, bytes: Bytes) -> Done<()> {
        self.write(BLOBS, "put", &digest.to_string(), &Uint8Array::from(&*bytes))
    }

    fn drop_blob(&self, digest: &Digest) -> Done<()> {
        self.write(BLOBS, "delete", &digest.to_string(), &JsValue::UNDEFINED)
    }

    fn pin(&self, bundle: &Address, blobs: Vec<Digest>) -> Done<()> {
        let blobs: Array = blobs.iter().map(|digest| JsValue::from_str(&digest.to_string())).collect();
        let done = done(self.0.0.pin(bundle.as_str(), &blobs));
        Box::pin(async move { done.await.map(drop) })
    }

    fn unpin(&self, bundle: &Address) {
        self.0.0.unpin(bundle.as_str());
    }
}

impl RecordStore for IndexedDbStore {
    fn record(&self, app: &Address) -> Done<Option<AppRecord>> {
        self.read(RECORDS, app.to_string(), record_of)
    }

    fn records(&self) -> Done<Vec<AppRecord>> {
        let done = self.run(RECORDS, "all", "", &JsValue::UNDEFINED);
        // Skips unreadable records. `record` reports them as errors.
        Box::pin(async move { Ok(done.await?.iter().filter_map(|value| record_of(value).ok()).collect()) })
    }

    fn put_record(&self, record: AppRecord) -> Done<AppRecord> {
        let (store, key) = (self.clone(), record.app.to_string());
        Box::pin(async move {
            let text = serde_json::to_string(&record).map_err(|error| StoreError::Failed(error.to_string()))?;
            let text = JsValue::from_str(&[Digest::of(text.as_bytes()).to_string(), text].concat());
            loop {
                let before = store.run(RECORDS, "get", &key, &JsValue::UNDEFINED).await?;
                let before = before.into_iter().next().unwrap_or_default();
                match record_of(&before) {
                    Ok(known) if known.revision > record.revision => return Ok(known),
                    _ => {}
                }
                if !before.is_undefined() && !before.is_string() {
                    return store.write(RECORDS, "put", &key, &text).await.map(|()| record);
                }
                // If another tab has stored a record in between, compares with that one.
                if !store.run(RECORDS, "swap", &key, &Array::of2(&before, &text)).await?.is_empty() {
                    return Ok(record);
                }
            }
        })
    }

    fn drop_record(&self, app: &Address) -> Done<()> {
        self.write(RECORDS, "delete", app.as_str(), &JsValue::UNDEFINED)
    }
}
