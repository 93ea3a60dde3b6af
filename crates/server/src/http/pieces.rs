//! Blobs as bodies of answers: read from the disk a piece at a time, as fast as they are taken, and never a byte that was not
//! verified. Short blobs that are asked for often stay in memory: verified bytes cannot go bad there.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Range,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use axum::body::{Body, Bytes};
use futures_util::stream;
use quick_cache::{Weighter, sync::Cache};
use starlane_bundle::{Digest, Hasher};
use starlane_protocol::Failure;

use crate::store::SharedStore;

/// How many bytes are read and sent at a time. What is not longer is read at once.
const PIECE: u64 = 64 * 1024;
/// How many long files are remembered as verified; then all are looked at again.
const MAX_VERIFIED: usize = 65_536;

/// How long after a change of a file the next one has another time, with all file systems: FAT has steps of 2 s.
const TICK: Duration = Duration::from_secs(3);

/// What an entry in memory takes beside its bytes, in bytes, rounded up.
const ENTRY: u64 = 256;

/// Files that were verified. Clones share it.
#[derive(Clone)]
pub(super) struct Verified(Arc<Inner>);

struct Inner {
    /// Long files that need not be read as a whole again while they have these stamps.
    stamps: Mutex<HashMap<Digest, Stamp>>,
    /// The bytes of short files.
    short: Cache<Digest, Bytes, Weight>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<Digest, Bytes> for Weight {
    fn weight(&self, _: &Digest, bytes: &Bytes) -> u64 {
        ENTRY + bytes.len() as u64
    }
}

/// What a file was when it was looked at: written to, it has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// When its content or its place changed last, and which file it is: nobody can set these.
    #[cfg(unix)]
    changed: (i64, i64, u64),
}

/// A blob that is here and is what its digest says.
pub(super) struct Blob {
    file: PathBuf,
    stamp: Stamp,
    /// All of it, if it is short.
    bytes: Option<Bytes>,
}

impl Verified {
    /// Remembers short files up to this many bytes.
    pub(super) fn new(memory: u64) -> Self {
        let entries = usize::try_from(memory / (ENTRY + PIECE)).unwrap_or(usize::MAX);
        let short = Cache::with_weighter(entries, memory, Weight);
        Self(Arc::new(Inner { stamps: Mutex::default(), short }))
    }

    /// A short blob that is in memory.
    pub(super) fn in_memory(&self, digest: &Digest) -> Option<Blob> {
        self.0.short.get(digest).map(Blob::of)
    }

    /// A blob was removed from the store.
    pub(super) fn forget(&self, digest: &Digest) {
        self.0.short.remove(digest);
        self.known().remove(digest);
    }

    /// Looks for a blob on the disk, and verifies it unless the same file was verified before. Waits for the disk. None if it is not
    /// here.
    pub(super) fn open(&self, store: &SharedStore, digest: &Digest) -> Result<Option<Blob>, Failure> {
        let file = store.blob_file(digest).map_err(|error| Failure::internal(error.to_string()))?;
        let open = match File::open(&file) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(digest, &error)),
        };
        let stamp = Stamp::of(&open).map_err(|error| failed(digest, &error))?;
        let bytes = if stamp.length <= PIECE {
            Some(self.read_short(digest, &open, stamp.length).map_err(|error| failed(digest, &error))?)
        } else {
            self.verify_long(digest, &open, stamp).map_err(|error| failed(digest, &error))?;
            None
        };
        Ok(Some(Blob { file, stamp, bytes }))
    }

    /// The bytes of a short file, from now on in memory.
    fn read_short(&self, digest: &Digest, file: &File, length: u64) -> io::Result<Bytes> {
        let bytes = read(file, 0..length)?;
        is(digest, Digest::of(&bytes))?;
        self.0.short.insert(*digest, bytes.clone());
        Ok(bytes)
    }

    /// Reads a long file once, unless it has the stamp that it had when it was verified.
    fn verify_long(&self, digest: &Digest, file: &File, stamp: Stamp) -> io::Result<()> {
        if self.known().get(digest) == Some(&stamp) {
            return Ok(());
        }
        let (mut reader, mut hasher, mut piece) = (file, Hasher::new(), vec![0; PIECE as usize]);
        let found = loop {
            match io::Read::read(&mut reader, &mut piece)? {
                0 => break hasher.finish(),
                length => hasher.update(piece.get(..length).unwrap_or_default()),
            }
        };
        is(digest, found)?;
        // It may have been written to meanwhile.
        if Stamp::of(file)? != stamp {
            return Err(changed());
        }
        if stamp.is_settled() {
            let mut known = self.known();
            if known.len() >= MAX_VERIFIED {
                known.clear();
            }
            known.insert(*digest, stamp);
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Digest, Stamp>> {
        self.0.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let about = file.metadata()?;
        Ok(Self {
            length: about.len(),
            modified: about.modified().ok(),
            #[cfg(unix)]
            changed: {
                use std::os::unix::fs::MetadataExt;
                (about.ctime(), about.ctime_nsec(), about.ino())
            },
        })
    }
}

impl Stamp {
    /// Whether another change would show: the clock of a file system ticks slowly.
    fn is_settled(&self) -> bool {
        self.modified.is_some_and(|modified| modified.elapsed().is_ok_and(|age| age > TICK))
    }
}

impl Blob {
    /// One that is in memory.
    pub(super) fn of(bytes: Bytes) -> Self {
        let stamp = Stamp {
            length: bytes.len() as u64,
            modified: None,
            #[cfg(unix)]
            changed: (0, 0, 0),
        };
        Self { file: PathBuf::new(), stamp, bytes: Some(bytes) }
    }

    /// Its length, in bytes.
    pub(super) fn length(&self) -> u64 {
        self.stamp.length
    }

    /// A part of it as a body. One that is damaged while it is sent breaks off, before its last piece at the latest.
    pub(super) fn body(self, part: Range<u64>) -> Body {
        if let Some(bytes) = &self.bytes {
            let (start, end) = (part.start.min(bytes.len() as u64), part.end.min(bytes.len() as u64));
            return Body::from(bytes.slice(start as usize..end as usize));
        }
        let pieces = stream::try_unfold((self, part), |(blob, rest)| async move {
            if rest.is_empty() {
                return Ok::<_, io::Error>(None);
            }
            // The file is open only while it is read: a slow reader has no descriptor.
            let done = tokio::task::spawn_blocking(move || {
                let piece = rest.start..rest.end.min(rest.start + PIECE);
                let file = File::open(&blob.file)?;
                let bytes = read(&file, piece.clone())?;
                if Stamp::of(&file)? != blob.stamp {
                    return Err(changed());
                }
                Ok((bytes, (blob, piece.end..rest.end)))
            });
            done.await.unwrap_or_else(|error| Err(io::Error::other(error))).map(Some)
        });
        Body::from_stream(pieces)
    }
}

#[cfg(unix)]
fn read(file: &File, part: Range<u64>) -> io::Result<Bytes> {
    let mut bytes = vec![0; usize::try_from(part.end - part.start).unwrap_or_default()];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, part.start)?;
    Ok(bytes.into())
}

#[cfg(not(unix))]
fn read(mut file: &File, part: Range<u64>) -> io::Result<Bytes> {
    use std::io::{Read, Seek, SeekFrom};
    let mut bytes = vec![0; usize::try_from(part.end - part.start).unwrap_or_default()];
    file.seek(SeekFrom::Start(part.start))?;
    file.read_exact(&mut bytes)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(bytes.into())
}

/// Errors if content with the digest `found` is not what was asked for.
fn is(digest: &Digest, found: Digest) -> io::Result<()> {
    if found == *digest {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, format!("its content has the digest {found}")))
}

fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was read")
}

fn failed(digest: &Digest, error: &io::Error) -> Failure {
    tracing::error!(%digest, %error, "a blob can't be read");
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            let message = format!("the blob {digest} is damaged on this server: {error}; publish its bundle again");
            Failure::new(500, "damaged", message)
        }
        _ => Failure::internal(format!("the blob {digest} cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MEMORY: u64 = 1 << 20;

    fn kept(bytes: &[u8]) -> (tempfile::TempDir, SharedStore, Digest) {
        let folder = tempfile::tempdir().unwrap();
        let store = SharedStore::new(folder.path());
        let digest = Digest::of(bytes);
        store.put_blob(&digest, bytes).unwrap();
        (folder, store, digest)
    }

    #[tokio::test]
    async fn every_part_of_a_blob_is_the_same_as_in_memory() {
        let all: Vec<u8> = (0..3 * PIECE + 17).map(|n| (n % 251) as u8).collect();
        for length in [0, 1, PIECE as usize, PIECE as usize + 1, all.len()] {
            let whole = &all[..length];
            let (_folder, store, digest) = kept(whole);
            let verified = Verified::new(MEMORY);
            for (start, end) in [(0, length), (length / 2, length), (0, length.min(1)), (length, length)] {
                let blob = verified.open(&store, &digest).unwrap().unwrap();
                assert_eq!(blob.length(), length as u64);
                let body = blob.body(start as u64..end as u64);
                let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                assert!(bytes == whole[start..end], "{start}..{end} of {length}");
            }
        }
        let (_folder, store, _) = kept(b"x");
        assert!(Verified::new(MEMORY).open(&store, &Digest::of(b"other")).unwrap().is_none());
    }

    #[tokio::test]
    async fn what_is_damaged_is_not_sent_as_if_it_were_whole() {
        for length in [100, 3 * PIECE as usize] {
            let (_folder, store, digest) = kept(&vec![7; length]);
            let verified = Verified::new(MEMORY);
            assert!(verified.open(&store, &digest).is_ok());
            let blob = verified.open(&store, &digest).unwrap().unwrap();
            fs::write(store.blob_file(&digest).unwrap(), vec![8; length + 1]).unwrap();
            assert!(verified.open(&store, &digest).is_err(), "it is looked at again");
            // What began before has its bytes or breaks off.
            let body = axum::body::to_bytes(blob.body(0..length as u64), usize::MAX).await;
            assert!(body.map_or(true, |bytes| bytes.iter().all(|byte| *byte == 7)));
        }
    }

    #[test]
    fn short_blobs_stay_in_memory_until_they_are_removed_or_others_need_the_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = SharedStore::new(folder.path());
        let put = |bytes: &[u8]| {
            let digest = Digest::of(bytes);
            store.put_blob(&digest, bytes).unwrap();
            digest
        };
        let verified = Verified::new(MEMORY);
        let (short, long) = (put(b"short"), put(&vec![1; PIECE as usize + 1]));
        assert!(verified.in_memory(&short).is_none(), "nobody has asked for it");
        for digest in [short, long] {
            verified.open(&store, &digest).unwrap().unwrap();
        }
        assert!(verified.in_memory(&short).is_some_and(|blob| blob.bytes == Some(Bytes::from_static(b"short"))));
        assert!(verified.in_memory(&long).is_none());
        verified.forget(&short);
        assert!(verified.in_memory(&short).is_none());

        let many: Vec<Digest> = (0..100_u8).map(|n| put(&vec![n; PIECE as usize / 2])).collect();
        for digest in &many {
            verified.open(&store, digest).unwrap().unwrap();
        }
        let kept: u64 =
            many.iter().filter_map(|digest| verified.in_memory(digest)).map(|blob| blob.length() + ENTRY).sum();
        assert!((1..=MEMORY).contains(&kept), "{kept} bytes of {MEMORY}");
        let none = Verified::new(0);
        none.open(&store, &many[0]).unwrap().unwrap();
        assert!(none.in_memory(&many[0]).is_none());
    }
}
