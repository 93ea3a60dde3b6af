//! `POST /blobs/missing`: which files a publisher has to upload.

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

/// How many files are remembered as whole; with more, remembering begins again.
const REMEMBERED: usize = 1_000_000;

/// Files that were found to be what their names say, with what the disk said of them then: while that is the same, they are not
/// read again. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Verified(Arc<Mutex<HashMap<Digest, (u64, SystemTime)>>>);

impl Verified {
    /// Whether a file is here and whole. Reads it at most once, until it changes; ends early, with false, when it is unwanted.
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

    /// A file was written whole.
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

/// Answers `{ "sha256": ["…"] }` with `{ "missing": ["…"] }`: those that have to be uploaded, since they are not here, or not whole,
/// or not the publisher's to use.
pub(super) async fn missing_blobs(mut call: Call<'_>) -> Result<Response, Failure> {
    let (site, who) = (call.site, Deployed::name(&call));
    let missing = async {
        let Deployed { principal, body } = Deployed::read(&mut call, None, Limit::ManifestBody).await?;
        let Wanted { sha256 } = serde_json::from_slice(&body.bytes)
            .map_err(|error| Failure::malformed(format!("expected digests: {error}")))?;
        if sha256.len() > site.limiter.count(Limit::MissingFiles) {
            return Err(site.limiter.refuse(Limit::MissingFiles, format!("the request names {} files", sha256.len())));
        }
        // Named twice, a file is looked at once.
        let wanted: HashSet<Digest> = sha256.into_iter().collect();
        let usable = |digest: &Digest| may_publish(site, &principal, digest);
        let (usable, mut missing): (Vec<Digest>, Vec<Digest>) = wanted.into_iter().partition(usable);
        // Dropped with the request.
        let wanting = Wanting::default();
        let (unwanted, verified) = (wanting.unwanted(), site.repository.verified.clone());
        let visibility = site.repository.visibility.clone();
        let looked = move |store: &SharedStore| {
            for digest in usable {
                // What is damaged is uploaded again, and takes its place.
                if verified.is_whole(store, &digest, &unwanted) {
                    if !visibility.is_named(&digest) {
                        // It is about to be named: it stays for as long as a fresh one.
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
        // One at a time reads and hashes; others wait for their turn, and leave the queue with their request.
        let _turn = site.repository.hashing.lock().await;
        site.repository.with(looked).await
    };
    let missing = missing.await;
    note_refused(site, &who, "", &missing);
    Ok(Json(json!({ "missing": missing? })).into_response())
}
