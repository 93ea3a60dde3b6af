//! Bundles in use: what a store must not drop while somebody holds a [`Pin`].

use std::rc::Rc;

use starlane_bundle::Manifest;
use starlane_protocol::Address;

use crate::ports::{Store, StoreError};

/// A bundle and what it uses of others stay in the store until this is dropped.
pub(crate) struct Pin {
    store: Rc<dyn Store>,
    bundle: Address,
}

impl Pin {
    /// Pins the bundle of a manifest; the error says that other tabs could not be told.
    pub(crate) async fn new(store: &Rc<dyn Store>, manifest: &Manifest) -> (Self, Result<(), StoreError>) {
        let others = manifest.uses.values().flat_map(|used| used.files.values());
        let blobs = manifest.files.values().chain(others).map(|file| file.sha256).collect();
        // Whoever stops waiting lets go.
        let pin = Self { store: Rc::clone(store), bundle: manifest.address.clone() };
        let told = store.pin(&pin.bundle, blobs).await;
        (pin, told)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.unpin(&self.bundle);
    }
}
