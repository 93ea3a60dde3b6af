//! Blobs as bodies of answers. They are read from the disk one piece at a time, as fast as the client reads, and only verified
//! bytes are sent. Short blobs that are requested often stay in memory: verified bytes do not change there.

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

/// The number of bytes that are read and sent at a time. A file that is not longer is read at once.
const PIECE: u64 = 64 * 1024;
/// The maximum number of long files remembered as verified. Above it, all are verified again.
const MAX_VERIFIED: usize = 65_536;

/// The maximum number of times that a file can be replaced while one piece of it is read.
const MAX_CHANGES: usize = 8;

/// The time after which a second change of a file has a different timestamp on every file system: FAT has steps of 2 s.
const TICK: Duration = Duration::from_secs(3);

/// The overhead of an entry in memory, in bytes, rounded up.
const ENTRY: u64 = 256;

/// Verified files. Clones share it.
#[derive(Clone)]
pub(super) struct Verified(Arc<Inner>);

struct Inner {
    /// Long files that need no second verification while they have these stamps.
    stamps: Mutex<HashMap<Digest, Stamp>>,
    /// The bytes of short files.
    short: Cache<Digest, Bytes, Weight>,
    /// Long files that are being hashed, each once for all waiting requests.
    hashing: Joint<Digest, Result<Option<Stamp>, Failure>>,
    /// The number of hashed bytes of long files.
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

/// The state of a file when it was examined. A write changes the stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
    /// The change time and the identity of the file: no program can set these.
    #[cfg(unix)]
    changed: (i64, i64, u64),
}

/// A blob on this server, verified against its digest.
pub(super) enum Blob {
    /// All of it.
    Short(Bytes),
    /// Where it is.
    Long(Long),
}

/// A long blob on the disk that was verified when its file had this stamp.
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

    /// A short blob in memory.
    pub(super) fn in_memory(&self, digest: &Digest) -> Option<Blob> {
        self.0.short.get(digest).map(Blob::Short)
    }

    /// Forgets a blob that was removed from the store.
    pub(super) fn forget(&self, digest: &Digest) {
        self.0.short.remove(digest);
        self.known().remove(digest);
    }

    /// Looks for a blob on the disk, and verifies it unless the same file was verified earlier. None if it does not exist.
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

    /// Reads a short file and keeps it in memory.
    fn read_short(&self, digest: &Digest, file: &File, length: u64) -> io::Result<Bytes> {
        let bytes = read(file, 0..length)?;
        is(digest, Digest::of(&bytes))?;
        self.0.short.insert(*digest, bytes.clone());
        Ok(bytes)
    }

    /// Hashes a long file once for all waiting requests, until all of them are cancelled. Returns the stamp of the file.
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
        // A program can have written to it meanwhile.
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
    /// Whether a further change would change the stamp: file systems have coarse clocks.
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

    /// A part of it as a body. If the file is damaged while it is sent, the body ends early, at the latest before its last piece.
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
    /// Reads a piece. If another file has replaced this one, that file is verified first and then used.
    async fn read(&mut self, piece: Range<u64>) -> io::Result<Bytes> {
        for _ in 0..MAX_CHANGES {
            let (store, digest, piece) = (self.store.clone(), self.digest, piece.clone());
            // The file is open only during the read, so that a slow client does not hold a descriptor.
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

/// The file of a blob, if it exists.
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

/// Errors if the digest `found` differs from the requested one.
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
