//! The bundle repository over HTTP: manifests and blobs, out for hosts and in for publishers.

use std::{
    path::Path as FilePath,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use starlane_bundle::{Digest, FileEntry, Manifest, PublicKey, Signature, SignedManifest, schema};
use starlane_host::ports::StoreError;
use starlane_protocol::{Address, Failure, Verb};

use super::{
    BLOB_BODY, Site, answer,
    messages::bearer,
    visibility::{Visibility, check_blob, check_bundle, check_use},
};
use crate::store::SharedStore;

/// The header that carries a manifest's signature.
pub(super) const SIGNATURE: &str = "starlane-signature";

/// The repository, for tasks that may move between threads.
#[derive(Clone)]
pub(crate) struct Repository {
    store: SharedStore,
    /// One publishes at a time: who looks whether a version is there must find it so when writing.
    publishing: Arc<Mutex<()>>,
    visibility: Visibility,
}

impl Repository {
    pub(crate) fn new(data: &FilePath) -> Self {
        let store = SharedStore::new(data);
        Self { visibility: Visibility::of(&store), store, publishing: Arc::default() }
    }

    pub(super) fn visibility(&self) -> &Visibility {
        &self.visibility
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SharedStore) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|error| Err(Failure::internal(error.to_string())))
    }
}

/// `GET /bundles`: what is published that the bearer may deploy, with whose it is.
pub(super) async fn list(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let listed = async {
        let principal = site.auth.principal(bearer(&headers)?)?;
        let mut bundles = site.repository.with(|store| store.bundles().map_err(stored)).await?;
        bundles.retain(|(bundle, _)| principal.may(Verb::Deploy, bundle, ""));
        let known = |(address, publisher): (Address, PublicKey)| json!({ "address": address, "publisher": publisher });
        Ok(json!({ "bundles": bundles.into_iter().map(known).collect::<Vec<_>>() }))
    };
    match listed.await {
        Ok(listed) => axum::Json(listed).into_response(),
        Err(failure) => answer::failure(&failure),
    }
}

/// `GET /bundles/ADDRESS`: the manifest's exact bytes, its signature in a header.
pub(super) async fn manifest(
    State(site): State<Arc<Site>>,
    Path(address): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let address = bundle_address(&address)?;
        check_bundle(&site, &address, &headers)?;
        let signed = site.repository.with(move |store| store.manifest(&address).map_err(stored)).await?;
        signed.ok_or_else(|| Failure::not_found("no such bundle was published here"))
    };
    match found.await {
        Ok(signed) => {
            let headers = [
                (header::CONTENT_TYPE.as_str(), "application/json".to_owned()),
                (header::CACHE_CONTROL.as_str(), "public, max-age=31536000, immutable".to_owned()),
                (SIGNATURE, signed.signature.to_string()),
            ];
            (headers, signed.bytes).into_response()
        }
        Err(failure) => answer::failure(&failure),
    }
}

/// `GET /blobs/sha256/HEX`: the bytes. `HEAD`: whether they are here, and how many.
pub(super) async fn blob(
    method: Method,
    State(site): State<Arc<Site>>,
    Path(digest): Path<String>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let digest = parse_digest(&digest)?;
        check_blob(&site, &digest, &headers)?;
        let found = site.repository.with(move |store| match method {
            Method::HEAD => Ok(store.blob_size(&digest).map(|size| (size, Bytes::new()))),
            _ => Ok(store.blob(&digest).map_err(stored)?.map(|bytes| (bytes.len() as u64, bytes))),
        });
        found.await?.ok_or_else(|| Failure::not_found("no such blob is here"))
    };
    match found.await {
        Ok((size, bytes)) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, size.to_string()),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable".to_owned()),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            ];
            (headers, bytes).into_response()
        }
        Err(failure) => answer::failure(&failure),
    }
}

/// `PUT /blobs/sha256/HEX`: keeps bytes that have this digest.
pub(super) async fn put_blob(State(site): State<Arc<Site>>, Path(digest): Path<String>, request: Request) -> Response {
    let kept = async {
        let digest = parse_digest(&digest)?;
        let (_, body) = deployed_body(&site, None, request).await?;
        site.repository
            .with(move |store| {
                let found = Digest::of(&body);
                if found != digest {
                    return Err(Failure::conflict(format!("the body has the digest {found}, not {digest}")));
                }
                store.put_blob(&digest, &body).map_err(stored)
            })
            .await
    };
    done(kept.await)
}

/// `PUT /bundles/ADDRESS`: publishes a manifest whose blobs are all here.
pub(super) async fn put_manifest(
    State(site): State<Arc<Site>>,
    Path(address): Path<String>,
    request: Request,
) -> Response {
    let kept = async {
        let address = bundle_address(&address)?;
        let (headers, body) = deployed_body(&site, Some(&address), request).await?;
        let signature = headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let signature = Signature::parse(signature).map_err(|error| Failure::malformed(error.to_string()))?;
        let signed = SignedManifest { bytes: body.to_vec(), signature };
        let manifest = signed.open().map_err(|error| Failure::schema_mismatch(error.to_string()))?;
        let principal = site.auth.principal(bearer(&headers)?)?;
        for bundle in manifest.uses.keys() {
            let bundle = bundle_address(bundle)?;
            check_use(&site, &principal, &bundle)?;
        }
        let publishing = Arc::clone(&site.repository.publishing);
        let visibility = site.repository.visibility.clone();
        let publish = move |store: &SharedStore| {
            check_schemas(&manifest)?;
            let _alone = publishing.lock().unwrap_or_else(PoisonError::into_inner);
            publish(store, &address, &signed, &manifest)?;
            visibility.add(&address, &manifest);
            Ok(())
        };
        site.repository.with(publish).await
    };
    done(kept.await)
}

/// A manifest made by another tool may hold schemas that this one would refuse: hosts check bodies with them as they stand.
fn check_schemas(manifest: &Manifest) -> Result<(), Failure> {
    for (path, schema) in &manifest.schemas {
        let normal = schema::normal_form(schema);
        let normal =
            normal.map_err(|error| Failure::schema_mismatch(format!("the schema {path} is refused {error}")))?;
        if normal != *schema {
            let message =
                format!("the schema {path} is not in normal form: publish the bundle with `starlane publish`");
            return Err(Failure::schema_mismatch(message));
        }
    }
    Ok(())
}

fn publish(
    store: &SharedStore,
    address: &Address,
    signed: &SignedManifest,
    manifest: &Manifest,
) -> Result<(), Failure> {
    let refuse = |message: String| Err(Failure::conflict(message).at(address));
    if manifest.address != *address {
        return refuse(format!("the manifest is of {}", manifest.address));
    }
    if let Some(owner) = store.owner(address).map_err(stored)?.filter(|owner| *owner != manifest.publisher) {
        return refuse(format!("this name belongs to {owner}, which published it first"));
    }
    match store.manifest(address).map_err(stored)? {
        Some(known) if known.bytes == signed.bytes => return Ok(()),
        Some(_) => return refuse("this version was published with other content: use a new version".into()),
        None => {}
    }
    for (bundle, used) in &manifest.uses {
        let known = store.manifest(&bundle_address(bundle)?).map_err(stored)?;
        let theirs = known.filter(|signed| signed.digest() == used.manifest).and_then(|signed| signed.open().ok());
        if !theirs.is_some_and(|theirs| theirs.publisher == used.publisher && theirs.files == used.files) {
            return refuse(format!("it uses {bundle}, which is not published here as the manifest has it"));
        }
    }
    let missing: Vec<&str> =
        manifest.files.iter().filter(|(_, file)| !has_blob(store, file)).map(|(path, _)| path.as_str()).collect();
    if !missing.is_empty() {
        return refuse(format!("these files have not been uploaded: {}", missing.join(", ")));
    }
    store.put_manifest(address, signed, &manifest.publisher).map_err(stored)?;
    tracing::info!(bundle = %address, publisher = %manifest.publisher, "published");
    Ok(())
}

fn done(result: Result<(), Failure>) -> Response {
    match result {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(failure) => answer::failure(&failure),
    }
}

/// Headers and body of a request by who may deploy `bundle`, or for a blob anything; of anyone else the body is not even read.
async fn deployed_body(site: &Site, bundle: Option<&Address>, request: Request) -> Result<(HeaderMap, Bytes), Failure> {
    let (parts, body) = request.into_parts();
    let principal = site.auth.principal(bearer(&parts.headers)?)?;
    match bundle {
        Some(bundle) => principal.permit(Verb::Deploy, bundle, "")?,
        None if principal.grants().iter().any(|grant| matches!(grant.verb(), Verb::Deploy | Verb::Admin)) => {}
        None => return Err(Failure::no_grant("who publishes needs a grant such as \"deploy acme:repo:**\"")),
    }
    let bytes = axum::body::to_bytes(body, BLOB_BODY).await;
    let bytes = bytes.map_err(|error| Failure::too_large(format!("{error}: at most {BLOB_BODY} bytes")))?;
    Ok((parts.headers, bytes))
}

fn bundle_address(text: &str) -> Result<Address, Failure> {
    let address = Address::parse(text).map_err(|error| Failure::malformed(error.to_string()))?;
    if address.version().is_none() || address.path().is_some() || address.host().is_some() {
        let message = format!("{address} is no bundle's address: it has a version, such as acme:repo:profiles:1.0.0");
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
