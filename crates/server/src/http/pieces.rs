//! Blobs as bodies of answers: read from the disk a piece at a time, as fast as they are taken, and never a byte that was not
//! verified. Short blobs that are asked for often stay in memory: verified bytes cannot go bad there.

use std::{
    collections::HashMap,
    fs::File,
    io,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use axum::body::{Body, Bytes};
use futures_util::stream;
use quick_cache::{Weighter, sync::Cache};
use starlane_bundle::{Digest, Hasher};
use starlane_protocol::Failure;

use crate::{
    joint::{Joint, Unwanted},
    store::SharedStore,
};

/// How many bytes are read and sent at a time. What is not longer is read at once.
const PIECE: u64 = 64 * 1024;
/// How many long files are remembered as verified; then all are looked at again.
const MAX_VERIFIED: usize = 65_536;

/// How often a file may be replaced while one piece of it is read.
const MAX_CHANGES: usize = 8;

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
    /// Long files that are hashed now, each once for all who wait for it.
    hashing: Joint<Digest, Result<Option<Stamp>, Failure>>,
    /// How many bytes of long files were hashed.
    #[cfg(test)]
    hashed: std::sync::atomic::AtomicU64,
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
pub(super) enum Blob {
    /// All of it.
    Short(Bytes),
    /// Where it is.
    Long(Long),
}

/// A long blob on the disk, verified when its file had this stamp.
pub(super) struct Long {
    verified: Verified,
    store: SharedStore,
    digest: Digest,
    stamp: Stamp,
}

impl Verified {
    /// Remembers short files up to this many bytes.
    pub(super) fn new(memory: u64) -> Self {
        let entries = usize::try_from(memory / (ENTRY + PIECE)).unwrap_or(usize::MAX);
        let short = Cache::with_weighter(entries, memory, Weight);
        Self(Arc::new(Inner {
            stamps: Mutex::default(),
            short,
            hashing: Joint::default(),
            #[cfg(test)]
            hashed: std::sync::atomic::AtomicU64::default(),
        }))
    }

    /// A short blob that is in memory.
    pub(super) fn in_memory(&self, digest: &Digest) -> Option<Blob> {
        self.0.short.get(digest).map(Blob::Short)
    }

    /// A blob was removed from the store.
    pub(super) fn forget(&self, digest: &Digest) {
        self.0.short.remove(digest);
        self.known().remove(digest);
    }

    /// Looks for a blob on the disk, and verifies it unless the same file was verified before. None if it is not here.
    pub(super) async fn open(&self, store: &SharedStore, digest: &Digest) -> Result<Option<Blob>, Failure> {
        let (verified, reading, digest) = (self.clone(), store.clone(), *digest);
        let found = aside(move || {
            let Some(file) = open(&reading, &digest)? else { return Ok(None) };
            let stamp = Stamp::of(&file).map_err(|error| failed(&digest, &error))?;
            if stamp.length <= PIECE {
                let bytes = verified.read_short(&digest, &file, stamp.length);
                return bytes.map(|bytes| Some(Blob::Short(bytes))).map_err(|error| failed(&digest, &error));
            }
            Ok(Some(Blob::Long(Long { verified, store: reading, digest, stamp })))
        });
        match found.await? {
            Some(Blob::Long(long)) if self.known().get(&digest) != Some(&long.stamp) => {
                let stamp = self.verify_long(store, digest).await?;
                Ok(stamp.map(|stamp| Blob::Long(Long { stamp, ..long })))
            }
            found => Ok(found),
        }
    }

    /// The bytes of a short file, from now on in memory.
    fn read_short(&self, digest: &Digest, file: &File, length: u64) -> io::Result<Bytes> {
        let bytes = read(file, 0..length)?;
        is(digest, Digest::of(&bytes))?;
        self.0.short.insert(*digest, bytes.clone());
        Ok(bytes)
    }

    /// Reads a long file as a whole, once for all who wait for it, and until nobody waits any more. Gives the stamp that it had.
    async fn verify_long(&self, store: &SharedStore, digest: Digest) -> Result<Option<Stamp>, Failure> {
        let (verified, store) = (Arc::downgrade(&self.0), store.clone());
        let begin = |unwanted: Unwanted| async move {
            aside(move || {
                let Some(file) = open(&store, &digest)? else { return Ok(None) };
                let Some(inner) = verified.upgrade() else { return Ok(None) };
                Verified(inner).hash(&digest, &file, &unwanted).map_err(|error| failed(&digest, &error))
            })
            .await
        };
        self.0.hashing.join(digest, begin).await
    }

    fn hash(&self, digest: &Digest, file: &File, unwanted: &Unwanted) -> io::Result<Option<Stamp>> {
        let stamp = Stamp::of(file)?;
        let (mut reader, mut hasher, mut piece) = (file, Hasher::new(), vec![0; PIECE as usize]);
        let found = loop {
            if unwanted.is_so() {
                return Ok(None);
            }
            match io::Read::read(&mut reader, &mut piece)? {
                0 => break hasher.finish(),
                length => hasher.update(piece.get(..length).unwrap_or_default()),
            }
            #[cfg(test)]
            self.0.hashed.fetch_add(PIECE, std::sync::atomic::Ordering::Relaxed);
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
        Ok(Some(stamp))
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
    /// Its length, in bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Short(bytes) => bytes.len() as u64,
            Self::Long(long) => long.stamp.length,
        }
    }

    /// A part of it as a body. One that is damaged while it is sent breaks off, before its last piece at the latest.
    pub(super) fn body(self, part: Range<u64>) -> Body {
        match self {
            Self::Short(bytes) => {
                let (start, end) = (part.start.min(bytes.len() as u64), part.end.min(bytes.len() as u64));
                Body::from(bytes.slice(start as usize..end as usize))
            }
            Self::Long(long) => Body::from_stream(stream::try_unfold((long, part), |(mut long, rest)| async move {
                if rest.is_empty() {
                    return Ok::<_, io::Error>(None);
                }
                let piece = rest.start..rest.end.min(rest.start + PIECE);
                let bytes = long.read(piece.clone()).await?;
                Ok(Some((bytes, (long, piece.end..rest.end))))
            })),
        }
    }
}

impl Long {
    /// Reads a piece. Its digest names its bytes: another file in its place is verified, and takes over.
    async fn read(&mut self, piece: Range<u64>) -> io::Result<Bytes> {
        for _ in 0..MAX_CHANGES {
            let (store, digest, piece) = (self.store.clone(), self.digest, piece.clone());
            // The file is open only while it is read: a slow reader has no descriptor.
            let looked = aside(move || {
                let file = open(&store, &digest)?.ok_or_else(|| failed(&digest, &io::ErrorKind::NotFound.into()))?;
                let read = read(&file, piece).and_then(|bytes| Ok((bytes, Stamp::of(&file)?)));
                read.map_err(|error| failed(&digest, &error))
            });
            let (bytes, stamp) = looked.await.map_err(io::Error::other)?;
            if stamp == self.stamp {
                return Ok(bytes);
            }
            let verified = self.verified.verify_long(&self.store, self.digest).await.map_err(io::Error::other)?;
            self.stamp = verified.ok_or(io::ErrorKind::NotFound)?;
        }
        Err(changed())
    }
}

/// The file of a blob, if it is here.
fn open(store: &SharedStore, digest: &Digest) -> Result<Option<File>, Failure> {
    let file = store.blob_file(digest).map_err(|error| Failure::internal(error.to_string()))?;
    match File::open(&file) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(digest, &error)),
    }
}

/// Waits for the disk on another thread.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::internal(error.to_string())))
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
    tracing::error!(%digest, %error, "cannot read the blob");
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            let message = format!("blob {digest} is damaged on this server: {error}; publish its bundle again");
            Failure::new(500, "damaged", message)
        }
        _ => Failure::internal(format!("cannot read blob {digest}: {error}")),
    }
}

#[cfg(test)]
mod tests;
