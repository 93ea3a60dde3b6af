//! Copies of SQLite files, made by SQLite itself, so that each copy is consistent despite concurrent writes.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{OpenFlags, backup::Backup};
use starlane_host::resource::Archive;

use super::open_file;
use crate::disk;

/// The number of pages copied at a time. Other work can use the disk between two copies.
const PAGES: i32 = 256;

/// Adds an SQLite file of the data folder to an archive, or all such files of a folder. Does nothing if it does not exist.
pub(crate) fn all(data: &Path, name: &str, archive: &mut dyn Archive) -> io::Result<()> {
    let path = data.join(name);
    if !path.exists() {
        return Ok(());
    }
    let aside = disk::temporary_folder(data)?;
    below(data, &path, aside.path(), archive)
}

fn below(data: &Path, path: &Path, aside: &Path, archive: &mut dyn Archive) -> io::Result<()> {
    if path.is_file() {
        return one(data, path, aside, archive);
    }
    let mut known = BTreeSet::new();
    // Include files that appear meanwhile: an upgrade creates a new file before it removes the old one.
    loop {
        let found = fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path()));
        let found: Vec<PathBuf> = found.collect::<io::Result<_>>()?;
        let new: Vec<PathBuf> = found.into_iter().filter(|entry| known.insert(entry.clone())).collect();
        if new.is_empty() {
            return Ok(());
        }
        for entry in new {
            if entry.is_dir() || entry.extension().is_some_and(|extension| extension == "sqlite") {
                below(data, &entry, aside, archive)?;
            }
        }
    }
}

/// Adds one file. `aside` is an empty folder for its copy. Skips a file that is removed meanwhile.
fn one(data: &Path, file: &Path, aside: &Path, archive: &mut dyn Archive) -> io::Result<()> {
    let copy = aside.join("copy.sqlite");
    disk::make_private(&copy)?;
    match copy_file(file, &copy) {
        Err(_) if !file.exists() => {}
        Err(error) => return Err(io::Error::other(format!("{}: {error}", file.display()))),
        Ok(()) => {
            let name = file.strip_prefix(data).map_err(io::Error::other)?;
            let name = name.to_str().ok_or_else(|| io::Error::other(format!("{} is not UTF-8", name.display())))?;
            let mut copied = File::open(&copy)?;
            archive.add(name, copied.metadata()?.len(), &mut copied)?;
        }
    }
    disk::remove(&copy).map_err(io::Error::other)
}

fn copy_file(from: &Path, to: &Path) -> rusqlite::Result<()> {
    let from = open_file(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // A read transaction for the whole copy: otherwise each write would restart the copy, and it might never end.
    from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
    let mut to = open_file(to, OpenFlags::default())?;
    Backup::new(&from, &mut to)?.run_to_completion(PAGES, Duration::from_millis(1), None)
}
