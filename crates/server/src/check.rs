//! Checks a data folder: every digest, every reference, every database and every readable file. Each problem comes with
//! a remedy. The check changes nothing, except that SQLite applies a write-ahead log that a killed server left.

mod databases;
mod repository;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde::{Deserialize, Serialize};

use crate::{
    audit, auth,
    data_folder::{self, DataFolder},
    disk,
    serve::ServeError,
};

/// The maximum number of listed problems. Further ones are only counted.
const LISTED: usize = 1_000;

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckReport {
    /// The format of the data folder.
    pub format: u32,
    /// The number of checked files.
    pub files: u64,
    /// The number of bytes read.
    pub bytes: u64,
    /// The number of checked bundles.
    pub bundles: u64,
    /// The number of checked apps.
    pub apps: u64,
    /// The number of checked databases.
    pub databases: u64,
    /// The number of uploaded files that no bundle names. The server removes them after the grace time.
    pub unnamed: u64,
    /// The problems that were found.
    pub problems: Vec<Problem>,
    /// Problems that are not listed, because there are too many.
    pub unlisted: u64,
}

/// A problem and its remedy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The file or folder, in the data folder.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do.
    pub mend: String,
}

impl CheckReport {
    /// Whether there is no problem.
    pub fn is_good(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks a data folder that no server uses, and keeps servers out meanwhile. Errors when the folder does not exist,
/// and with [`ServeError::InUse`] when a server uses it: then ask that server to check.
pub fn check(data: &Path) -> Result<CheckReport, ServeError> {
    let failed = |error: String| ServeError::Data(data.to_owned(), error);
    if !data.is_dir() {
        return Err(failed("the folder does not exist".into()));
    }
    if !data_folder::is_data_folder(data) {
        return Err(failed("it is not a data folder of a server: it has no host.secret".into()));
    }
    let _lock = DataFolder::lock(data)?;
    Ok(run(data, &Arc::default()))
}

/// Checks a data folder, which a running server can be using. `seen` counts the checked files.
pub(crate) fn run(data: &Path, seen: &Arc<AtomicU64>) -> CheckReport {
    let mut check =
        Check { data, report: CheckReport::default(), seen: Arc::clone(seen), apps: false, principals: false };
    match data_folder::read_format(data) {
        Ok(format) => check.report.format = format,
        Err(error) => {
            check.problem(&data.join(data_folder::FORMAT_FILE), error, "run the version that wrote the folder");
            // The content of a newer format is not known to this version.
            return check.report;
        }
    }
    if data.join(data_folder::RESTORING).exists() {
        let mend = "empty the folder and restore the backup again";
        check.problem(&data.join(data_folder::RESTORING), "a restore was interrupted", mend);
    }
    check.modes(data);
    check.keys();
    check.audit();
    repository::check(&mut check);
    databases::check(&mut check);
    check.principals();
    check.always_there();
    let report = &mut check.report;
    report.files = seen.load(Relaxed);
    report.unlisted = (report.problems.len().saturating_sub(LISTED)) as u64;
    report.problems.truncate(LISTED);
    check.report
}

struct Check<'a> {
    data: &'a Path,
    report: CheckReport,
    seen: Arc<AtomicU64>,
    /// Whether there are records of apps, which only a running server creates.
    apps: bool,
    /// Whether the audit log or an app's record shows that principals had tokens or grants.
    principals: bool,
}

impl Check<'_> {
    fn problem(&mut self, path: &Path, problem: impl Into<String>, mend: impl Into<String>) {
        let path = path.strip_prefix(self.data).unwrap_or(path).display().to_string();
        self.report.problems.push(Problem { path, problem: problem.into(), mend: mend.into() });
    }

    /// Returns the bytes of a file. Returns none if it does not exist, and none with a problem if it cannot be read.
    fn read(&mut self, file: &Path) -> Option<Vec<u8>> {
        match disk::read(file) {
            Ok(bytes) => {
                let bytes = bytes?;
                self.seen.fetch_add(1, Relaxed);
                self.report.bytes += bytes.len() as u64;
                Some(bytes)
            }
            Err(error) => {
                self.unreadable(file, &error);
                None
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &dyn std::fmt::Display) {
        let mend = "check the disk and the folder's owner; restore a backup if the disk is damaged";
        self.problem(path, format!("it can't be read: {error}"), mend);
    }

    /// The entries of a folder, sorted by name; empty if the folder does not exist.
    fn list(&mut self, folder: &Path) -> Vec<PathBuf> {
        let listed = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            listed => listed.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()),
        };
        match listed {
            Ok(mut entries) => {
                // Unfinished files are not in place yet.
                entries.retain(|entry| !entry.file_name().is_some_and(disk::is_unfinished));
                entries.sort();
                entries
            }
            Err(error) => {
                self.unreadable(folder, &error);
                Vec::new()
            }
        }
    }

    /// Checks that only the owner can read the files below a path.
    fn modes(&mut self, path: &Path) {
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let is_top = path == self.data;
            let about = if is_top { fs::metadata(path) } else { fs::symlink_metadata(path) };
            // The file can have been removed meanwhile.
            let Ok(about) = about else { return };
            let mode = about.permissions().mode() & 0o777;
            if !about.is_symlink() && mode & 0o077 != 0 {
                let mend = "start the server once to fix the mode, or run `chmod -R go= DATA`";
                self.problem(path, format!("other users can access it: its mode is {mode:03o}"), mend);
            }
            if about.is_dir() {
                for entry in self.list(path) {
                    let ours = !is_top || entry.file_name().is_some_and(data_folder::is_ours);
                    if ours {
                        self.modes(&entry);
                    }
                }
            }
        }
        #[cfg(not(unix))]
        let _ = path;
    }

    fn keys(&mut self) {
        let new = "delete it, and the next start creates a new one";
        for (name, mend) in [
            ("admin.token", new.to_owned()),
            ("token.key", format!("{new}; tokens made before are refused then")),
            ("host.secret", "restore it from a backup; deleted, the next start gives the host another name".to_owned()),
        ] {
            let file = self.data.join(name);
            match self.read(&file) {
                Some(bytes) if !auth::is_secret(name, &bytes) => self.problem(&file, "it does not contain a key", mend),
                Some(_) => {}
                // A restored folder has no keys yet.
                None if name == "host.secret" && !file.exists() => self.problem(&file, "it is missing", mend),
                None => {}
            }
        }
    }

    fn principals(&mut self) {
        let file = self.data.join("principals.json");
        let Some(bytes) = self.read(&file) else {
            if self.principals && !file.exists() {
                let problem = "it is missing, although principals had tokens or grants: revocations are forgotten, and \
                               a server for this machine only lets anybody in";
                self.problem(
                    &file,
                    problem,
                    "restore it from a backup; or delete token.key, and give the grants again",
                );
            }
            return;
        };
        // An older format is read by its migration.
        if self.report.format == data_folder::FORMAT {
            for problem in auth::faults_of_registry(&bytes) {
                self.problem(
                    &file,
                    problem,
                    "remove the grant with `starlane grant`, or restore the file from a backup",
                );
            }
        }
    }

    /// Checks that the files exist that every server creates at its first start.
    fn always_there(&mut self) {
        // Without an app they can be missing: after the restore of another version's backup, or after an interrupted
        // first start.
        if !self.apps || self.report.format != data_folder::FORMAT {
            return;
        }
        let mend = "restore it from a backup; the next start makes an empty one";
        // When the log starts a new file, only `audit/1.jsonl` exists for a moment.
        for (name, or) in [("audit/current.jsonl", "audit/1.jsonl"), ("state.sqlite", "state.sqlite")] {
            if ![name, or].iter().any(|name| self.data.join(name).exists()) {
                self.problem(&self.data.join(name), "it is missing", mend);
            }
        }
    }

    fn audit(&mut self) {
        for file in self.list(&self.data.join(audit::FOLDER)) {
            let Some(bytes) = self.read(&file) else { continue };
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let mut broken = 0;
            for line in lines {
                match serde_json::from_slice::<serde_json::Value>(line) {
                    Ok(line) => self.principals |= changed_principals(&line),
                    Err(_) => broken += 1,
                }
            }
            // The server can be writing the last line at this moment.
            let broken = usize::saturating_sub(broken, usize::from(!bytes.ends_with(b"\n")));
            if broken > 0 {
                let mend = "the log was damaged or changed: compare it with a backup, and move the file away";
                self.problem(&file, format!("{broken} lines can't be read"), mend);
            }
        }
    }
}

/// Whether a line of the audit log reports a change of a token or a grant.
fn changed_principals(line: &serde_json::Value) -> bool {
    let field = |name: &str| line.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    field("outcome") == "done" && ["token.", "grant."].iter().any(|kind| field("action").starts_with(kind))
}
