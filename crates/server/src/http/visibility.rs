//! Who may read which bundle: anybody a public one, else who may launch an app that is made of it, or deploy it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use axum::http::HeaderMap;
use starlane_bundle::{Digest, Manifest};
use starlane_host::Principal;
use starlane_protocol::{Address, Failure, Verb};

use super::{Site, messages::bearer};
use crate::store::SharedStore;

/// The bundles of the repository, and which of them a blob is in. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Visibility(Arc<RwLock<Index>>);

#[derive(Default)]
struct Index {
    public: HashMap<Address, bool>,
    by_blob: HashMap<Digest, Vec<Address>>,
}

impl Visibility {
    /// Reads all manifests of a repository; one that is damaged is nobody's to read.
    pub(super) fn of(store: &SharedStore) -> Self {
        let visibility = Self::default();
        for (bundle, _) in store.bundles().unwrap_or_default() {
            match store.manifest(&bundle).ok().flatten().and_then(|signed| signed.open().ok()) {
                Some(manifest) => visibility.add(&bundle, &manifest),
                None => tracing::error!(%bundle, "its manifest can't be read"),
            }
        }
        visibility
    }

    /// A bundle was published.
    pub(super) fn add(&self, bundle: &Address, manifest: &Manifest) {
        let mut index = self.0.write().unwrap_or_else(PoisonError::into_inner);
        index.public.insert(bundle.clone(), manifest.public);
        for file in manifest.files.values() {
            let bundles = index.by_blob.entry(file.sha256).or_default();
            if !bundles.contains(bundle) {
                bundles.push(bundle.clone());
            }
        }
    }

    /// Whether a bundle is public, if it is here.
    fn is_public(&self, bundle: &Address) -> Option<bool> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).public.get(bundle).copied()
    }

    fn bundles_of(&self, blob: &Digest) -> Vec<Address> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).by_blob.get(blob).cloned().unwrap_or_default()
    }
}

/// Whether the bearer may read a bundle's manifest. Errors with 401 or 403.
pub(super) fn check_bundle(site: &Site, bundle: &Address, headers: &HeaderMap) -> Result<(), Failure> {
    // What is not here is no secret.
    if site.repository.visibility().is_public(bundle).unwrap_or(true) {
        return Ok(());
    }
    let principal = site.auth.principal(bearer(headers)?)?;
    if may_read(site, &principal, bundle) { Ok(()) } else { Err(hidden().at(bundle)) }
}

/// Whether the bearer may read a blob: of a bundle that they may read, or as somebody who publishes. Errors with 401 or 403.
pub(super) fn check_blob(site: &Site, blob: &Digest, headers: &HeaderMap) -> Result<(), Failure> {
    let visibility = site.repository.visibility();
    let bundles = visibility.bundles_of(blob);
    if bundles.iter().any(|bundle| visibility.is_public(bundle) == Some(true)) {
        return Ok(());
    }
    let principal = site.auth.principal(bearer(headers)?)?;
    let publishes = principal.grants().iter().any(|grant| matches!(grant.verb(), Verb::Deploy | Verb::Admin));
    match bundles.iter().any(|bundle| may_read(site, &principal, bundle)) {
        readable if readable || publishes => Ok(()),
        // Of no bundle yet: nobody's but the publisher's.
        _ if bundles.is_empty() => Err(Failure::not_found("no such blob is here")),
        _ => Err(hidden()),
    }
}

/// Whether somebody may use what is in a bundle for one of their own. Errors with 403.
pub(super) fn check_use(site: &Site, principal: &Principal, bundle: &Address) -> Result<(), Failure> {
    let public = site.repository.visibility().is_public(bundle).unwrap_or(true);
    if public || may_read(site, principal, bundle) { Ok(()) } else { Err(hidden().at(bundle)) }
}

fn may_read(site: &Site, principal: &Principal, bundle: &Address) -> bool {
    let launches = || site.routes.apps_of(bundle).iter().any(|app| principal.may(Verb::Launch, app, ""));
    principal.may(Verb::Deploy, bundle, "") || launches()
}

fn hidden() -> Failure {
    Failure::no_grant("this is of no public bundle: it needs the grant to `launch` an app that is made of it")
}
