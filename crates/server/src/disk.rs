//! Atomic and durable files: each is written beside its place, synced, and then moved into place.
//! Only their owner can read them: folders have mode 0700 and files 0600, whatever the umask is.

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
        // Some file systems have no links; there, what is written now is there in parts for a moment.
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

/// Removes what a server that was killed has not put into its place, in a folder that no other server has.
pub(crate) fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, unfinished) = (entry.path(), is_unfinished(&entry.file_name()));
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        // What can't be removed is in nobody's way.
        match (is_folder, unfinished) {
            (true, true) => drop(fs::remove_dir_all(path)),
            (true, false) => clear(&path),
            (false, true) => drop(fs::remove_file(path)),
            (false, false) => {}
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

fn put(file: &Path, bytes: &[u8], into_place: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    /// Two writers of one file never share a name beside it.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_folder(folder)?;
    let beside = folder.join(format!(".{}.{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    // What a killed process left there may be readable by others.
    let _ = fs::remove_file(&beside);
    let written = fill(&beside, bytes).and_then(|()| into_place(&beside)).and_then(|()| sync(folder));
    written.inspect_err(|_| drop(fs::remove_file(&beside)))
}

fn fill(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = private(fs::OpenOptions::new().write(true).create_new(true)).open(file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Options with which a file that is made can be read by its owner alone.
pub(crate) fn private(options: &mut fs::OpenOptions) -> &mut fs::OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// Makes an empty file where there is none, for programs that would make it with a mode of their own: SQLite gives the files
/// beside a database the database's mode.
pub(crate) fn make_private(file: &Path) -> io::Result<()> {
    private(fs::OpenOptions::new().write(true).create(true).truncate(false)).open(file).map(drop)
}

/// Makes a folder and those that it lies in, each synced into the one above it. Does nothing where it is.
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

/// A folder that is removed when this is dropped, for work in a data folder. What a killed server leaves of it goes at the next
/// start.
pub(crate) fn temporary_folder(data: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".work.").suffix(".part");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    builder.tempdir_in(data)
}

/// Takes a file, or a folder and all in it, from everybody but its owner. Symbolic links are not followed. Errors name the file.
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

/// Elsewhere files have no modes.
#[cfg(not(unix))]
pub(crate) fn tighten(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Sets the mode of one file or folder, if it is another.
#[cfg(unix)]
pub(crate) fn set_mode(path: &Path, about: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = if about.is_dir() { 0o700 } else { 0o600 };
    match about.permissions().mode() & 0o7777 {
        same if same == mode => Ok(()),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
}

/// Elsewhere files have no modes.
#[cfg(not(unix))]
pub(crate) fn set_mode(_: &Path, _: &fs::Metadata) -> io::Result<()> {
    Ok(())
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
