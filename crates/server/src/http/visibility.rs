//! Read access to bundles. Everybody can read a public bundle. A private bundle requires the permission to deploy it, or to
//! launch an app made of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use axum::http::HeaderMap;
use starlane_bundle::{Digest, Manifest, PublicKey};
use starlane_host::{Principal, ports::StoreError};
use starlane_protocol::{Address, Failure, Verb};

use super::{Site, client::Client, routes::Routes};
use crate::{storage::Storage, store::SharedStore};

/// The maximum number of remembered uploads. Above it, all are forgotten, and a publisher uploads a file again that another
/// publisher also has.
const MAX_UPLOADS: usize = 100_000;

/// The bundles of the repository, and the bundles that contain each blob. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Visibility(Arc<RwLock<Index>>);

#[derive(Default)]
struct Index {
    bundles: HashMap<Address, Known>,
    by_blob: HashMap<Digest, Vec<Address>>,
    /// The uploaders of blobs: they possess the bytes, so they can publish them.
    uploads: HashSet<(String, Digest)>,
}

/// A known bundle.
#[derive(Debug, Clone, Copy)]
struct Known {
    public: bool,
    /// None: its manifest can't be read.
    publisher: Option<PublicKey>,
}

/// The audience of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Everybody; shared caches can keep it.
    Anybody,
    /// Only the caller, because of its permissions.
    Bearer,
}

impl Visibility {
    /// Reads all manifests of a repository. One with an unreadable manifest is private. Errors when a folder cannot be listed.
    pub(super) fn of(store: &SharedStore, storage: &Storage) -> Result<Self, StoreError> {
        let visibility = Self::default();
        for bundle in store.bundles()? {
            visibility.hide(&bundle);
            let read = store.manifest(&bundle).map_err(|error| error.to_string());
            let read = read.and_then(|signed| signed.ok_or_else(|| "it is missing".to_owned()));
            let opened = read.and_then(|signed| {
                let manifest = signed.open().map_err(|error| error.to_string())?;
                Ok((manifest, signed.bytes.len() as u64))
            });
            match opened {
                Ok((manifest, length)) => {
                    visibility.add(&bundle, &manifest);
                    storage.add(bundle.space(), &manifest, length);
                }
                Err(error) => tracing::error!(%bundle, error, "cannot read the manifest; the bundle is private"),
            }
        }
        Ok(visibility)
    }

    /// Adds a bundle that is about to be published: it is private until its visibility is known.
    pub(super) fn hide(&self, bundle: &Address) {
        self.write().bundles.entry(bundle.clone()).or_insert(Known { public: false, publisher: None });
    }

    /// Adds a published bundle.
    pub(super) fn add(&self, bundle: &Address, manifest: &Manifest) {
        let mut index = self.write();
        index.bundles.insert(bundle.clone(), Known { public: manifest.public, publisher: Some(manifest.publisher) });
        for file in manifest.files.values() {
            let bundles = index.by_blob.entry(file.sha256).or_default();
            if !bundles.contains(bundle) {
                bundles.push(bundle.clone());
            }
        }
    }

    /// All readable bundles with their publishers, by address.
    pub(super) fn bundles(&self) -> Vec<(Address, PublicKey)> {
        let index = self.read();
        let known = index.bundles.iter().filter_map(|(bundle, known)| Some((bundle.clone(), known.publisher?)));
        let mut bundles: Vec<_> = known.collect();
        bundles.sort_by(|(one, _), (other, _)| one.cmp(other));
        bundles
    }

    /// Remembers that a principal possesses the bytes of a blob.
    fn uploaded(&self, name: &str, blob: &Digest) {
        let mut index = self.write();
        if index.uploads.len() >= MAX_UPLOADS {
            index.uploads.clear();
        }
        index.uploads.insert((name.to_owned(), *blob));
    }

    fn has_uploaded(&self, name: &str, blob: &Digest) -> bool {
        self.read().uploads.contains(&(name.to_owned(), *blob))
    }

    /// Whether a bundle is public, if it exists.
    pub(crate) fn is_public(&self, bundle: &Address) -> Option<bool> {
        self.read().bundles.get(bundle).map(|known| known.public)
    }

    /// Whether a bundle names a blob.
    pub(super) fn is_named(&self, blob: &Digest) -> bool {
        self.read().by_blob.contains_key(blob)
    }

    /// A bundle with an unreadable manifest, if there is one.
    pub(super) fn unreadable(&self) -> Option<Address> {
        let index = self.read();
        index.bundles.iter().find(|(_, known)| known.publisher.is_none()).map(|(bundle, _)| bundle.clone())
    }

    fn bundles_of(&self, blob: &Digest) -> Vec<Address> {
        self.read().by_blob.get(blob).cloned().unwrap_or_default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that the bearer can read a bundle's manifest; returns the audience. Errors with 401 or 403.
pub(super) fn check_bundle(
    site: &Site,
    bundle: &Address,
    client: &Client,
    headers: &HeaderMap,
) -> Result<Readers, Failure> {
    match site.repository.visibility().is_public(bundle) {
        Some(true) => return Ok(Readers::Anybody),
        Some(false) => {}
        // An unknown bundle is not read.
        None => return Err(Failure::not_found("this bundle is not published on this server")),
    }
    let principal = client.principal(site, headers)?;
    if may_read(&site.routes, &principal, bundle) { Ok(Readers::Bearer) } else { Err(hidden().at(bundle)) }
}

/// Checks that the bearer can read a blob, because it is in a readable bundle or because the bearer can publish it; returns the
/// audience. Errors with 401, 403 or 404.
pub(super) fn check_blob(site: &Site, blob: &Digest, client: &Client, headers: &HeaderMap) -> Result<Readers, Failure> {
    let visibility = site.repository.visibility();
    let bundles = visibility.bundles_of(blob);
    if bundles.iter().any(|bundle| visibility.is_public(bundle) == Some(true)) {
        return Ok(Readers::Anybody);
    }
    let principal = client.principal(site, headers)?;
    match may_publish(site, &principal, blob) {
        true => Ok(Readers::Bearer),
        // A blob that no bundle names yet is visible to publishers only.
        false if bundles.is_empty() => Err(Failure::not_found("this blob is not on this server")),
        false => Err(hidden()),
    }
}

/// Checks that a principal can use a bundle in a bundle of its own. Errors with 403.
pub(super) fn check_use(site: &Site, principal: &Principal, bundle: &Address) -> Result<(), Failure> {
    match site.repository.visibility().is_public(bundle) {
        Some(true) => Ok(()),
        Some(false) if may_read(&site.routes, principal, bundle) => Ok(()),
        Some(false) => Err(hidden().at(bundle)),
        None => Err(Failure::conflict(format!("it uses {bundle}, but that bundle is not published here"))),
    }
}

/// Whether a principal can read an existing blob, and so publish it in its own bundle. Knowing a blob's digest does not prove
/// possession of its bytes; an upload does.
pub(super) fn may_publish(site: &Site, principal: &Principal, blob: &Digest) -> bool {
    let visibility = site.repository.visibility();
    let bundles = visibility.bundles_of(blob);
    let reads = |bundle| visibility.is_public(bundle) == Some(true) || may_read(&site.routes, principal, bundle);
    bundles.iter().any(reads)
        || (bundles.is_empty() && publishes(principal))
        || visibility.has_uploaded(principal.name(), blob)
}

/// Remembers the uploader of a blob, who can publish it, regardless of other publishers of the same blob.
pub(super) fn uploaded(site: &Site, principal: &Principal, blob: &Digest) {
    site.repository.visibility().uploaded(principal.name(), blob);
}

/// The account that pays for a principal's uploads: its space if it can deploy in exactly one, else its own. So an admin of a
/// space gets no more storage by creating more principals.
pub(super) fn account(principal: &Principal) -> String {
    let deploys = principal.grants().iter().filter(|grant| matches!(grant.verb(), Verb::Deploy | Verb::Admin));
    let spaces: HashSet<String> = deploys
        .map(|grant| {
            let pattern = grant.pattern().to_string();
            let bare = pattern.strip_prefix("~*::").unwrap_or(&pattern);
            bare.split(':').next().unwrap_or_default().to_owned()
        })
        .collect();
    match spaces.iter().next() {
        Some(space) if spaces.len() == 1 && !space.contains('*') => format!("space {space}"),
        _ => format!("principal {}", principal.name()),
    }
}

/// Whether a principal can publish at least one bundle.
pub(super) fn publishes(principal: &Principal) -> bool {
    principal.grants().iter().any(|grant| matches!(grant.verb(), Verb::Deploy | Verb::Admin))
}

/// Whether a principal can read a private bundle.
pub(crate) fn may_read(routes: &Routes, principal: &Principal, bundle: &Address) -> bool {
    let launches = || routes.apps_of(bundle).iter().any(|app| principal.may(Verb::Launch, app, ""));
    principal.may(Verb::Deploy, bundle, "") || launches()
}

/// The refusal to read it: 403 `no-grant`.
pub(crate) fn hidden() -> Failure {
    Failure::no_grant(
        "this does not belong to a public bundle; it requires a grant to `launch` an app made of that bundle",
    )
}
