//! Checks databases with SQLite's own integrity check, which reads every page.

use std::{fs, path::Path, sync::atomic::Ordering::Relaxed};

use rusqlite::OpenFlags;

use super::Check;
use crate::data_folder;

/// The maximum number of SQLite's messages about one database.
const REMARKS: usize = 20;

pub(super) fn check(check: &mut Check<'_>) {
    for entry in check.list(check.data) {
        if entry.file_name().is_some_and(|name| data_folder::is_ours(name) && name != "blobs" && name != "bundles") {
            below(check, &entry);
        }
    }
}

fn below(check: &mut Check<'_>, path: &Path) {
    if path.is_dir() {
        for entry in check.list(path) {
            below(check, &entry);
        }
    } else if path.extension().is_some_and(|extension| extension == "sqlite") {
        database(check, path);
    }
}

fn database(check: &mut Check<'_>, file: &Path) {
    check.report.databases += 1;
    check.seen.fetch_add(1, Relaxed);
    check.report.bytes += fs::metadata(file).map_or(0, |about| about.len());
    let mend = "stop the server; restore the file from a backup, or save what is left with `sqlite3 FILE .recover`";
    match remarks(file) {
        Ok(remarks) => {
            let shown: Vec<&str> = remarks.iter().map(String::as_str).filter(|remark| *remark != "ok").collect();
            if !shown.is_empty() {
                check.problem(file, shown.join("; "), mend);
            }
        }
        // An upgrade removed it meanwhile.
        Err(_) if !file.exists() => {}
        Err(error) => check.problem(file, error.to_string(), mend),
    }
}

fn remarks(file: &Path) -> rusqlite::Result<Vec<String>> {
    // Reading a database with a write-ahead log requires write access to its shared-memory file.
    let connection = crate::database::open_file(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({REMARKS})"))?;
    let remarks = statement.query_map([], |row| row.get(0))?;
    remarks.collect()
}
