//! `POST /blobs/missing`: lists the files that a publisher must upload.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;
use starlane_bundle::Digest;
use starlane_protocol::Failure;

use super::{
    Call,
    repository::{Deployed, note_refused},
    visibility::may_publish,
};
use crate::{
    joint::{Unwanted, Wanting},
    limits::Limit,
    store::SharedStore,
};

/// The maximum number of files remembered as whole. Above it, all are forgotten.
const REMEMBERED: usize = 1_000_000;

/// Files that match their digests, with their length and times on the disk. They are not read again while these are the same.
/// Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Verified(Arc<Mutex<HashMap<Digest, (u64, SystemTime)>>>);

impl Verified {
    /// Whether a file exists and is whole. Reads it only once until it changes. Ends early, with false, when it is cancelled.
    fn is_whole(&self, store: &SharedStore, digest: &Digest, unwanted: &Unwanted) -> bool {
        let Some(found) = store.blob_state(digest) else { return false };
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).get(digest) == Some(&found) {
            return true;
        }
        let whole = store.is_whole(digest, &|| unwanted.is_so());
        if whole {
            self.remember(digest, found);
        }
        whole
    }

    /// Remembers a file that was just written whole.
    pub(super) fn add(&self, store: &SharedStore, digest: &Digest) {
        if let Some(found) = store.blob_state(digest) {
            self.remember(digest, found);
        }
    }

    fn remember(&self, digest: &Digest, found: (u64, SystemTime)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(*digest, found);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    sha256: Vec<Digest>,
}

/// Answers `{ "sha256": ["…"] }` with `{ "missing": ["…"] }`: the files to upload, because they do not exist, are damaged, or
/// cannot be used by the publisher.
pub(super) async fn missing_blobs(mut call: Call<'_>) -> Result<Response, Failure> {
    let (site, who) = (call.site, Deployed::name(&call));
    let missing = async {
        let Deployed { principal, body } = Deployed::read(&mut call, None, Limit::ManifestBody).await?;
        let Wanted { sha256 } = serde_json::from_slice(&body.bytes)
            .map_err(|error| Failure::malformed(format!("expected digests: {error}")))?;
        if sha256.len() > site.limiter.count(Limit::MissingFiles) {
            return Err(site.limiter.refuse(Limit::MissingFiles, format!("the request names {} files", sha256.len())));
        }
        // A file that is named twice is checked once.
        let wanted: HashSet<Digest> = sha256.into_iter().collect();
        let usable = |digest: &Digest| may_publish(site, &principal, digest);
        let (usable, mut missing): (Vec<Digest>, Vec<Digest>) = wanted.into_iter().partition(usable);
        // Dropped with the request.
        let wanting = Wanting::default();
        let (unwanted, verified) = (wanting.unwanted(), site.repository.verified.clone());
        let visibility = site.repository.visibility.clone();
        let looked = move |store: &SharedStore| {
            for digest in usable {
                // The upload replaces a damaged file.
                if verified.is_whole(store, &digest, &unwanted) {
                    if !visibility.is_named(&digest) {
                        // A bundle is about to name it, so it gets a new grace time.
                        store.renew_blob(&digest);
                        verified.add(store, &digest);
                    }
                } else {
                    missing.push(digest);
                }
                if unwanted.is_so() {
                    return Err(Failure::internal("the request was cancelled"));
                }
            }
            missing.sort();
            Ok(missing)
        };
        // One request at a time reads and hashes. The others wait, and leave the queue when they are cancelled.
        let _turn = site.repository.hashing.lock().await;
        site.repository.with(looked).await
    };
    let missing = missing.await;
    note_refused(site, &who, "", &missing);
    Ok(Json(json!({ "missing": missing? })).into_response())
}
