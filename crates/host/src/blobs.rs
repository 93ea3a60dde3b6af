//! Blobs: from the store if they are whole there, else from the source; hashed on every load.

use std::cell::Cell;

use bytes::Bytes;
use serde::Serialize;
use starlane_bundle::Digest;
use starlane_node::guest::Level;

use crate::{
    host::Host,
    ports::{SourceError, StoreError},
};

/// How many blobs came from where, since the host was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BlobCounts {
    /// Fetched from the source.
    pub fetched: u64,
    /// Found whole in the store.
    pub cached: u64,
    /// Found damaged in the store, dropped and fetched again.
    pub healed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Blobs {
    counts: Cell<BlobCounts>,
}

/// Why a blob can't be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The source does not give it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What the source gave is not what the digest says.
    #[error("the blob {expected} was fetched, but what came has the digest {found}: it was altered on the way")]
    Altered {
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        found: Digest,
    },
}

impl Host {
    /// The bytes of a blob of `size` bytes, verified. What is fetched is kept; a damaged entry is fetched again.
    pub async fn blob(&self, digest: &Digest, size: u64) -> Result<Bytes, BlobError> {
        let ports = &self.0.ports;
        match ports.bundles.blob(digest).await {
            Ok(Some(bytes)) if Digest::of(&bytes) == *digest => {
                self.count(|counts| counts.cached += 1);
                return Ok(bytes);
            }
            Ok(Some(_)) => {
                self.count(|counts| counts.healed += 1);
                self.store_said(ports.bundles.drop_blob(digest).await, "a damaged blob can't be dropped");
            }
            Ok(None) => {}
            Err(error) => self.store_said(Err(error), "a blob can't be read"),
        }
        let bytes = ports.source.blob(digest, size).await?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(BlobError::Altered { expected: *digest, found });
        }
        self.count(|counts| counts.fetched += 1);
        self.store_said(ports.bundles.put_blob(digest, bytes.clone()).await, "a blob can't be kept");
        Ok(bytes)
    }

    /// How many blobs came from where.
    pub fn blob_counts(&self) -> BlobCounts {
        self.0.blobs.counts.get()
    }

    fn count(&self, change: impl FnOnce(&mut BlobCounts)) {
        let mut counts = self.0.blobs.counts.get();
        change(&mut counts);
        self.0.blobs.counts.set(counts);
    }

    /// A store that fails slows a host down and does not stop it: the log says so.
    pub(crate) fn store_said(&self, result: Result<(), StoreError>, what: &str) {
        if let Err(error) = result {
            self.log(&self.own_address(), Level::Warn, &format!("{what}: {error}"));
        }
    }
}
