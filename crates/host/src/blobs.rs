//! Loads blobs from the store, or from the source if the store does not have them intact. Every load checks the digest.

use std::cell::Cell;

use bytes::Bytes;
use serde::Serialize;
use starlane_bundle::Digest;
use starlane_node::guest::Level;

use crate::{
    host::Host,
    ports::{SourceError, StoreError},
};

/// The numbers of loaded blobs by origin, since the host was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BlobCounts {
    /// Blobs from the source.
    pub fetched: u64,
    /// Intact blobs from the store.
    pub cached: u64,
    /// Blobs that were damaged in the store, and were fetched again.
    pub healed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Blobs {
    counts: Cell<BlobCounts>,
}

/// The reason why a blob can't be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The bytes from the source have another digest.
    #[error("the blob {expected} was fetched, but its bytes have the digest {found}: they were altered on the way")]
    Altered {
        /// The requested digest.
        expected: Digest,
        /// The digest of the fetched bytes.
        found: Digest,
    },
}

impl Host {
    /// Loads a blob of `size` bytes and verifies it. Stores a fetched blob, and replaces a damaged one.
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

    /// The numbers of loaded blobs by origin.
    pub fn blob_counts(&self) -> BlobCounts {
        self.0.blobs.counts.get()
    }

    fn count(&self, change: impl FnOnce(&mut BlobCounts)) {
        let mut counts = self.0.blobs.counts.get();
        change(&mut counts);
        self.0.blobs.counts.set(counts);
    }

    /// Logs an error of the store. A failed store makes a host slower, but does not stop it.
    pub(crate) fn store_said(&self, result: Result<(), StoreError>, what: &str) {
        if let Err(error) = result {
            self.log(&self.own_address(), Level::Warn, &format!("{what}: {error}"));
        }
    }
}
