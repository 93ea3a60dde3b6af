//! The bundle repository over HTTP: hosts read manifests and blobs, publishers write them.

mod modules;

use std::{
    collections::HashSet,
    path::Path as FilePath,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Json,
    extract::Query,
    http::{HeaderName, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use starlane_bundle::{
    Digest, FileEntry, Manifest, PublicKey, SIGNATURE_HEADER, Signature, SignedManifest, VerifyError, schema, settings,
};
use starlane_host::{Principal, ports::StoreError};
use starlane_protocol::{Address, Failure, Verb};

use super::{
    Call, Site,
    bodies::Held,
    file,
    missing::Verified,
    pieces::{self, Blob},
    visibility::{Readers, Visibility, account, check_blob, check_bundle, check_use, may_publish, publishes, uploaded},
};
use crate::{apps::ceilings, limits::Limit, storage::Storage, store::SharedStore};

/// The repository, for tasks that can move between threads.
#[derive(Clone)]
pub(crate) struct Repository {
    pub(super) store: SharedStore,
    /// One publisher at a time, so that the check whether a version exists is still valid at the write.
    pub(super) publishing: Arc<Mutex<()>>,
    pub(super) visibility: Visibility,
    /// Files that are known to be whole.
    pub(super) verified: Verified,
    /// Held by the request that reads and hashes files.
    pub(super) hashing: Arc<tokio::sync::Mutex<()>>,
    /// Files that can be sent without a second verification.
    sent: pieces::Verified,
}

impl Repository {
    /// Opens the repository of a data folder. Errors when it cannot find out which bundles are private.
    pub(crate) fn open(data: &FilePath, storage: &Storage) -> Result<Self, StoreError> {
        let store = SharedStore::new(data);
        let visibility = Visibility::of(&store, storage)?;
        let (verified, hashing) = (Verified::default(), Arc::default());
        let sent = pieces::Verified::new(storage.limiter().get(Limit::FileMemory));
        Ok(Self { store, publishing: Arc::default(), visibility, verified, hashing, sent })
    }

    pub(crate) fn visibility(&self) -> &Visibility {
        &self.visibility
    }

    /// A verified blob for a file of an app. A short blob in memory is not read from the disk.
    pub(super) async fn file(&self, digest: Digest) -> Result<Option<Blob>, Failure> {
        match self.sent.in_memory(&digest) {
            Some(blob) => Ok(Some(blob)),
            None => self.blob(digest).await,
        }
    }

    /// A verified blob on the disk.
    async fn blob(&self, digest: Digest) -> Result<Option<Blob>, Failure> {
        self.sent.open(&self.store, &digest).await
    }

    /// Keeps a blob on the disk. An existing blob gets a new grace time.
    fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        self.store.put_blob(digest, bytes)?;
        if self.visibility.is_named(digest) {
            return Ok(());
        }
        // Hold the lock: the blob can have been collected meanwhile.
        let _alone = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.renew_blob(digest);
        if self.store.blob_size(digest).is_some() { Ok(()) } else { self.store.put_blob(digest, bytes) }
    }

    /// Removes a blob from the disk and from memory.
    pub(super) fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        self.store.remove_blob(digest)?;
        self.sent.forget(digest);
        Ok(())
    }

    pub(super) async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SharedStore) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|error| Err(Failure::internal(error.to_string())))
    }
}

/// `GET /bundles`: the published bundles that the bearer can deploy, with their publishers.
pub(super) async fn list(call: Call<'_>) -> Result<Response, Failure> {
    let principal = call.principal()?;
    let mut bundles = call.site.repository.visibility.bundles();
    bundles.retain(|(bundle, _)| principal.may(Verb::Deploy, bundle, ""));
    let known = |(address, publisher): (Address, PublicKey)| json!({ "address": address, "publisher": publisher });
    let bundles: Vec<_> = bundles.into_iter().map(known).collect();
    Ok(Json(json!({ "bundles": bundles })).into_response())
}

/// `GET /bundles/ADDRESS`: the manifest's exact bytes, its signature in a header.
pub(super) async fn manifest(mut call: Call<'_>) -> Result<Response, Failure> {
    let ([address], site) = (call.captured()?, call.site);
    let Parts { method, headers, .. } = &*call.parts;
    let address = bundle_address(&address)?;
    let readers = check_bundle(site, &address, call.client, headers)?;
    let signed = site.repository.with(move |store| store.manifest(&address).map_err(stored)).await?;
    let signed = signed.ok_or_else(|| Failure::not_found("this bundle is not published on this server"))?;
    let (digest, content_type) = (signed.digest(), "application/json");
    let length = signed.bytes.len() as u64;
    let asked = file::Asked { method, headers, digest: &digest, length, content_type };
    let blob = std::future::ready(Ok(Blob::Short(signed.bytes.into())));
    let mut response = file::send_blob(asked, blob).await?;
    if !response.status().is_client_error() {
        file::set(&mut response, header::CACHE_CONTROL, cached(readers));
        let signature = HeaderName::from_static(SIGNATURE_HEADER);
        file::set(&mut response, signature, &signed.signature.to_string());
    }
    Ok(response)
}

/// A published version never changes. Shared caches keep only public bundles (RFC 9111, 3.5).
fn cached(readers: Readers) -> &'static str {
    match readers {
        Readers::Anybody => file::FOR_EVER,
        Readers::Bearer => "private, max-age=31536000, immutable",
    }
}

/// `GET /blobs/sha256/HEX`: the bytes, or a range of them. `HEAD`: whether the blob exists, and its length.
pub(super) async fn blob(mut call: Call<'_>) -> Result<Response, Failure> {
    let ([digest], site) = (call.captured()?, call.site);
    let Parts { method, headers, .. } = &*call.parts;
    let digest = parse_digest(&digest)?;
    let readers = check_blob(site, &digest, call.client, headers)?;
    let absent = || Failure::not_found("this blob is not on this server");
    let length = site.repository.with(move |store| Ok(store.blob_size(&digest))).await?.ok_or_else(absent)?;
    let content_type = "application/octet-stream";
    let asked = file::Asked { method, headers, digest: &digest, length, content_type };
    let blob = async { site.repository.blob(digest).await?.ok_or_else(absent) };
    let mut response = file::send_blob(asked, blob).await?;
    if !response.status().is_client_error() {
        file::set(&mut response, header::CACHE_CONTROL, cached(readers));
    }
    Ok(response)
}

/// `PUT /blobs/sha256/HEX`: stores bytes with this digest.
pub(super) async fn put_blob(mut call: Call<'_>) -> Result<Response, Failure> {
    let ([target], site, who) = (call.captured()?, call.site, Deployed::name(&call));
    let kept = async {
        let digest = parse_digest(&target)?;
        let Deployed { principal, body } = Deployed::read(&mut call, None, Limit::BlobBody).await?;
        let (storage, repository) = (site.storage.clone(), site.repository.clone());
        let account = account(&principal);
        let keep = move |store: &SharedStore| {
            let found = Digest::of(&body.bytes);
            if found != digest {
                return Err(Failure::conflict(format!("the body has the digest {found}; expected {digest}")));
            }
            storage.admit_upload(&account, &digest, body.bytes.len() as u64)?;
            repository.keep(&digest, &body.bytes).map_err(|error| {
                storage.collected(&digest);
                stored(error)
            })?;
            repository.verified.add(store, &digest);
            Ok(())
        };
        site.repository.with(keep).await?;
        uploaded(site, &principal, &digest);
        Ok(())
    };
    let kept = kept.await;
    note_refused(site, &who, &target, &kept);
    kept.map(|()| StatusCode::NO_CONTENT.into_response())
}

#[derive(Deserialize)]
pub(super) struct Publishing {
    /// Whether the publisher takes over the name from its earlier owner.
    #[serde(default, rename = "take-over")]
    take_over: bool,
}

/// `PUT /bundles/ADDRESS`: publishes a manifest after all of its blobs are uploaded. With `?take-over=true` an admin can publish
/// under a name that belongs to another key.
pub(super) async fn put_manifest(mut call: Call<'_>) -> Result<Response, Failure> {
    let ([target], site, who) = (call.captured()?, call.site, Deployed::name(&call));
    let asked = Query::try_from_uri(&call.parts.uri);
    let Query(Publishing { take_over }) = asked.map_err(|error| Failure::malformed(error.body_text()))?;
    let action = if take_over { "bundle.take-over" } else { "bundle.publish" };
    let kept = async {
        let address = bundle_address(&target)?;
        let Deployed { principal, body } = Deployed::read(&mut call, Some(&address), Limit::ManifestBody).await?;
        if take_over {
            principal.permit(Verb::Admin, &address, "")?;
        }
        let signature =
            call.parts.headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let signature = Signature::parse(signature).map_err(|error| Failure::malformed(error.to_string()))?;
        let open = move |_: &SharedStore| {
            let signed = SignedManifest { bytes: body.bytes.to_vec(), signature };
            let manifest = signed.open().map_err(|error| unverified(&error))?;
            schema::check_all(&manifest).map_err(|error| Failure::schema_mismatch(error.to_string()))?;
            settings::check_all(&manifest).map_err(|error| unverified(&error))?;
            Ok((signed, manifest))
        };
        let (signed, manifest) = site.repository.with(open).await?;
        ceilings::check(&manifest, &site.limiter).map_err(|failure| failure.at(&address))?;
        for bundle in manifest.uses.keys() {
            check_use(site, &principal, &bundle_address(bundle)?)?;
        }
        let hidden = manifest.files.values().map(|file| file.sha256);
        let hidden = hidden.filter(|digest| !may_publish(site, &principal, digest)).collect();
        modules::compile(site, &address, &manifest).await?;
        let publishing = Arc::clone(&site.repository.publishing);
        let (visibility, storage) = (site.repository.visibility.clone(), site.storage.clone());
        let publish = move |store: &SharedStore| {
            let _alone = publishing.lock().unwrap_or_else(PoisonError::into_inner);
            let owner = if take_over { None } else { owner(store, &address)? };
            let new = is_new(store, &address, &signed, &manifest, owner, &hidden)?;
            if new {
                storage.admit_bundle(address.space(), &manifest, signed.bytes.len() as u64)?;
                // Set the visibility before any request can read the bundle.
                visibility.hide(&address);
                store.put_manifest(&address, &signed, &manifest.publisher).map_err(stored)?;
                tracing::info!(bundle = %address, publisher = %manifest.publisher, "published");
            } else if take_over {
                store.claim(&address, &manifest.publisher).map_err(stored)?;
            }
            visibility.add(&address, &manifest);
            storage.add(address.space(), &manifest, signed.bytes.len() as u64);
            Ok(new)
        };
        site.repository.with(publish).await
    };
    let kept = kept.await;
    // Publishing the same bundle again changes nothing.
    if !matches!(kept, Ok(false)) {
        site.audit.note(&who, action, &target, &kept);
    }
    kept.map(|_| StatusCode::NO_CONTENT.into_response())
}

fn unverified(error: &VerifyError) -> Failure {
    let status = if matches!(error, VerifyError::TooLarge(_)) { 413 } else { 422 };
    Failure::new(status, error.code(), error.to_string())
}

/// The key that owns a bundle's name, none for a free name. Errors when the owner is not known.
fn owner(store: &SharedStore, address: &Address) -> Result<Option<PublicKey>, Failure> {
    let owner = store.owner(address).map_err(stored)?;
    if owner.is_none() && store.has_versions(address).map_err(stored)? {
        let message = "the publisher's key of this name is missing: the file publisher.key does not exist; an admin can restore it \
                       from a backup, or publish with `starlane publish --take-over`";
        return Err(Failure::conflict(message).at(address));
    }
    Ok(owner)
}

/// Whether a manifest is not published yet. Errors if it cannot be published. `owner` is the key that owns the name; `hidden`
/// are the blobs that the publisher has not proved to possess.
fn is_new(
    store: &SharedStore,
    address: &Address,
    signed: &SignedManifest,
    manifest: &Manifest,
    owner: Option<PublicKey>,
    hidden: &HashSet<Digest>,
) -> Result<bool, Failure> {
    let refuse = |message: String| Err(Failure::conflict(message).at(address));
    if manifest.address != *address {
        return refuse(format!("the manifest has the address {}", manifest.address));
    }
    if let Some(owner) = owner.filter(|owner| *owner != manifest.publisher) {
        return refuse(format!(
            "this name belongs to the key {owner}, which published it first; an admin can publish with another key: \
             `starlane publish --take-over`"
        ));
    }
    match store.manifest(address).map_err(stored)? {
        Some(known) if known.bytes == signed.bytes => return Ok(false),
        Some(_) => {
            return refuse("this version was already published with different content; use a new version".into());
        }
        None => {}
    }
    for (bundle, used) in &manifest.uses {
        let known = store.manifest(&bundle_address(bundle)?).map_err(stored)?;
        let theirs = known.filter(|signed| signed.digest() == used.manifest).and_then(|signed| signed.open().ok());
        if !theirs.is_some_and(|theirs| theirs.publisher == used.publisher && theirs.files == used.files) {
            return refuse(format!(
                "it uses {bundle}, but that bundle is not published here with the digest in the manifest"
            ));
        }
    }
    let is_missing = |file: &FileEntry| hidden.contains(&file.sha256) || !has_blob(store, file);
    let missing: Vec<&str> =
        manifest.files.iter().filter(|(_, file)| is_missing(file)).map(|(path, _)| path.as_str()).collect();
    if !missing.is_empty() {
        return refuse(format!("these files have not been uploaded: {}", missing.join(", ")));
    }
    Ok(true)
}

/// Writes a refused upload to the audit log. The log names accepted uploads with the bundle that contains them.
pub(super) fn note_refused<T>(site: &Site, who: &str, target: &str, result: &Result<T, Failure>) {
    if result.as_ref().is_err_and(|failure| failure.status == 403) {
        site.audit.note(who, "bundle.upload", target, result);
    }
}

/// A publisher's request.
pub(super) struct Deployed {
    pub(super) principal: Principal,
    pub(super) body: Held,
}

impl Deployed {
    /// The caller's name for the audit log; empty without a token.
    pub(super) fn name(call: &Call<'_>) -> String {
        call.principal().map(|principal| principal.name().to_owned()).unwrap_or_default()
    }

    /// Reads a request, if the caller can deploy `bundle` (for a blob: any bundle). Otherwise the body is not read.
    pub(super) async fn read(call: &mut Call<'_>, bundle: Option<&Address>, limit: Limit) -> Result<Self, Failure> {
        let principal = call.principal()?;
        match bundle {
            Some(bundle) => principal.permit(Verb::Deploy, bundle, "")?,
            None if publishes(&principal) => {}
            None => return Err(Failure::no_grant("publishing requires a grant such as \"deploy acme:repo:**\"")),
        }
        Ok(Self { principal, body: call.read(limit).await? })
    }
}

fn bundle_address(text: &str) -> Result<Address, Failure> {
    let address = Address::parse(text).map_err(|error| Failure::malformed(error.to_string()))?;
    if !address.is_bundle() {
        let message = format!(
            "{address} is not a bundle address; expected an address with a version, such as acme:repo:profiles:1.0.0"
        );
        return Err(Failure::malformed(message));
    }
    Ok(address)
}

fn parse_digest(text: &str) -> Result<Digest, Failure> {
    Digest::parse(text).map_err(|error| Failure::malformed(error.to_string()))
}

fn has_blob(store: &SharedStore, file: &FileEntry) -> bool {
    store.blob_size(&file.sha256) == Some(file.size)
}

fn stored(error: StoreError) -> Failure {
    match error {
        StoreError::Full(_) => Failure::storage_full(error.to_string()),
        _ => Failure::internal(error.to_string()),
    }
}
