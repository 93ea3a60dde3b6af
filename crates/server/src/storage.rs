//! The storage quota of each space. Each file counts once, and a reserve of the disk stays free.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use starlane_bundle::{Digest, Manifest};
use starlane_protocol::{Address, Failure};

use crate::limits::{Limit, Limiter};

/// The minimum size that a file counts, in bytes: it uses a disk block and an index entry.
pub(crate) const MIN_FILE_BYTES: u64 = 4_096;
/// The time for which the counted bytes of a space's apps are reused.
const FRESH: Duration = Duration::from_secs(1);

/// Counts stored bytes, and refuses writes above a quota. Clones share it.
#[derive(Clone)]
pub(crate) struct Storage(Arc<Inner>);

struct Inner {
    data: PathBuf,
    limiter: Arc<Limiter>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// By space: the files that its bundles name, with their sizes.
    named: HashMap<String, Space>,
    /// Files that no bundle names yet, with their owners and sizes.
    pending: HashMap<Digest, (String, u64)>,
    /// By principal.
    pending_bytes: HashMap<String, u64>,
    /// By space: the bytes of its apps, and when they were counted.
    apps: HashMap<String, (Instant, u64)>,
    /// By space: the bytes of its actors' state.
    state: HashMap<String, u64>,
}

#[derive(Default)]
struct Space {
    /// Files that its bundles name.
    files: HashMap<Digest, u64>,
    /// Its bundles' manifests.
    manifests: HashMap<Address, u64>,
    bytes: u64,
}

/// The counted size of a file of this many bytes.
fn counted(bytes: u64) -> u64 {
    bytes.max(MIN_FILE_BYTES)
}

impl Storage {
    pub(crate) fn new(data: &Path, limiter: Arc<Limiter>) -> Self {
        Self(Arc::new(Inner { data: data.to_owned(), limiter, kept: Mutex::default() }))
    }

    pub(crate) fn limiter(&self) -> &Limiter {
        &self.0.limiter
    }

    /// Errors with 507 when the space or the disk has no room for `bytes` more.
    pub(crate) fn admit(&self, space: &str, bytes: u64) -> Result<(), Failure> {
        self.admit_on_disk(bytes)?;
        let used = self.used_by(space);
        if used.saturating_add(bytes) > self.0.limiter.get(Limit::SpaceStorage) {
            let what = format!(
                "space `{space}` has {used} bytes on disk and no room for {bytes} more: delete data of the space"
            );
            return Err(self.0.limiter.refuse(Limit::SpaceStorage, what));
        }
        Ok(())
    }

    /// Errors with 507 when the disk has no room for `bytes` more.
    pub(crate) fn admit_on_disk(&self, bytes: u64) -> Result<(), Failure> {
        // Where the system does not report free space, a write on a full disk fails with the system's error.
        let Some(free) = self.free() else { return Ok(()) };
        if free.saturating_sub(bytes) < self.0.limiter.get(Limit::DiskReserve) {
            let what = format!("the disk of the data folder has {free} bytes free and no room for {bytes} more");
            return Err(self.0.limiter.refuse(Limit::DiskReserve, what));
        }
        Ok(())
    }

    /// Counts an upload. Errors with 507 when too many of the principal's bytes are not named by a bundle, or the disk is full.
    pub(crate) fn admit_upload(&self, principal: &str, digest: &Digest, bytes: u64) -> Result<(), Failure> {
        self.admit_on_disk(bytes)?;
        let mut kept = self.kept();
        let counted = counted(bytes);
        let known =
            kept.pending.contains_key(digest) || kept.named.values().any(|space| space.files.contains_key(digest));
        if known {
            return Ok(());
        }
        let pending = kept.pending_bytes.get(principal).copied().unwrap_or_default();
        if pending.saturating_add(counted) > self.0.limiter.get(Limit::PendingUploads) {
            let what = format!(
                "`{principal}` has uploaded {pending} bytes that no bundle names, and has no room for {bytes} more: publish \
                 their bundle first"
            );
            return Err(self.0.limiter.refuse(Limit::PendingUploads, what));
        }
        *kept.pending_bytes.entry(principal.to_owned()).or_default() += counted;
        kept.pending.insert(*digest, (principal.to_owned(), counted));
        Ok(())
    }

    /// Errors with 507 when a space has no room for a bundle. Files that the space already has do not count.
    pub(crate) fn admit_bundle(&self, space: &str, manifest: &Manifest, length: u64) -> Result<(), Failure> {
        let kept = self.kept();
        let mut new: HashMap<Digest, u64> = HashMap::new();
        let known = kept.named.get(space);
        for file in manifest.files.values() {
            if !known.is_some_and(|known| known.files.contains_key(&file.sha256)) {
                new.insert(file.sha256, counted(file.size));
            }
        }
        drop(kept);
        let bytes = new.values().fold(counted(length), |sum, size| sum.saturating_add(*size));
        self.admit(space, bytes)
    }

    /// Counts a published bundle: its files now belong to its space and are no longer pending.
    pub(crate) fn add(&self, space: &str, manifest: &Manifest, length: u64) {
        let mut kept = self.kept();
        let of_space = kept.named.entry(space.to_owned()).or_default();
        if of_space.manifests.insert(manifest.address.clone(), counted(length)).is_none() {
            of_space.bytes = of_space.bytes.saturating_add(counted(length));
        }
        for file in manifest.files.values() {
            kept.settle(&file.sha256);
            let of_space = kept.named.entry(space.to_owned()).or_default();
            if of_space.files.insert(file.sha256, counted(file.size)).is_none() {
                of_space.bytes = of_space.bytes.saturating_add(counted(file.size));
            }
        }
    }

    /// Forgets a pending file that was removed.
    pub(crate) fn collected(&self, digest: &Digest) {
        self.kept().settle(digest);
    }

    /// Sets the bytes of actors' state, by space.
    pub(crate) fn count_state(&self, of_spaces: HashMap<String, u64>) {
        self.kept().state = of_spaces;
    }

    /// Updates the bytes of one actor's state in a space.
    pub(crate) fn change_state(&self, space: &str, before: u64, bytes: u64) {
        let mut kept = self.kept();
        let sum = kept.state.entry(space.to_owned()).or_default();
        *sum = sum.saturating_sub(before).saturating_add(bytes);
    }

    /// The bytes of a space on disk.
    pub(crate) fn used_by(&self, space: &str) -> u64 {
        let mut kept = self.kept();
        let state = kept.state.get(space).copied().unwrap_or_default();
        let files = kept.named.get(space).map_or(0, |space| space.bytes).saturating_add(state);
        let now = Instant::now();
        let measured = kept.apps.get(space).filter(|(at, _)| now.duration_since(*at) < FRESH);
        if let Some((_, bytes)) = measured {
            return files.saturating_add(*bytes);
        }
        let apps = apps_of(&self.0.data, space);
        kept.apps.insert(space.to_owned(), (now, apps));
        files.saturating_add(apps)
    }

    /// The free bytes on the disk for this user; none where the system does not report them.
    pub(crate) fn free(&self) -> Option<u64> {
        free(&self.0.data)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn settle(&mut self, digest: &Digest) {
        if let Some((principal, bytes)) = self.pending.remove(digest)
            && let Some(sum) = self.pending_bytes.get_mut(&principal)
        {
            *sum = sum.saturating_sub(bytes);
            if *sum == 0 {
                self.pending_bytes.remove(&principal);
            }
        }
    }
}

/// The counted bytes of a space's apps: the files in their folders `databases/SPACE:APP`, their records
/// `apps/SPACE:APP.json`, and the remaining files of deleted apps.
fn apps_of(data: &Path, space: &str) -> u64 {
    let prefix = format!("{space}:");
    let below = |folder: &str| {
        let entries = fs::read_dir(data.join(folder)).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
    };
    let databases: u64 = below("databases").map(|folder| size_of(&folder.path())).sum();
    let records = below("apps").map(|file| file.metadata().map_or(0, |about| counted(about.len())));
    records.fold(databases, u64::saturating_add)
}

fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => size_of(&entry.path()),
        Ok(about) => about.len(),
        // The file was removed meanwhile.
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(unix)]
fn free(folder: &Path) -> Option<u64> {
    let about = rustix::fs::statvfs(folder).ok()?;
    Some(about.f_bavail.saturating_mul(about.f_frsize))
}

#[cfg(not(unix))]
fn free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::ServerLimits;

    fn storage(folder: &Path, settings: &[(Limit, u64)]) -> Storage {
        let mut limits = ServerLimits::default();
        limits.set(Limit::DiskReserve, 0).unwrap();
        for (limit, value) in settings {
            limits.set(*limit, *value).unwrap();
        }
        Storage::new(folder, Limiter::new(limits))
    }

    #[test]
    fn uploads_that_no_bundle_names_have_a_limit_for_each_principal() {
        let folder = tempfile::tempdir().unwrap();
        let storage = storage(folder.path(), &[(Limit::PendingUploads, 1 << 20)]);
        let digest = |n: u32| Digest::of(&n.to_be_bytes());
        let admitted = (0..1_000).filter(|n| storage.admit_upload("ada", &digest(*n), 1).is_ok()).count();
        assert_eq!(admitted, 256, "small ones count a block each");
        assert_eq!(storage.admit_upload("ada", &digest(0), 1), Ok(()), "it exists already");
        let failure = storage.admit_upload("ada", &digest(5_000), 1).unwrap_err();
        assert_eq!((failure.status, failure.code.as_str()), (507, "storage-full"));
        assert!(failure.message.contains("pending-uploads"), "{}", failure.message);
        assert_eq!(storage.admit_upload("grace", &digest(5_000), 1), Ok(()));
        storage.collected(&digest(7));
        assert_eq!(storage.admit_upload("ada", &digest(5_001), 1), Ok(()));
    }

    #[test]
    fn databases_count_for_the_quota_and_the_disk_keeps_a_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let own = storage(folder.path(), &[(Limit::SpaceStorage, 2 << 20)]);
        fs::create_dir_all(folder.path().join("databases/acme:shop")).unwrap();
        fs::write(folder.path().join("databases/acme:shop/db.sqlite"), vec![0; 1_500_000]).unwrap();
        assert_eq!(own.admit("acme", 1 << 20).unwrap_err().code, "storage-full");
        assert_eq!(own.admit("acm", 1 << 20), Ok(()), "another space with a longer name");
        assert_eq!(own.admit("acme", 500_000), Ok(()));
        let reserved = storage(folder.path(), &[(Limit::DiskReserve, 1 << 50)]);
        if reserved.free().is_some() {
            assert!(reserved.admit("other", 1).unwrap_err().message.contains("disk-reserve"));
        }
    }
}
