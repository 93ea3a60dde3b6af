//! The repository on disk: manifests, blobs, app records, the host's secret.
//!
//! ```text
//! DATA/bundles/acme/repo/profiles/1.0.0/manifest.json  manifest.signature
//! DATA/bundles/acme/repo/profiles/publisher.key        the owner of the name
//! DATA/blobs/ab/abcdef…                                named by their SHA-256
//! DATA/apps/acme:profiles.json                         the app's record
//! DATA/apps/acme:profiles.revision                     the last revision of a deleted app
//! DATA/host.secret
//! ```
//!
//! A reader sees a complete file or none (`disk.rs`).

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use starlane_bundle::{AppRecord, Digest, Hasher, PublicKey, Signature, SignedManifest};
use starlane_host::ports::{BundleStore, RecordStore, StoreError};
use starlane_protocol::{Address, HostSecret};

use crate::{
    data_path::below,
    disk::{failed, read, remove, write, write_new},
};

/// The key that a name belongs to. Its name has a dot, so it cannot be a segment of an address.
const OWNER: &str = "publisher.key";
const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "manifest.signature";

/// The repository in a data folder, for threads that can wait for the disk.
#[derive(Clone)]
pub(crate) struct SharedStore {
    root: Arc<PathBuf>,
}

/// The repository as the host's port, which does the same work on other threads.
#[derive(Clone)]
pub(crate) struct DiskStore(SharedStore);

impl SharedStore {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: Arc::new(root.to_owned()) }
    }

    fn below<P: AsRef<str>>(&self, parts: impl IntoIterator<Item = P>) -> Result<PathBuf, StoreError> {
        below(&self.root, parts).map_err(failed)
    }

    fn name_parts(bundle: &Address) -> impl Iterator<Item = &str> {
        ["bundles"].into_iter().chain(bundle.segments())
    }

    fn owner_file(&self, bundle: &Address) -> Result<PathBuf, StoreError> {
        self.below(Self::name_parts(bundle).chain([OWNER]))
    }

    fn bundle_file(&self, bundle: &Address, name: &str) -> Result<PathBuf, StoreError> {
        let version = bundle.version().unwrap_or("unversioned");
        self.below(Self::name_parts(bundle).chain([version, name]))
    }

    pub(crate) fn blob_file(&self, digest: &Digest) -> Result<PathBuf, StoreError> {
        let name = digest.to_string();
        self.below(["blobs", name.get(..2).unwrap_or_default(), &name])
    }

    fn record_file(&self, app: &Address) -> Result<PathBuf, StoreError> {
        self.below(["apps", &format!("{app}.json")])
    }

    fn revision_file(&self, app: &Address) -> Result<PathBuf, StoreError> {
        self.below(["apps", &format!("{app}.revision")])
    }

    pub(crate) fn manifest(&self, bundle: &Address) -> Result<Option<SignedManifest>, StoreError> {
        let Some(bytes) = read(&self.bundle_file(bundle, MANIFEST)?)? else { return Ok(None) };
        let signature = read(&self.bundle_file(bundle, SIGNATURE)?)?.unwrap_or_default();
        let signature = Signature::parse(std::str::from_utf8(&signature).unwrap_or_default().trim());
        let damaged = |reason: String| StoreError::Damaged { name: bundle.to_string(), reason };
        let signature = signature.map_err(|error| damaged(error.to_string()))?;
        Ok(Some(SignedManifest { bytes, signature }))
    }

    /// Stores a manifest and the owner of its name.
    pub(crate) fn put_manifest(
        &self,
        bundle: &Address,
        manifest: &SignedManifest,
        publisher: &PublicKey,
    ) -> Result<(), StoreError> {
        self.claim(bundle, publisher)?;
        self.write_manifest(bundle, manifest)
    }

    /// Makes a publisher the owner of a bundle's name, even if the earlier owner is another one or cannot be read.
    pub(crate) fn claim(&self, bundle: &Address, publisher: &PublicKey) -> Result<(), StoreError> {
        match self.owner(bundle) {
            Ok(Some(owner)) if owner == *publisher => Ok(()),
            _ => write(&self.owner_file(bundle)?, publisher.to_string().as_bytes()),
        }
    }

    /// Whether a version is published under a bundle's name.
    pub(crate) fn has_versions(&self, bundle: &Address) -> Result<bool, StoreError> {
        let versions = list(&self.below(Self::name_parts(bundle))?)?;
        Ok(versions.iter().any(|version| version.join(MANIFEST).exists()))
    }

    fn write_manifest(&self, bundle: &Address, manifest: &SignedManifest) -> Result<(), StoreError> {
        // Write the manifest last: without it, the bundle does not exist.
        write(&self.bundle_file(bundle, SIGNATURE)?, manifest.signature.to_string().as_bytes())?;
        write(&self.bundle_file(bundle, MANIFEST)?, &manifest.bytes)
    }

    /// The key that this bundle's name belongs to.
    pub(crate) fn owner(&self, bundle: &Address) -> Result<Option<PublicKey>, StoreError> {
        let Some(bytes) = read(&self.owner_file(bundle)?)? else { return Ok(None) };
        let damaged = |reason: String| StoreError::Damaged { name: format!("publisher of {bundle}"), reason };
        let key = PublicKey::parse(std::str::from_utf8(&bytes).unwrap_or_default().trim());
        key.map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// All bundles with a manifest, in no particular order. Errors when a folder cannot be listed, because its content
    /// is not known.
    pub(crate) fn bundles(&self) -> Result<Vec<Address>, StoreError> {
        let root = self.root.join("bundles");
        let mut folders = vec![root.clone()];
        let mut found = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in list(&folder)? {
                if entry.is_dir() {
                    folders.push(entry);
                } else if entry.file_name().is_some_and(|name| name == MANIFEST)
                    && let Ok(path) = folder.strip_prefix(&root)
                {
                    let address = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, ":");
                    found.extend(Address::parse(&address));
                }
            }
        }
        Ok(found)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        Ok(read(&self.blob_file(digest)?)?.map(Bytes::from))
    }

    /// Whether a blob exists and matches its digest. Ends early, with false, when `ended` returns true.
    pub(crate) fn is_whole(&self, digest: &Digest, ended: &dyn Fn() -> bool) -> bool {
        let mut hasher = Hasher::new();
        let Ok(Ok(mut file)) = self.blob_file(digest).map(fs::File::open) else { return false };
        let mut piece = vec![0; 64 * 1024];
        while !ended() {
            match file.read(&mut piece) {
                Ok(0) => return hasher.finish() == *digest,
                Ok(length) => hasher.update(piece.get(..length).unwrap_or_default()),
                Err(_) => return false,
            }
        }
        false
    }

    /// The length of a blob, and the time of its upload or of the last request that named it; none if it does not
    /// exist.
    pub(crate) fn blob_state(&self, digest: &Digest) -> Option<(u64, SystemTime)> {
        let about = fs::metadata(self.blob_file(digest).ok()?).ok()?;
        Some((about.len(), about.modified().ok()?))
    }

    /// Gives an existing blob a new grace time.
    pub(crate) fn renew_blob(&self, digest: &Digest) {
        if let Ok(Ok(file)) = self.blob_file(digest).map(|file| fs::File::options().append(true).open(file)) {
            // If this fails, the blob can be collected sooner, and is uploaded again.
            let _ = file.set_modified(SystemTime::now());
        }
    }

    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        remove(&self.blob_file(digest)?)
    }

    /// All blobs, in no particular order.
    pub(crate) fn blobs(&self) -> Result<Vec<Digest>, StoreError> {
        let mut found = Vec::new();
        for folder in list(&self.root.join("blobs"))? {
            // The repository contains only folders.
            let files = if folder.is_dir() { list(&folder)? } else { Vec::new() };
            let names = files.iter().filter_map(|file| file.file_name()?.to_str());
            found.extend(names.filter_map(|name| Digest::parse(name).ok()));
        }
        Ok(found)
    }

    /// The length of a blob, without reading it; none if it does not exist.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob_file(digest).ok()?).ok().map(|metadata| metadata.len())
    }

    /// Keeps a blob. An intact file stays, because others can be reading it; a damaged file is replaced.
    pub(crate) fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let file = self.blob_file(digest)?;
        if holds(&file, bytes) { Ok(()) } else { write(&file, bytes) }
    }

    fn records(&self) -> Result<Vec<AppRecord>, StoreError> {
        let mut records = Vec::new();
        for entry in list(&self.root.join("apps"))? {
            if entry.extension().is_some_and(|extension| extension == "json") {
                match read_record(&entry) {
                    Ok(record) => records.extend(record),
                    // The other blobs are readable. A request for this one returns an error.
                    Err(error) => tracing::error!(%error, "cannot read the app's record"),
                }
            }
        }
        records.sort_by(|a, b| a.app.cmp(&b.app));
        Ok(records)
    }

    fn secret(&self, fresh: HostSecret) -> Result<HostSecret, StoreError> {
        let file = self.root.join("host.secret");
        if let Some(bytes) = read(&file)? {
            let damaged =
                || StoreError::Damaged { name: "host.secret".into(), reason: "it does not have 32 bytes".into() };
            return bytes.try_into().map(HostSecret).map_err(|_| damaged());
        }
        write_new(&file, &fresh.0).map_err(failed)?;
        Ok(fresh)
    }
}

type Done<T> = LocalBoxFuture<'static, Result<T, StoreError>>;

impl DiskStore {
    pub(crate) fn new(root: &Path) -> Self {
        Self(SharedStore::new(root))
    }

    /// Another thread does the disk work, so that the node's thread never waits for a disk.
    fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce(SharedStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Done<T> {
        let store = self.0.clone();
        let task = tokio::task::spawn_blocking(move || work(store));
        Box::pin(async move { task.await.unwrap_or_else(|error| Err(StoreError::Failed(error.to_string()))) })
    }

    /// Returns the secret of this server. If there is none, stores and returns `fresh`.
    pub(crate) fn secret(&self, fresh: HostSecret) -> Done<HostSecret> {
        self.aside(move |store| store.secret(fresh))
    }

    /// The last revision of a deleted app, 0 if the app was never deleted. Hosts refuse a revision lower than one that
    /// they have seen.
    pub(crate) fn last_revision(&self, app: &Address) -> Done<u64> {
        let app = app.clone();
        self.aside(move |store| {
            let file = store.revision_file(&app)?;
            let Some(kept) = read(&file)? else { return Ok(0) };
            let kept = String::from_utf8(kept).ok().and_then(|text| text.trim().parse().ok());
            let reason = "it is not a number".to_owned();
            kept.ok_or_else(|| StoreError::Damaged { name: file.display().to_string(), reason })
        })
    }
}

impl BundleStore for DiskStore {
    fn manifest(&self, bundle: &Address) -> Done<Option<SignedManifest>> {
        let bundle = bundle.clone();
        self.aside(move |store| store.manifest(&bundle))
    }

    fn put_manifest(&self, bundle: &Address, manifest: SignedManifest) -> Done<()> {
        let bundle = bundle.clone();
        self.aside(move |store| store.write_manifest(&bundle, &manifest))
    }

    fn blob(&self, digest: &Digest) -> Done<Option<Bytes>> {
        let digest = *digest;
        self.aside(move |store| store.blob(&digest))
    }

    fn put_blob(&self, digest: &Digest, bytes: Bytes) -> Done<()> {
        let digest = *digest;
        self.aside(move |store| store.put_blob(&digest, &bytes))
    }

    fn drop_blob(&self, digest: &Digest) -> Done<()> {
        let digest = *digest;
        self.aside(move |store| remove(&store.blob_file(&digest)?))
    }
}

impl RecordStore for DiskStore {
    fn record(&self, app: &Address) -> Done<Option<AppRecord>> {
        let app = app.clone();
        self.aside(move |store| read_record(&store.record_file(&app)?))
    }

    fn records(&self) -> Done<Vec<AppRecord>> {
        self.aside(|store| store.records())
    }

    fn put_record(&self, record: AppRecord) -> Done<AppRecord> {
        self.aside(move |store| {
            let file = store.record_file(&record.app)?;
            if let Ok(Some(known)) = read_record(&file)
                && known.revision > record.revision
            {
                return Ok(known);
            }
            let bytes = serde_json::to_vec_pretty(&record).map_err(|e| StoreError::Failed(e.to_string()))?;
            write(&file, &bytes)?;
            Ok(record)
        })
    }

    fn drop_record(&self, app: &Address) -> Done<()> {
        let app = app.clone();
        self.aside(move |store| {
            let file = store.record_file(&app)?;
            if let Some(record) = read_record(&file)? {
                write(&store.revision_file(&app)?, record.revision.to_string().as_bytes())?;
            }
            remove(&file)
        })
    }
}

/// Whether a file contains exactly these bytes.
fn holds(file: &Path, mut bytes: &[u8]) -> bool {
    let Ok(mut file) = fs::File::open(file) else { return false };
    if !file.metadata().is_ok_and(|about| about.len() == bytes.len() as u64) {
        return false;
    }
    let mut piece = vec![0; 64 * 1024];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return bytes.is_empty(),
            Ok(length) => match piece.get(..length).and_then(|piece| bytes.strip_prefix(piece)) {
                Some(rest) => bytes = rest,
                None => return false,
            },
            Err(_) => return false,
        }
    }
}

/// The entries of a folder, empty if it does not exist. Errors name the folder.
fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let told = |error: io::Error| StoreError::Failed(format!("cannot list {}: {error}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(told)?,
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(told)).collect()
}

fn read_record(file: &Path) -> Result<Option<AppRecord>, StoreError> {
    let Some(bytes) = read(file)? else { return Ok(None) };
    let damaged =
        |e: serde_json::Error| StoreError::Damaged { name: file.display().to_string(), reason: e.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

#[cfg(test)]
mod tests;
