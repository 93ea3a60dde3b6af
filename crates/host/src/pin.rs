//! Bundles in use: what a store must not drop while somebody holds a [`Pin`].

use std::rc::Rc;

use starlane_protocol::Address;

use crate::{
    ports::{BundleStore, StoreError},
    verified::VerifiedApp,
};

/// A bundle and what it uses of others stay in the store until this is dropped.
pub(crate) struct Pin {
    store: Rc<dyn BundleStore>,
    bundle: Address,
}

impl Pin {
    /// Pins the bundle of an app; the error says that other tabs could not be told.
    pub(crate) async fn new(
        store: &Rc<dyn BundleStore>,
        bundle: &Address,
        app: &VerifiedApp,
    ) -> (Self, Result<(), StoreError>) {
        let blobs = app.bundles.iter().flat_map(|bundle| bundle.files.values()).map(|file| file.sha256).collect();
        // Whoever stops waiting lets go.
        let pin = Self { store: Rc::clone(store), bundle: bundle.clone() };
        let told = store.pin(&pin.bundle, blobs).await;
        (pin, told)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.unpin(&self.bundle);
    }
}
