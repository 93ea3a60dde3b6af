//! Atomic and durable files: each is written beside its place, synced, and then moved into place.
//! Only their owner can read them: folders have mode 0700 and files 0600, with any umask.

use std::{
    ffi::OsStr,
    fs, io,
    io::Write,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use starlane_host::ports::StoreError;

/// The bytes of a file, if it exists.
pub(crate) fn read(file: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match fs::read(file) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// Replaces a file.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    put(file, bytes, |beside| fs::rename(beside, file)).map_err(failed)
}

/// Writes a new file. Errors with `AlreadyExists` if it exists.
pub(crate) fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    put(file, bytes, |beside| match fs::hard_link(beside, file) {
        // Some file systems have no hard links. There, an incomplete file is visible for a moment.
        Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied) => {
            fs::remove_file(beside)?;
            fill(file, bytes)
        }
        linked => linked.and_then(|()| fs::remove_file(beside)),
    })
}

/// Removes a file, if it exists.
pub(crate) fn remove(file: &Path) -> Result<(), StoreError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Removes the unfinished files of a killed server, in a folder that no other server uses.
pub(crate) fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, unfinished) = (entry.path(), is_unfinished(&entry.file_name()));
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // A file that cannot be removed does no harm.
        match (is_folder, unfinished) {
            (true, true) => drop(fs::remove_dir_all(path)),
            (true, false) => clear(&path),
            (false, true) => drop(fs::remove_file(path)),
            (false, false) => {}
        }
    }
}

/// Whether this is the name of an unfinished file, which is not in its place yet.
pub(crate) fn is_unfinished(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') && name.ends_with(".part")
}

/// Converts an error of the disk into a store's error.
pub(crate) fn failed(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

fn put(file: &Path, bytes: &[u8], into_place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    /// Two writers of one file never share a name beside it.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    let beside = folder.join(format!(".{}.{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    // A file that a killed process left can be readable by others.
    let _ = fs::remove_file(&beside);
    let written = fill(&beside, bytes).and_then(|()| into_place(&beside)).and_then(|()| sync(folder));
    written.inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn fill(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private(fs::OpenOptions::new().write(true).create_new(true)).open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Options that create a file for its owner only.
pub(crate) fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Creates an empty file if it does not exist, for programs that would create it with another mode: SQLite gives the
/// files beside a database the database's mode.
pub(crate) fn make_private(file: &Path) -> io::Result<()> {
    private(fs::OpenOptions::new().write(true).create(true).truncate(false)).open(file).map(drop)
}

/// Creates a folder and its parents, and syncs each into its parent. Does nothing if it exists.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(parent)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync(parent),
    }
}

/// A folder that is removed when this is dropped, for work in a data folder. After a kill, the next start removes it.
pub(crate) fn temporary_folder(data: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".work.").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(data)
}

/// Removes the access of all others than the owner to a file, or to a folder with everything in it. Symbolic links are
/// not followed. Errors name the file.
#[cfg(unix)]
pub(crate) fn tighten(path: &Path) -> io::Result<()> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("the mode of {}: {error}", path.display()));
    let about = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        about => about.map_err(told)?,
    };
    if about.is_symlink() {
        return Ok(());
    }
    set_mode(path, &about).map_err(told)?;
    if about.is_dir() {
        for entry in fs::read_dir(path).map_err(told)? {
            tighten(&entry.map_err(told)?.path())?;
        }
    }
    Ok(())
}

/// Other systems have no file modes.
#[cfg(not(unix))]
pub(crate) fn tighten(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Sets the mode of one file or folder, unless it has that mode.
#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, about: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if about.is_dir() { 0o700 } else { 0o600 };
    match about.permissions().mode() & 0o7777 {
        same if same == mode => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
}

/// Other systems have no file modes.
#[cfg(not(unix))]
pub(crate) fn set_mode(_: &Path, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Syncs the entries of a folder.
#[cfg(unix)]
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Other systems cannot sync a folder.
#[cfg(not(unix))]
pub(crate) fn sync(_: &Path) -> io::Result<()> {
    Ok(())
}
