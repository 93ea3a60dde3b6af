//! A backup: all of a data folder in one tar file, made beside traffic; and a data folder made of it again.

mod restore;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{OpenFlags, backup::Backup};
use serde::{Deserialize, Serialize};
use tar::{Builder, EntryType, Header};

pub use self::restore::{Keys, restore};
use crate::{
    data_folder::{ENTRIES, Entry, Kind},
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
    if folder.is_file() {
        return database(tar, data, folder, aside.path());
    }
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
                database(tar, data, &entry, aside.path())?;
            }
        }
    }
}

/// Appends one database; `aside` is an empty folder for its copy. One that is taken away meanwhile is left out.
fn database(tar: &mut Builder<impl Write>, data: &Path, file: &Path, aside: &Path) -> io::Result<()> {
    let copy = aside.join("copy.sqlite");
    disk::make_private(&copy)?;
    match copy_database(file, &copy) {
        Err(_) if !file.exists() => {}
        Err(error) => return Err(io::Error::other(format!("{}: {error}", file.display()))),
        Ok(()) => {
            let name = file.strip_prefix(data).map_err(io::Error::other)?;
            tar.append_path_with_name(&copy, name)?;
        }
    }
    disk::remove(&copy).map_err(io::Error::other)
}

fn copy_database(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let from = crate::database::open_file(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // One moment of it for the whole copy: else each write meanwhile would begin the copy again, and it might never end.
    from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
    let mut to = crate::database::open_file(to, OpenFlags::default())?;
    Backup::new(&from, &mut to)?.run_to_completion(PAGES, Duration::from_millis(1), None)
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
        let database =
            crate::database::open_file(&folder.path().join("databases/acme:profiles/db.sqlite"), OpenFlags::default())
                .unwrap();
        let rows = "PRAGMA journal_mode = WAL; CREATE TABLE t (n); INSERT INTO t VALUES (7)";
        database.execute_batch(rows).unwrap();
        crate::database::open_file(&folder.path().join("state.sqlite"), OpenFlags::default())
            .unwrap()
            .execute_batch(rows)
            .unwrap();
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
        for name in ["databases/acme:profiles/db.sqlite", "state.sqlite"] {
            let database = crate::database::open_file(&to.join(name), OpenFlags::default()).unwrap();
            assert_eq!(database.query_row("SELECT n FROM t", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
        }
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
        let open = || crate::database::open_file(&database, OpenFlags::default()).unwrap();
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
                let copy =
                    crate::database::open_file(&to.join("databases/acme:profiles/db.sqlite"), OpenFlags::default())
                        .unwrap();
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
