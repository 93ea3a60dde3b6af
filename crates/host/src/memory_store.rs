//! A bundle store in memory, for hosts without persistence and for tests.

use std::{cell::RefCell, future::ready, rc::Rc};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use litemap::LiteMap;
use starlane_bundle::{AppRecord, Digest, SignedManifest};
use starlane_protocol::Address;

use crate::ports::{BundleStore, RecordStore, StoreError};

type Done<T> = LocalBoxFuture<'static, Result<T, StoreError>>;

/// A store in memory. Clones share the content.
#[derive(Clone, Default)]
pub struct MemoryStore(Rc<RefCell<Kept>>);

#[derive(Default)]
struct Kept {
    manifests: LiteMap<Address, SignedManifest>,
    blobs: LiteMap<Digest, Bytes>,
    records: LiteMap<Address, AppRecord>,
}

impl MemoryStore {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T: 'static>(&self, work: impl FnOnce(&mut Kept) -> T) -> Done<T> {
        Box::pin(ready(Ok(work(&mut self.0.borrow_mut()))))
    }
}

impl BundleStore for MemoryStore {
    fn manifest(&self, bundle: &Address) -> Done<Option<SignedManifest>> {
        self.with(|kept| kept.manifests.get(bundle).cloned())
    }

    fn put_manifest(&self, bundle: &Address, manifest: SignedManifest) -> Done<()> {
        self.with(|kept| drop(kept.manifests.insert(bundle.clone(), manifest)))
    }

    fn blob(&self, digest: &Digest) -> Done<Option<Bytes>> {
        self.with(|kept| kept.blobs.get(digest).cloned())
    }

    fn put_blob(&self, digest: &Digest, bytes: Bytes) -> Done<()> {
        self.with(|kept| drop(kept.blobs.insert(*digest, bytes)))
    }

    fn drop_blob(&self, digest: &Digest) -> Done<()> {
        self.with(|kept| drop(kept.blobs.remove(digest)))
    }
}

impl RecordStore for MemoryStore {
    fn record(&self, app: &Address) -> Done<Option<AppRecord>> {
        self.with(|kept| kept.records.get(app).cloned())
    }

    fn records(&self) -> Done<Vec<AppRecord>> {
        self.with(|kept| kept.records.values().cloned().collect())
    }

    fn put_record(&self, record: AppRecord) -> Done<AppRecord> {
        self.with(|kept| match kept.records.get(&record.app) {
            Some(known) if known.revision > record.revision => known.clone(),
            _ => {
                kept.records.insert(record.app.clone(), record.clone());
                record
            }
        })
    }

    fn drop_record(&self, app: &Address) -> Done<()> {
        self.with(|kept| drop(kept.records.remove(app)))
    }
}
