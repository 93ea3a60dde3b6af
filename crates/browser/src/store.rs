//! What the host keeps, in IndexedDB.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use js_sys::{Array, Promise, Uint8Array};
use starlane_bundle::{AppRecord, Digest, Signature, SignedManifest, json};
use starlane_host::{
    MemoryStore,
    ports::{Store, StoreError},
};
use starlane_protocol::{Address, HostSecret};
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
/// `Address` of an app → JSON of its record, as a string: its numbers need 64 bits.
const RECORDS: &str = "records";
/// [`SECRET`] → `Uint8Array`.
const SETTINGS: &str = "settings";
/// The key of the host's secret in the settings.
const SECRET: &str = "secret";

#[wasm_bindgen(module = "/js/storage.js")]
extern "C" {
    /// A database, opened when it is first used.
    type Storage;

    #[wasm_bindgen(constructor)]
    fn new(name: &str) -> Storage;

    /// Does a step; resolves to an array of values.
    #[wasm_bindgen(method)]
    fn run(this: &Storage, store: &str, step: &str, key: &str, value: &JsValue) -> Promise;

    #[wasm_bindgen(method)]
    fn close(this: &Storage);
}

type Done<T> = LocalBoxFuture<'static, Result<T, StoreError>>;

/// How often an operation is tried.
const TRIES: usize = 3;

/// Keeps a host's cache in an IndexedDB database. Where the browser's storage can't be used, it goes on in memory, and
/// calls back once with the reason. Clones share all.
#[derive(Clone)]
pub struct IndexedDbStore(Rc<Inner>);

struct Inner {
    storage: Storage,
    memory: RefCell<Option<MemoryStore>>,
    on_degraded: Rc<dyn Fn(&str)>,
}

impl IndexedDbStore {
    /// The store in the database `name`, which is opened when it is first used.
    pub fn new(name: &str, on_degraded: Rc<dyn Fn(&str)>) -> Self {
        Self(Rc::new(Inner { storage: Storage::new(name), memory: RefCell::default(), on_degraded }))
    }

    /// Whether the browser's storage could not be used.
    pub fn is_degraded(&self) -> bool {
        self.0.memory.borrow().is_some()
    }

    /// Puts a value, or drops what is there.
    fn write(
        &self,
        store: &'static str,
        key: String,
        value: Option<JsValue>,
        in_memory: impl FnOnce(&MemoryStore) -> Done<()> + 'static,
    ) -> Done<()> {
        let inner = Rc::clone(&self.0);
        let step = match value {
            Some(value) => Step::Put(key, value),
            None => Step::Delete(key),
        };
        Box::pin(async move {
            match inner.run(store, &step).await? {
                Outcome::Values(_) => Ok(()),
                Outcome::Degraded(memory) => in_memory(&memory).await,
            }
        })
    }

    /// Reads a value, and what it stands for by `decode`; its error says what is wrong with it.
    fn read<T: 'static>(
        &self,
        store: &'static str,
        key: String,
        decode: impl FnOnce(&JsValue) -> Result<T, String> + 'static,
        in_memory: impl FnOnce(&MemoryStore) -> Done<Option<T>> + 'static,
    ) -> Done<Option<T>> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            let step = Step::Get(key);
            match inner.run(store, &step).await? {
                Outcome::Values(values) => match values.first() {
                    Some(value) => decode(value)
                        .map(Some)
                        .map_err(|reason| StoreError::Damaged { name: step.parts().1.to_owned(), reason }),
                    None => Ok(None),
                },
                Outcome::Degraded(memory) => in_memory(&memory).await,
            }
        })
    }
}

/// What is done in one transaction on one object store.
enum Step {
    /// Gives the value at the key, if there is one.
    Get(String),
    /// Gives every value.
    All,
    Put(String, JsValue),
    Delete(String),
    /// Gives the value at the key, which is the one given here if there was none of its length.
    Keep(String, JsValue),
}

impl Step {
    /// As [`Storage::run`] takes it.
    fn parts(&self) -> (&'static str, &str, JsValue) {
        match self {
            Self::Get(key) => ("get", key, JsValue::UNDEFINED),
            Self::All => ("all", "", JsValue::UNDEFINED),
            Self::Put(key, value) => ("put", key, value.clone()),
            Self::Delete(key) => ("delete", key, JsValue::UNDEFINED),
            Self::Keep(key, value) => ("keep", key, value.clone()),
        }
    }
}

/// Where a step was done.
enum Outcome {
    /// In the database, which gave these values.
    Values(Vec<JsValue>),
    /// Not there: the caller does it in memory.
    Degraded(MemoryStore),
}

impl Inner {
    /// Runs a step on the database, which is opened anew where that may help.
    async fn run(&self, store: &'static str, step: &Step) -> Result<Outcome, StoreError> {
        let known = self.memory.borrow().clone();
        if let Some(memory) = known {
            return Ok(Outcome::Degraded(memory));
        }
        let (name, key, value) = step.parts();
        let mut reason = String::new();
        for _ in 0..TRIES {
            let error = match JsFuture::from(self.storage.run(store, name, key, &value)).await {
                Ok(values) => return Ok(Outcome::Values(Array::from(&values).to_vec())),
                Err(error) => error,
            };
            reason = failure::text(&error);
            match failure::name(&error).as_deref() {
                Some("QuotaExceededError") => return Err(StoreError::Full(reason)),
                Some("VersionError") => {
                    reason = "a newer version of this page keeps its data there".to_owned();
                    break;
                }
                Some("TimeoutError") => break,
                // Another try, with a new connection, may go well.
                _ => {}
            }
        }
        Ok(Outcome::Degraded(self.degrade(&reason)))
    }

    fn degrade(&self, reason: &str) -> MemoryStore {
        let mut memory = self.memory.borrow_mut();
        if let Some(known) = &*memory {
            return known.clone();
        }
        let fresh = memory.insert(MemoryStore::new()).clone();
        drop(memory);
        (self.on_degraded)(reason);
        fresh
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.storage.close();
    }
}

fn bytes_of(value: &JsValue) -> Result<Vec<u8>, String> {
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec).ok_or_else(|| "it is no Uint8Array".to_owned())
}

fn secret_of(value: &JsValue) -> Result<HostSecret, String> {
    let bytes = bytes_of(value)?.try_into().map_err(|_| "it has not the length of a secret".to_owned())?;
    Ok(HostSecret(bytes))
}

fn record_of(value: &JsValue) -> Result<AppRecord, String> {
    let text = value.as_string().ok_or("it is no string")?;
    json::from_slice(text.as_bytes()).map_err(|error| error.to_string())
}

impl Store for IndexedDbStore {
    fn manifest(&self, bundle: &Address) -> Done<Option<SignedManifest>> {
        let bundle = bundle.clone();
        let decode = |value: &JsValue| {
            let signature = get(value, "signature").as_string().unwrap_or_default();
            let signature = Signature::parse(&signature).map_err(|error| error.to_string())?;
            Ok(SignedManifest { bytes: bytes_of(&get(value, "bytes"))?, signature })
        };
        self.read(MANIFESTS, bundle.to_string(), decode, move |memory| memory.manifest(&bundle))
    }

    fn put_manifest(&self, bundle: &Address, manifest: SignedManifest) -> Done<()> {
        let (name, bundle) = (bundle.to_string(), bundle.clone());
        let value = object(&[
            ("bytes", Uint8Array::from(manifest.bytes.as_slice()).into()),
            ("signature", JsValue::from_str(&manifest.signature.to_string())),
        ]);
        let in_memory = move |memory: &MemoryStore| memory.put_manifest(&bundle, manifest);
        self.write(MANIFESTS, name, Some(value.into()), in_memory)
    }

    fn blob(&self, digest: &Digest) -> Done<Option<Bytes>> {
        let digest = *digest;
        let decode = |value: &JsValue| bytes_of(value).map(Bytes::from);
        self.read(BLOBS, digest.to_string(), decode, move |memory| memory.blob(&digest))
    }

    fn put_blob(&self, digest: &Digest, bytes: Bytes) -> Done<()> {
        let digest = *digest;
        let value = Uint8Array::from(&*bytes).into();
        self.write(BLOBS, digest.to_string(), Some(value), move |memory| memory.put_blob(&digest, bytes))
    }

    fn drop_blob(&self, digest: &Digest) -> Done<()> {
        let digest = *digest;
        self.write(BLOBS, digest.to_string(), None, move |memory| memory.drop_blob(&digest))
    }

    fn record(&self, app: &Address) -> Done<Option<AppRecord>> {
        let app = app.clone();
        self.read(RECORDS, app.to_string(), record_of, move |memory| memory.record(&app))
    }

    fn records(&self) -> Done<Vec<AppRecord>> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            match inner.run(RECORDS, &Step::All).await? {
                // One that can't be read is none; asked for by its name, it is an error.
                Outcome::Values(values) => Ok(values.iter().filter_map(|value| record_of(value).ok()).collect()),
                Outcome::Degraded(memory) => memory.records().await,
            }
        })
    }

    fn put_record(&self, record: AppRecord) -> Done<()> {
        let value = match serde_json::to_string(&record) {
            Ok(text) => JsValue::from_str(&text),
            Err(error) => return Box::pin(std::future::ready(Err(StoreError::Failed(error.to_string())))),
        };
        self.write(RECORDS, record.app.to_string(), Some(value), move |memory| memory.put_record(record))
    }

    fn drop_record(&self, app: &Address) -> Done<()> {
        let app = app.clone();
        self.write(RECORDS, app.to_string(), None, move |memory| memory.drop_record(&app))
    }

    fn secret(&self, fresh: HostSecret) -> Done<HostSecret> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            // One transaction: of two tabs that start at once, one sees what the other kept.
            let step = Step::Keep(SECRET.to_owned(), Uint8Array::from(&fresh.0[..]).into());
            match inner.run(SETTINGS, &step).await? {
                Outcome::Values(values) => Ok(values.first().and_then(|value| secret_of(value).ok()).unwrap_or(fresh)),
                Outcome::Degraded(memory) => memory.secret(fresh).await,
            }
        })
    }
}
