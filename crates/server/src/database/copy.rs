//! Copies of SQLite files, made by SQLite itself: each is whole, whatever is written meanwhile.

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

/// Pages of a database that are copied at a time; between them others get at the disk.
const PAGES: i32 = 256;

/// Adds an SQLite file of the data folder to an archive, or all such files of a folder in it; nothing if it is not there.
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
    // What came meanwhile too: an upgrade makes a new file, and then takes the old one away.
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

/// Adds one file; `aside` is an empty folder for its copy. One that is taken away meanwhile is left out.
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
    // One moment of it for the whole copy: else each write meanwhile would begin the copy again, and it might never end.
    from.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
    let mut to = open_file(to, OpenFlags::default())?;
    Backup::new(&from, &mut to)?.run_to_completion(PAGES, Duration::from_millis(1), None)
}
