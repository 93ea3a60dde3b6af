//! Chooses the current file of a database. A migration creates a new file beside the old one. Its name contains the
//! app's new revision:
//!
//! ```text
//! databases/acme:profiles/db.sqlite      written by versions without such names
//! databases/acme:profiles/db.12.sqlite   made for revision 12
//! ```
//!
//! The current file is the newest one that is not newer than the app's record. So writing the record switches the
//! schema. After a kill at any moment, the server finds the old version or the new one.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    path::{Path, PathBuf},
};

/// The file of a database for a revision; revision 0 is the name without a number.
pub(super) fn file(folder: &Path, name: &str, revision: u64) -> PathBuf {
    match revision {
        0 => folder.join(format!("{name}.sqlite")),
        revision => folder.join(format!("{name}.{revision}.sqlite")),
    }
}

/// The temporary file of a migration. An existing one was left by a killed server.
pub(super) fn unfinished(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!(".{name}.sqlite.part"))
}

/// The current file at a revision of the app, if there is one.
pub(super) fn current(folder: &Path, name: &str, revision: u64) -> io::Result<Option<PathBuf>> {
    let files = files(folder)?;
    let newest = files.iter().filter(|(of, at)| of == name && *at <= revision).map(|(_, at)| *at).max();
    Ok(newest.map(|at| file(folder, name, at)))
}

/// Removes the files in an app's folder that are not current at a revision: those of earlier schemas, and those of
/// changes that never took effect. A later revision must not find the latter.
pub(super) fn clear(folder: &Path, revision: u64) -> io::Result<()> {
    for entry in entries(folder)? {
        // Its journal is useless without it.
        if entry.to_str().is_some_and(|name| name.starts_with('.') && name.contains(".part")) {
            remove_one(&folder.join(entry))?;
        }
    }
    let files = files(folder)?;
    for (name, of) in &files {
        let newest = files.iter().filter(|(other, of)| other == name && *of <= revision).map(|(_, of)| *of).max();
        if newest != Some(*of) {
            remove(&file(folder, name, *of))?;
        }
    }
    Ok(())
}

/// Removes all files of a database, and the folder if no other database is in it.
pub(super) fn remove_all(folder: &Path, name: &str) -> io::Result<()> {
    for (_, revision) in files(folder)?.iter().filter(|(of, _)| of == name) {
        remove(&file(folder, name, *revision))?;
    }
    match fs::remove_dir(folder) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => Err(error),
        _ => Ok(()),
    }
}

/// Removes a database's file, and SQLite's files beside it.
pub(super) fn remove(file: &Path) -> io::Result<()> {
    for beside in ["", "-journal", "-wal", "-shm"] {
        let mut path = file.as_os_str().to_owned();
        path.push(beside);
        remove_one(Path::new(&path))?;
    }
    Ok(())
}

fn remove_one(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The names and revisions of the databases in a folder. Other files are ignored.
fn files(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    Ok(entries(folder)?.iter().filter_map(|name| parse(name)).collect())
}

fn entries(folder: &Path) -> io::Result<Vec<OsString>> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| entry.map(|entry| entry.file_name())).collect(),
    }
}

/// `db.12.sqlite` is the file of `db` at revision 12. Names of resources have no dot, so the name is unambiguous.
fn parse(file: &OsStr) -> Option<(String, u64)> {
    let stem = file.to_str()?.strip_suffix(".sqlite")?;
    match stem.split_once('.') {
        None => Some((stem.to_owned(), 0)),
        Some((name, digits)) => {
            let revision: u64 = digits.parse().ok()?;
            (revision > 0 && !name.is_empty() && digits == revision.to_string()).then(|| (name.to_owned(), revision))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_file_that_is_not_newer_than_the_record_is_current() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert_eq!(current(folder, "db", 9).unwrap(), None);
        let names = [
            "db.sqlite",
            "db.2.sqlite",
            "db.5.sqlite",
            "db.5.sqlite-wal",
            "db.x.sqlite",
            "db.07.sqlite",
            "dbs.sqlite",
            "dbs.9.sqlite",
        ];
        for name in names {
            fs::write(folder.join(name), "").unwrap();
        }
        for (revision, name) in [(1, "db.sqlite"), (2, "db.2.sqlite"), (4, "db.2.sqlite"), (9, "db.5.sqlite")] {
            assert_eq!(current(folder, "db", revision).unwrap(), Some(folder.join(name)));
        }
        fs::write(folder.join(".db.sqlite.part-journal"), "").unwrap();
        clear(folder, 4).unwrap();
        let mut left: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["db.07.sqlite", "db.2.sqlite", "db.x.sqlite", "dbs.sqlite"]);
        assert_eq!(current(&folder.join("nowhere"), "db", 1).unwrap(), None);
    }
}
