//! Backup and restore. A backup is one tar file with the whole data folder, made while the server runs.

mod restore;

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use starlane_host::resource::{Archive, Kept};
use tar::{Builder, EntryType, Header};

pub use self::restore::{Keys, restore};
use crate::{
    data_folder::{ENTRIES, Entry, Kind},
    database::copy,
    disk,
};

/// The first entry, which identifies the file as a backup.
const ABOUT: &str = "starlane-backup.json";
/// The last entry, which shows that the backup is complete.
const END: &str = "starlane-backup.end";
/// The version of the format.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct About {
    format: u32,
    version: String,
    created: u64,
}

/// The reason why a backup cannot be restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The folder is not empty.
    #[error("{0} already exists and is not empty: restore the backup into a new folder")]
    NotEmpty(PathBuf),
    /// It is not a backup, or not a complete one.
    #[error("{0} is not a complete backup: {1}")]
    Broken(PathBuf, String),
    /// The system refused.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

/// Writes a data folder as a tar file. A file that changes meanwhile is included in one of its states, and each database is
/// consistent. `kept` is the data of the drivers of resources.
pub(crate) fn write(data: &Path, kept: &[Kept], out: impl Write, now: u64) -> io::Result<()> {
    let mut tar = Builder::new(out);
    let about = About { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), created: now };
    add(&mut tar, ABOUT, &serde_json::to_vec(&about)?, now)?;
    for Entry { name, kind } in ENTRIES {
        let path = data.join(name);
        match kind {
            Kind::Sqlite => copy::all(data, name, &mut Tar { tar: &mut tar, now })?,
            Kind::Resources => {
                let kept = kept.iter().find(|kept| kept.name == name);
                let kept = kept.ok_or_else(|| io::Error::other(format!("no driver backs up {}", path.display())))?;
                (kept.backup)(&mut Tar { tar: &mut tar, now })?;
            }
            Kind::Plain | Kind::Key if path.exists() => append(&mut tar, &path, Path::new(name))?,
            Kind::Plain | Kind::Key => {}
        }
    }
    add(&mut tar, END, b"", now)?;
    tar.into_inner()?.flush()
}

fn add(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8], now: u64) -> io::Result<()> {
    tar.append_data(&mut header(bytes.len() as u64, now), name, bytes)
}

fn header(size: u64, now: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(now);
    header
}

/// Appends a file, or a folder and all in it. A file is moved into place when it is complete, or it only grows.
/// Unfinished files and files that are removed meanwhile are left out.
fn append(tar: &mut Builder<impl Write>, path: &Path, name: &Path) -> io::Result<()> {
    if path.is_dir() {
        tar.append_dir(name, path)?;
        let mut known = BTreeSet::new();
        // List the folder again: deleting an app writes its last revision before it removes the record.
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
            // The audit log can grow meanwhile, so only its initial length is copied.
            tar.append_data(&mut header, name, file.take(about.len()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The tar file that a backup is written to.
struct Tar<'t, W: Write> {
    tar: &'t mut Builder<W>,
    now: u64,
}

impl<W: Write> Archive for Tar<'_, W> {
    fn add(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        self.tar.append_data(&mut header(size, self.now), path, content)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use rusqlite::OpenFlags;
    use tempfile::TempDir;

    use super::*;
    use crate::database::FOLDER;

    fn write(data: &Path, out: impl Write, now: u64) -> io::Result<()> {
        let folder = data.to_owned();
        let databases = Kept { name: FOLDER, backup: Arc::new(move |archive| copy::all(&folder, FOLDER, archive)) };
        super::write(data, &[databases], out, now)
    }

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
    fn a_backup_with_resources_without_a_driver_fails() {
        let error = super::write(data().path(), &[], Vec::new(), 7).unwrap_err();
        assert!(error.to_string().starts_with("no driver backs up ") && error.to_string().ends_with(FOLDER), "{error}");
    }

    #[test]
    fn a_restored_data_folder_equals_the_original() {
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

    /// Stops the background work of a test, also when the test panics.
    struct Ending<'a>(&'a AtomicBool);

    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Creates and removes files, as publishing bundles and deleting apps do, and writes to a database.
    #[test]
    fn a_backup_during_traffic_is_complete() {
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
    fn restoring_an_incomplete_backup_leaves_nothing_behind() {
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
            (hostile.into_inner().unwrap(), "does not belong in a backup"),
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
