//! Bundles in use: a store must not evict a bundle while a [`Pin`] of it exists.

use std::rc::Rc;

use starlane_protocol::Address;

use crate::{
    ports::{BundleStore, StoreError},
    verified::VerifiedApp,
};

/// Keeps a bundle, and the parts of other bundles that it uses, in the store until it is dropped.
pub struct Pin {
    store: Rc<dyn BundleStore>,
    bundle: Address,
}

impl Pin {
    /// Pins the bundle of an app. The error says that other tabs could not be informed.
    pub(crate) async fn new(
        store: &Rc<dyn BundleStore>,
        bundle: &Address,
        app: &VerifiedApp,
    ) -> (Self, Result<(), StoreError>) {
        let blobs = app.bundles.iter().flat_map(|bundle| bundle.files.values()).map(|file| file.sha256).collect();
        // A caller that stops waiting releases the pin.
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
