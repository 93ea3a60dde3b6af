//! Files that are there whole or not at all, and stay when the power goes: written beside their place, synced, put into it.

use std::{
    ffi::OsStr,
    fs, io,
    io::Write,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use starlane_host::ports::StoreError;

/// The bytes of a file, if it is there.
pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Puts a file in the place of another.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    put(file, bytes, false, |beside| fs::rename(beside, file)).map_err(failed)
}

/// Writes a file that only its owner may read, where there is none. Errors with `AlreadyExists` where there is one.
pub(crate) fn write_secret(file: &Path, bytes: &[u8]) -> io::Result<()> {
    put(file, bytes, true, |beside| match fs::hard_link(beside, file) {
        // Some file systems have no links; there, what is written now is there in parts for a moment.
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            fs::remove_file(beside)?;
            fill(file, bytes, true)
        }
        linked => linked.and_then(|()| fs::remove_file(beside)),
    })
}

/// Removes a file, if it is there.
pub(crate) fn remove(file: &Path) -> Result<(), StoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Removes what a server that was killed has not put into its place, in a folder that no other server has.
pub(crate) fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            clear(&entry.path());
        } else if is_unfinished(&entry.file_name()) {
            // What can't be removed is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file of this name is still written, or was when its server was killed: it has not been put into its place.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.ends_with(".part")
}

/// An error of the disk, as stores have it.
pub(crate) fn failed(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

fn put(file: &Path, bytes: &[u8], secret: bool, into_place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    /// Two writers of one file never share a name beside it.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create(folder)?;
    let beside = folder.join(format!(".{}.{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    // What a killed process left there may be readable by others.
    let _ = fs::remove_file(&beside);
    let written = fill(&beside, bytes, secret).and_then(|()| into_place(&beside)).and_then(|()| sync(folder));
    written.inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn fill(file: &Path, bytes: &[u8], secret: bool) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if secret {
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    }
    #[cfg(not(unix))]
    let _ = secret;
    let mut file = options.open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Makes a folder and those that it lies in, each of which must say so itself.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent),
    }
}

/// Makes the names in a folder last.
#[cfg(unix)]
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Elsewhere a folder can't be synced.
#[cfg(not(unix))]
pub(crate) fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
