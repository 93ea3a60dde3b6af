//! A backup: all of a data folder in one tar file, made beside traffic; and a data folder made of it again.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, backup::Backup};
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use crate::{
    data_folder::{ENTRIES, Entry, FORMAT_FILE, Kind, RESTORING, check_format, entry_of},
    disk,
};

/// The first entry: what this is.
const ABOUT: &str = "starlane-backup.json";
/// The last entry: that nothing is missing.
const END: &str = "starlane-backup.end";
/// The version of the format.
const FORMAT: u32 = 1;
/// Pages of a database that are copied at a time; between them others get at the disk.
const PAGES: i32 = 256;

#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    version: String,
    created: u64,
}

/// Why a backup can't be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// There is something already.
    #[error("{0} is there already and not empty: a backup is restored into a new folder")]
    NotEmpty(PathBuf),
    /// It is not a backup, or not a whole one.
    #[error("{0} is not a whole backup: {1}")]
    Broken(PathBuf, String),
    /// The system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

/// Writes a data folder as a tar file. What changes meanwhile is in it as it was at some moment, each database whole.
pub(crate) fn write(data: &Path, out: impl Write, now: u64) -> io::Result<()> {
    let mut tar = Builder::new(out);
    let about = About { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), created: now };
    add(&mut tar, ABOUT, &serde_json::to_vec(&about)?, now)?;
    for Entry { name, kind } in ENTRIES {
        let path = data.join(name);
        match kind {
            Kind::Databases => databases(&mut tar, data, &path)?,
            Kind::Plain | Kind::Key if path.exists() => append(&mut tar, &path, Path::new(name))?,
            Kind::Plain | Kind::Key => {}
        }
    }
    add(&mut tar, END, b"", now)?;
    tar.into_inner()?.flush()
}

fn add(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8], now: u64) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(now);
    tar.append_data(&mut header, name, bytes)
}

/// Appends a file, or a folder and all in it. A file is only ever put into its place whole, or grows; what is still written beside
/// its place is left out, and so is what is removed meanwhile.
fn append(tar: &mut Builder<impl Write>, path: &Path, name: &Path) -> io::Result<()> {
    if path.is_dir() {
        tar.append_dir(name, path)?;
        let mut known = BTreeSet::new();
        // What came meanwhile too: an app that is deleted leaves its revision behind before its record goes.
        loop {
            let found = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.file_name()));
            let found: Vec<OsString> = found.collect::<io::Result<_>>()?;
            let new = found.into_iter().filter(|entry| !disk::is_unfinished(entry) && !known.contains(entry));
            let new: Vec<OsString> = new.collect();
            if new.is_empty() {
                return Ok(());
            }
            for entry in new {
                append(tar, &path.join(&entry), &name.join(&entry))?;
                known.insert(entry);
            }
        }
    }
    match File::open(path) {
        Ok(file) => {
            let about = file.metadata()?;
            let mut header = Header::new_gnu();
            header.set_metadata(&about);
            // The audit log grows meanwhile: it is copied as long as it was.
            tar.append_data(&mut header, name, file.take(about.len()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// A database is copied by SQLite itself: the copy is whole, whatever is written meanwhile.
fn databases(tar: &mut Builder<impl Write>, data: &Path, folder: &Path) -> io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let aside = disk::temporary_folder(data)?;
    let mut known = BTreeSet::new();
    // What came meanwhile too: an upgrade makes a new file, and then takes the old one away.
    loop {
        let found = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
        let found: Vec<PathBuf> = found.collect::<io::Result<_>>()?;
        let new: Vec<PathBuf> = found.into_iter().filter(|entry| known.insert(entry.clone())).collect();
        if new.is_empty() {
            return Ok(());
        }
        for entry in new {
            if entry.is_dir() {
                databases(tar, data, &entry)?;
            } else if entry.extension().is_some_and(|extension| extension == "sqlite") {
                let copy = aside.path().join("copy.sqlite");
                disk::make_private(&copy)?;
                match copy_database(&entry, &copy) {
                    Err(_) if !entry.exists() => {}
                    Err(error) => return Err(io::Error::other(format!("{}: {error}", entry.display()))),
                    Ok(()) => {
                        let name = entry.strip_prefix(data).map_err(io::Error::other)?;
                        tar.append_path_with_name(&copy, name)?;
                    }
                }
                disk::remove(&copy).map_err(io::Error::other)?;
            }
        }
    }
}

fn copy_database(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let from = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // One moment of it for the whole copy: else each write meanwhile would begin the copy again, and it might never end.
    from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
    let mut to = Connection::open(to)?;
    Backup::new(&from, &mut to)?.run_to_completion(PAGES, Duration::from_millis(1), None)
}

/// What is done with the keys of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keys {
    /// They are left out, and the next start makes new ones: tokens that were made before are refused, those among them that
    /// were revoked after the backup too. The host keeps its name.
    #[default]
    New,
    /// They are restored: tokens that were made before are good until they end, even if they were revoked after the backup.
    Keep,
}

/// Makes a data folder of a backup; returns the version that made it. The folder may be there, if it is empty, and may be a
/// symbolic link to one or a mount point. Errors when the folder is not empty, when the file is not a whole backup or of a
/// newer format, and when the system refuses; then everything is as it was before.
pub fn restore(backup: &Path, data: &Path, keys: Keys) -> Result<String, RestoreError> {
    let in_data = |error| RestoreError::Io(data.to_owned(), error);
    let file = File::open(backup).map_err(|error| RestoreError::Io(backup.to_owned(), error))?;
    if !is_empty(data).map_err(in_data)? {
        return Err(RestoreError::NotEmpty(data.to_owned()));
    }
    let mut undo = Undo { made: missing(data), moved: Vec::new() };
    // The parents are the operator's: only the folder itself is made for its owner alone.
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).and_then(|()| disk::create_folder(data)).map_err(in_data)?;
    // Inside of it, and so on the same file system, whatever the folder is.
    let aside = data.join(RESTORING);
    undo.moved.push(aside.clone());
    disk::create_folder(&aside).map_err(in_data)?;
    let version = unpack(file, &aside, keys).map_err(|reason| RestoreError::Broken(backup.to_owned(), reason))?;
    disk::tighten(&aside).map_err(in_data)?;
    for entry in fs::read_dir(&aside).map_err(in_data)? {
        let name = entry.map_err(in_data)?.file_name();
        undo.moved.push(data.join(&name));
        fs::rename(aside.join(&name), data.join(&name)).map_err(in_data)?;
    }
    // While it is there, no server starts on what is beside it.
    fs::remove_dir(&aside).map_err(in_data)?;
    undo.keep();
    // A mounted file system may belong to another user; what is in it is private all the same.
    let _ = fs::metadata(data).and_then(|about| disk::set_mode(data, &about));
    Ok(version)
}

/// Whether a folder is missing or empty. The top of a file system has a folder of its own in it.
fn is_empty(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A symbolic link to nothing is not missing: nothing can be made in its place.
            return if folder.is_symlink() { Err(error) } else { Ok(true) };
        }
        entries => entries?,
    };
    for entry in entries {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The folder and those above it that are missing, innermost first.
fn missing(folder: &Path) -> Vec<PathBuf> {
    let above = folder.ancestors().filter(|above| !above.as_os_str().is_empty());
    above.take_while(|above| !above.exists()).map(Path::to_owned).collect()
}

/// Removes what a restore made, unless it is kept.
struct Undo {
    made: Vec<PathBuf>,
    moved: Vec<PathBuf>,
}

impl Undo {
    fn keep(mut self) {
        self.made.clear();
        self.moved.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // What marks the folder as not whole is the first, and goes last.
        for path in self.moved.iter().rev() {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        for folder in &self.made {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn unpack(backup: impl Read, folder: &Path, keys: Keys) -> Result<String, String> {
    let mut archive = Archive::new(backup);
    archive.set_mask(0o077);
    let (mut about, mut whole) = (None, false);
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let path = entry.path().map_err(|error| error.to_string())?.into_owned();
        let lies_in = entry_of(&path);
        match path.to_str() {
            Some(ABOUT) => {
                let read: About = serde_json::from_reader(&mut entry).map_err(|error| error.to_string())?;
                if read.format != FORMAT {
                    return Err(format!("it is of format {}, and this version reads {FORMAT}", read.format));
                }
                about = Some(read.version);
            }
            Some(END) => whole = true,
            _ if about.is_none() => break,
            _ if lies_in.is_none()
                || !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Directory) =>
            {
                return Err(format!("it holds {}, which no backup does", path.display()));
            }
            _ if lies_in.is_some_and(|entry| entry.kind == Kind::Key) && keys == Keys::New => {}
            _ => match entry.unpack_in(folder).map_err(|error| error.to_string())? {
                true => {}
                false => return Err(format!("it holds {}, which leads elsewhere", path.display())),
            },
        }
    }
    let version = about.ok_or("it does not begin as one")?;
    if !whole {
        return Err("its end is missing".to_owned());
    }
    match disk::read(&folder.join(FORMAT_FILE)).map_err(|error| error.to_string())? {
        Some(bytes) => check_format(&bytes).map(|_| version),
        // Of the first format, which the next start migrates.
        None => Ok(version),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use tempfile::TempDir;

    use super::*;

    fn data() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        };
        write("admin.token", "secret");
        write("apps/acme:profiles.json", "{}");
        write("blobs/ab/abcd", "blob");
        write("something-else", "not ours");
        fs::create_dir_all(folder.path().join("databases/acme:profiles")).unwrap();
        let database = Connection::open(folder.path().join("databases/acme:profiles/db.sqlite")).unwrap();
        database.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES (7)").unwrap();
        folder
    }

    #[test]
    fn a_data_folder_comes_back_as_it_was() {
        let (folder, new) = (data(), tempfile::tempdir().unwrap());
        let file = new.path().join("backup.tar");
        write(folder.path(), File::create(&file).unwrap(), 7).unwrap();
        let to = new.path().join("data");
        assert_eq!(restore(&file, &to, Keys::Keep).unwrap(), env!("CARGO_PKG_VERSION"));
        assert_eq!(fs::read_to_string(to.join("blobs/ab/abcd")).unwrap(), "blob");
        assert!(!to.join("something-else").exists());
        let database = Connection::open(to.join("databases/acme:profiles/db.sqlite")).unwrap();
        assert_eq!(database.query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
        assert!(matches!(restore(&file, &to, Keys::Keep), Err(RestoreError::NotEmpty(_))));
    }

    /// Ends what goes on beside a test, however that ends.
    struct Ending<'a>(&'a AtomicBool);

    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Files come and go, as they do while bundles are published and apps deleted, and a database is written to.
    #[test]
    fn a_backup_beside_traffic_is_whole() {
        const ROWS: i64 = 4_000;
        let (folder, new) = (data(), tempfile::tempdir().unwrap());
        let database = folder.path().join("databases/acme:profiles/db.sqlite");
        let open = || Connection::open(&database).unwrap();
        open()
            .execute_batch(&format!(
                "CREATE TABLE large (b); WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) \
                 INSERT INTO large SELECT randomblob(1000) FROM n"
            ))
            .unwrap();
        let done = AtomicBool::new(false);
        let goes_on = || !done.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            let _ending = Ending(&done);
            scope.spawn(|| {
                let database = open();
                while goes_on() {
                    database.execute_batch("INSERT INTO t VALUES (8)").unwrap();
                }
            });
            scope.spawn(|| {
                let (app, blob) = (folder.path().join("apps/acme:other.json"), folder.path().join("blobs/ab/abce"));
                while goes_on() {
                    disk::write(&app, b"{}").unwrap();
                    disk::write(&blob, &[7; 300_000]).unwrap();
                    disk::remove(&app).unwrap();
                }
            });
            for round in 0..20 {
                let (file, to) = (new.path().join("backup.tar"), new.path().join(format!("data-{round}")));
                write(folder.path(), File::create(&file).unwrap(), 7).unwrap();
                restore(&file, &to, Keys::Keep).unwrap();
                let copy = Connection::open(to.join("databases/acme:profiles/db.sqlite")).unwrap();
                let rows = copy.query_row("SELECT count(*) FROM large", [], |row| row.get::<_, i64>(0));
                assert_eq!(rows.unwrap(), ROWS);
                let names = fs::read_dir(to.join("blobs/ab")).unwrap().map(|entry| entry.unwrap().file_name());
                assert!(names.into_iter().all(|name| !disk::is_unfinished(&name)));
            }
        });
    }

    #[test]
    fn what_is_no_whole_backup_leaves_nothing_behind() {
        let (folder, new) = (data(), tempfile::tempdir().unwrap());
        let mut whole = Vec::new();
        write(folder.path(), &mut whole, 7).unwrap();
        let mut hostile = Builder::new(Vec::new());
        let about = About { format: FORMAT, version: String::new(), created: 0 };
        add(&mut hostile, ABOUT, &serde_json::to_vec(&about).unwrap(), 0).unwrap();
        add(&mut hostile, "elsewhere", b"x", 0).unwrap();
        let cut = whole[..whole.len() / 2].to_vec();
        for (bytes, says) in [
            (cut, ""),
            (b"no tar at all".to_vec(), ""),
            (Vec::new(), "does not begin"),
            (hostile.into_inner().unwrap(), "which no backup does"),
        ] {
            let file = new.path().join("backup.tar");
            fs::write(&file, bytes).unwrap();
            let error = restore(&file, &new.path().join("data"), Keys::Keep).unwrap_err();
            assert!(matches!(error, RestoreError::Broken(..)) && error.to_string().contains(says), "{error}");
            assert!(!new.path().join("data").exists());
        }
        let left: Vec<_> = fs::read_dir(new.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
    }
}
