//! Removes files that no bundle names, such as uploads that were never published.
//!
//! A file stays for the grace time after its upload or after a request to `/blobs/missing` that named it. The check and the
//! removal run while no publish runs, so a publisher that finds its files on the server can still name them. If the server is
//! killed at any moment, the remaining files are whole and no named file is lost.

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use starlane_host::ports::StoreError;

use super::Repository;
use crate::{
    limits::{Limit, Limiter},
    storage::Storage,
};

/// The maximum time between two collections.
const MAX_PAUSE: Duration = Duration::from_secs(3_600);

/// The result of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Collected {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Collects periodically until the server stops.
pub(crate) async fn run(repository: Repository, storage: Storage, limiter: Arc<Limiter>) {
    let grace = Duration::from_millis(limiter.get(Limit::UploadGrace));
    loop {
        let (repository, storage) = (repository.clone(), storage.clone());
        let done = tokio::task::spawn_blocking(move || collect(&repository, &storage, grace)).await;
        match done {
            Ok(Ok(Collected { files: 0, .. })) => {}
            Ok(Ok(Collected { files, bytes })) => {
                tracing::info!(files, bytes, "removed files that no bundle names")
            }
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove files that no bundle names"),
            Err(error) => tracing::error!(%error, "the removal of unused files ended early"),
        }
        tokio::time::sleep(grace.min(MAX_PAUSE)).await;
    }
}

/// Removes the files that no bundle names and that no request named within `grace`. Errors when the named files are not known.
pub(crate) fn collect(repository: &Repository, storage: &Storage, grace: Duration) -> Result<Collected, StoreError> {
    if let Some(bundle) = repository.visibility.unreadable() {
        let reason = "cannot read its manifest, so the files that it names are not known".to_owned();
        return Err(StoreError::Damaged { name: bundle.to_string(), reason });
    }
    let mut collected = Collected::default();
    let is_old = |changed: SystemTime| changed.elapsed().is_ok_and(|age| age >= grace);
    for digest in repository.store.blobs()? {
        let unnamed = || !repository.visibility.is_named(&digest);
        if !unnamed() || !repository.store.blob_state(&digest).is_some_and(|(_, changed)| is_old(changed)) {
            continue;
        }
        let _alone = repository.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        // Check again: it can have been uploaded or named since.
        if let Some((bytes, changed)) = repository.store.blob_state(&digest)
            && unnamed()
            && is_old(changed)
        {
            repository.remove_blob(&digest)?;
            storage.collected(&digest);
            collected.files += 1;
            collected.bytes += bytes;
        }
    }
    Ok(collected)
}

#[cfg(test)]
mod tests {
    use starlane_bundle::{Digest, SecretKey, SignedManifest};
    use starlane_protocol::Address;

    use super::*;
    use crate::{limits::ServerLimits, store::SharedStore};

    const GRACE: Duration = Duration::from_secs(3_600);

    /// A store with these files, all of them older than the grace time, and a bundle that names the first.
    fn store(folder: &std::path::Path, files: &[&[u8]]) -> (SharedStore, Address) {
        let store = SharedStore::new(folder);
        for bytes in files {
            let digest = Digest::of(bytes);
            store.put_blob(&digest, bytes).unwrap();
            let name = digest.to_string();
            let file = std::fs::File::options().append(true).open(folder.join("blobs").join(&name[..2]).join(&name));
            file.unwrap().set_modified(SystemTime::now() - 2 * GRACE).unwrap();
        }
        let (address, key) = (Address::parse("acme:repo:n:1.0.0").unwrap(), SecretKey::from_seed([1; 32]));
        let entry =
            serde_json::json!({ "sha256": Digest::of(files[0]), "size": files[0].len(), "mediaType": "text/plain" });
        let manifest = serde_json::json!({
            "format": 1, "address": address, "publisher": key.public(), "created": 0, "name": "n", "files": { "/a.txt": entry },
        });
        let bytes = manifest.to_string().into_bytes();
        let signed = SignedManifest { signature: key.sign(&bytes), bytes };
        store.put_manifest(&address, &signed, &key.public()).unwrap();
        (store, address)
    }

    fn open(folder: &std::path::Path) -> (Repository, Storage) {
        let storage = Storage::new(folder, Limiter::new(ServerLimits::default()));
        (Repository::open(folder, &storage).unwrap(), storage)
    }

    #[test]
    fn only_unnamed_files_are_collected_after_the_grace_time() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store(folder.path(), &[b"named", b"old", b"asked for"]);
        store.put_blob(&Digest::of(b"fresh"), b"fresh").unwrap();
        store.renew_blob(&Digest::of(b"asked for"));
        let (repository, storage) = open(folder.path());
        assert_eq!(collect(&repository, &storage, GRACE), Ok(Collected { files: 1, bytes: 3 }));
        let here = |bytes: &[u8]| store.blob_size(&Digest::of(bytes)).is_some();
        assert_eq!([&b"named"[..], b"old", b"asked for", b"fresh"].map(here), [true, false, true, true]);
    }

    #[test]
    fn nothing_is_collected_while_a_manifest_is_unreadable() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = store(folder.path(), &[b"named", b"old"]);
        std::fs::write(folder.path().join("bundles/acme/repo/n/1.0.0/manifest.json"), "{").unwrap();
        let (repository, storage) = open(folder.path());
        assert!(matches!(collect(&repository, &storage, GRACE), Err(StoreError::Damaged { .. })));
        assert!(store.blob_size(&Digest::of(b"named")).is_some());
    }
}
