//! What the host keeps, in IndexedDB.

mod connection;
mod schema;

use std::{cell::RefCell, ops::AsyncFn, rc::Rc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use indexed_db_futures::{
    Build, Result as DatabaseResult,
    database::Database,
    object_store::ObjectStore,
    query_source::QuerySource,
    transaction::{TransactionDurability, TransactionMode, TransactionOptions},
};
use js_sys::Uint8Array;
use starlane_bundle::{AppRecord, Digest, Signature, SignedManifest};
use starlane_host::{
    MemoryStore,
    ports::{Store, StoreError},
};
use starlane_protocol::{Address, HostSecret};
use wasm_bindgen::{JsCast, JsValue};

use self::{
    connection::{Connection, Fault},
    schema::{BLOBS, MANIFESTS, RECORDS, SECRET, SETTINGS},
};
use crate::object::{get, object};

type Done<T> = LocalBoxFuture<'static, Result<T, StoreError>>;

/// How often an operation is tried.
const TRIES: usize = 3;

/// Keeps a host's cache in an IndexedDB database. Where the browser's storage can't be used, it goes on in memory, and
/// calls back once with the reason. Clones share all.
#[derive(Clone)]
pub struct IndexedDbStore(Rc<Inner>);

struct Inner {
    connection: Rc<Connection>,
    memory: RefCell<Option<MemoryStore>>,
    on_degraded: Rc<dyn Fn(&str)>,
}

impl IndexedDbStore {
    /// The store in the database `name`, which is opened when it is first used.
    pub fn new(name: &str, on_degraded: Rc<dyn Fn(&str)>) -> Self {
        Self(Rc::new(Inner { connection: Connection::new(name.to_owned()), memory: RefCell::default(), on_degraded }))
    }

    /// Whether the browser's storage could not be used.
    pub fn is_degraded(&self) -> bool {
        self.0.memory.borrow().is_some()
    }

    /// Runs an operation on the database, or, if it can't be used, on memory.
    fn with<T: 'static>(
        &self,
        work: impl AsyncFn(&Database) -> DatabaseResult<T> + 'static,
        in_memory: impl FnOnce(&MemoryStore) -> Done<T> + 'static,
    ) -> Done<T> {
        let inner = Rc::clone(&self.0);
        Box::pin(async move {
            let known = inner.memory.borrow().clone();
            if let Some(memory) = known {
                return in_memory(&memory).await;
            }
            let mut reason = String::new();
            for _ in 0..TRIES {
                match inner.attempt(&work).await {
                    Ok(value) => return Ok(value),
                    Err(Fault::Full(text)) => return Err(StoreError::Full(text)),
                    Err(Fault::Broken(text)) => reason = text,
                    Err(Fault::Unusable(text)) => {
                        reason = text;
                        break;
                    }
                }
            }
            let memory = inner.degrade(&reason);
            in_memory(&memory).await
        })
    }

    /// Puts a value, or drops what is there.
    fn write(
        &self,
        store: &'static str,
        key: String,
        value: Option<JsValue>,
        in_memory: impl FnOnce(&MemoryStore) -> Done<()> + 'static,
    ) -> Done<()> {
        let work = async move |database: &Database| {
            let transaction = database
                .transaction(store)
                .with_mode(TransactionMode::Readwrite)
                .with_options(TransactionOptions::new().with_durability(durability(store)))
                .build()?;
            let objects = transaction.object_store(store)?;
            match value.clone() {
                Some(value) => drop(objects.put(value).with_key(key.clone()).await?),
                None => objects.delete(key.clone()).await?,
            }
            transaction.commit().await
        };
        self.with(work, in_memory)
    }

    /// Reads a value, and what it stands for by `decode`; its error says what is wrong with it.
    fn read<T: 'static>(
        &self,
        store: &'static str,
        key: String,
        decode: impl FnOnce(JsValue) -> Result<T, String> + 'static,
        in_memory: impl FnOnce(&MemoryStore) -> Done<Option<T>> + 'static,
    ) -> Done<Option<T>> {
        enum Found<T> {
            Value(Option<JsValue>),
            Memory(Option<T>),
        }
        let name = key.clone();
        let work = async move |database: &Database| {
            let transaction = database.transaction(store).build()?;
            let value = one(&transaction.object_store(store)?, &key).await?;
            transaction.commit().await?;
            Ok(Found::Value(value))
        };
        let found = self.with(work, |memory| {
            let done = in_memory(memory);
            Box::pin(async move { done.await.map(Found::Memory) })
        });
        Box::pin(async move {
            match found.await? {
                Found::Memory(value) => Ok(value),
                Found::Value(None) => Ok(None),
                Found::Value(Some(value)) => {
                    decode(value).map(Some).map_err(|reason| StoreError::Damaged { name, reason })
                }
            }
        })
    }
}

/// What can be fetched again may be lost when the power goes.
fn durability(store: &str) -> TransactionDurability {
    if store == BLOBS { TransactionDurability::Relaxed } else { TransactionDurability::Strict }
}

async fn one(objects: &ObjectStore<'_>, key: &str) -> DatabaseResult<Option<JsValue>> {
    objects.get::<JsValue, _, _>(key.to_owned()).await
}

impl Inner {
    async fn attempt<T>(&self, work: &impl AsyncFn(&Database) -> DatabaseResult<T>) -> Result<T, Fault> {
        let open = self.connection.open().await?;
        let done = work(&open.database).await.map_err(Fault::from);
        if let Err(Fault::Broken(_)) = &done {
            self.connection.give_up(&open).await;
        }
        done
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

fn bytes_of(value: &JsValue) -> Result<Vec<u8>, String> {
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec).ok_or_else(|| "it is no Uint8Array".to_owned())
}

fn record_of(value: &JsValue) -> Result<AppRecord, String> {
    let text = value.as_string().ok_or("it is no string")?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

impl Store for IndexedDbStore {
    fn manifest(&self, bundle: &Address) -> Done<Option<SignedManifest>> {
        let bundle = bundle.clone();
        let decode = |value: JsValue| {
            let signature = get(&value, "signature").as_string().unwrap_or_default();
            let signature = Signature::parse(&signature).map_err(|error| error.to_string())?;
            Ok(SignedManifest { bytes: bytes_of(&get(&value, "bytes"))?, signature })
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
        let decode = |value: JsValue| bytes_of(&value).map(Bytes::from);
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
        self.read(RECORDS, app.to_string(), |value| record_of(&value), move |memory| memory.record(&app))
    }

    fn records(&self) -> Done<Vec<AppRecord>> {
        let work = async |database: &Database| {
            let transaction = database.transaction(RECORDS).build()?;
            let objects = transaction.object_store(RECORDS)?;
            let mut records = Vec::new();
            for value in objects.get_all::<JsValue>().await? {
                // One that can't be read is none; asked for by its name, it is an error.
                records.extend(record_of(&value?).ok());
            }
            transaction.commit().await?;
            Ok(records)
        };
        self.with(work, |memory| memory.records())
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
        let spare = fresh.clone();
        let work = async move |database: &Database| {
            // One transaction: of two tabs that start at once, one sees what the other kept.
            let transaction = database
                .transaction(SETTINGS)
                .with_mode(TransactionMode::Readwrite)
                .with_options(TransactionOptions::new().with_durability(durability(SETTINGS)))
                .build()?;
            let objects = transaction.object_store(SETTINGS)?;
            let kept = one(&objects, SECRET).await?.and_then(|value| bytes_of(&value).ok()?.try_into().ok());
            let secret = match kept {
                Some(bytes) => HostSecret(bytes),
                None => {
                    let value: JsValue = Uint8Array::from(&fresh.0[..]).into();
                    drop(objects.put(value).with_key(SECRET.to_owned()).await?);
                    fresh.clone()
                }
            };
            transaction.commit().await?;
            Ok(secret)
        };
        self.with(work, move |memory| memory.secret(spare))
    }
}
