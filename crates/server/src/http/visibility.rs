//! Who may read which bundle: anybody a public one, else whoever may launch an app that is made of it, or deploy it.

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

/// The bundles of the repository, and which of them a blob is in. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Visibility(Arc<RwLock<Index>>);

#[derive(Default)]
struct Index {
    bundles: HashMap<Address, Known>,
    by_blob: HashMap<Digest, Vec<Address>>,
    /// Who uploaded which blobs: they have the bytes, and may publish them, whatever others do with the same.
    uploads: HashSet<(String, Digest)>,
}

/// What is known of a bundle.
#[derive(Debug, Clone, Copy)]
struct Known {
    public: bool,
    /// None: its manifest can't be read.
    publisher: Option<PublicKey>,
}

/// For whom an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    /// Anybody: caches on the way may keep it, too.
    Anybody,
    /// Who asked, by what they may.
    Bearer,
}

impl Visibility {
    /// Reads all manifests of a repository. One that can't be read is private. Errors when a folder can't be listed.
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
                Err(error) => tracing::error!(%bundle, error, "the manifest can't be read; the bundle is private"),
            }
        }
        Ok(visibility)
    }

    /// A bundle is about to be published: until it is known whether it is public, it is not.
    pub(super) fn hide(&self, bundle: &Address) {
        self.write().bundles.entry(bundle.clone()).or_insert(Known { public: false, publisher: None });
    }

    /// A bundle was published.
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

    /// All bundles that can be read, with their publishers, by address.
    pub(super) fn bundles(&self) -> Vec<(Address, PublicKey)> {
        let index = self.read();
        let known = index.bundles.iter().filter_map(|(bundle, known)| Some((bundle.clone(), known.publisher?)));
        let mut bundles: Vec<_> = known.collect();
        bundles.sort_by(|(one, _), (other, _)| one.cmp(other));
        bundles
    }

    /// Notes that somebody had the bytes of a blob.
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

    /// Whether a bundle is public, if it is here.
    pub(crate) fn is_public(&self, bundle: &Address) -> Option<bool> {
        self.read().bundles.get(bundle).map(|known| known.public)
    }

    /// Whether a bundle names a blob.
    pub(super) fn is_named(&self, blob: &Digest) -> bool {
        self.read().by_blob.contains_key(blob)
    }

    /// A bundle whose manifest can't be read, if there is one.
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

/// Whether the bearer may read a bundle's manifest, and who else. Errors with 401 or 403.
pub(super) fn check_bundle(
    site: &Site,
    bundle: &Address,
    client: &Client,
    headers: &HeaderMap,
) -> Result<Readers, Failure> {
    match site.repository.visibility().is_public(bundle) {
        Some(true) => return Ok(Readers::Anybody),
        Some(false) => {}
        // Nothing is read of what is not known.
        None => return Err(Failure::not_found("this bundle is not published on this server")),
    }
    let principal = client.principal(site, headers)?;
    if may_read(&site.routes, &principal, bundle) { Ok(Readers::Bearer) } else { Err(hidden().at(bundle)) }
}

/// Whether the bearer may read a blob, and who else: as one of a bundle that they may read, or to publish it. Errors with 401,
/// 403 or 404.
pub(super) fn check_blob(site: &Site, blob: &Digest, client: &Client, headers: &HeaderMap) -> Result<Readers, Failure> {
    let visibility = site.repository.visibility();
    let bundles = visibility.bundles_of(blob);
    if bundles.iter().any(|bundle| visibility.is_public(bundle) == Some(true)) {
        return Ok(Readers::Anybody);
    }
    let principal = client.principal(site, headers)?;
    match may_publish(site, &principal, blob) {
        true => Ok(Readers::Bearer),
        // Of no bundle yet: nobody's but those who publish.
        false if bundles.is_empty() => Err(Failure::not_found("this blob is not on this server")),
        false => Err(hidden()),
    }
}

/// Whether somebody may use what is in a bundle for one of their own. Errors with 403.
pub(super) fn check_use(site: &Site, principal: &Principal, bundle: &Address) -> Result<(), Failure> {
    match site.repository.visibility().is_public(bundle) {
        Some(true) => Ok(()),
        Some(false) if may_read(&site.routes, principal, bundle) => Ok(()),
        Some(false) => Err(hidden().at(bundle)),
        None => Err(Failure::conflict(format!("it uses {bundle}, but that bundle is not published here"))),
    }
}

/// Whether somebody may read a blob that is here, and so publish it in a bundle of their own: to know its digest is not to know
/// its bytes. Who is refused uploads them, which shows that they have them.
pub(super) fn may_publish(site: &Site, principal: &Principal, blob: &Digest) -> bool {
    let visibility = site.repository.visibility();
    let bundles = visibility.bundles_of(blob);
    let reads = |bundle| visibility.is_public(bundle) == Some(true) || may_read(&site.routes, principal, bundle);
    bundles.iter().any(reads)
        || (bundles.is_empty() && publishes(principal))
        || visibility.has_uploaded(principal.name(), blob)
}

/// Somebody has uploaded a blob: whoever else publishes it, they may, too.
pub(super) fn uploaded(site: &Site, principal: &Principal, blob: &Digest) {
    site.repository.visibility().uploaded(principal.name(), blob);
}

/// Whose account it goes to what somebody uploads: that of the one space that they may deploy, else their own. So it does not
/// grow with the names that an admin of a space hands out.
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

/// Whether somebody may publish anything.
pub(super) fn publishes(principal: &Principal) -> bool {
    principal.grants().iter().any(|grant| matches!(grant.verb(), Verb::Deploy | Verb::Admin))
}

/// Whether somebody may read a bundle that is not public.
pub(crate) fn may_read(routes: &Routes, principal: &Principal, bundle: &Address) -> bool {
    let launches = || routes.apps_of(bundle).iter().any(|app| principal.may(Verb::Launch, app, ""));
    principal.may(Verb::Deploy, bundle, "") || launches()
}

/// That somebody may not read it: 403 `no-grant`.
pub(crate) fn hidden() -> Failure {
    Failure::no_grant(
        "this does not belong to a public bundle; it requires a grant to `launch` an app made of that bundle",
    )
}
