//! The audit log: the principal, action, target, time and outcome of each change. One JSON object per line, in append-only files:
//!
//! ```text
//! DATA/audit/current.jsonl    {"time":"2026-05-01T12:00:00Z","principal":"ada","action":"app.create","target":"acme:shop","outcome":"done"}
//! DATA/audit/1.jsonl          the one before it, up to 3.jsonl
//! ```
//!
//! A change is logged on disk before it is answered. Refusals are logged too, up to a rate for each principal, so that no
//! principal can displace the changes from the files.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use starlane_protocol::{Failure, bounds::cut};

use crate::{disk, time::unix_seconds};

/// The folder in the data folder.
pub(crate) const FOLDER: &str = "audit";
const CURRENT: &str = "current.jsonl";
/// The number of files. Each has an equal share of the bytes.
const FILES: u64 = 4;
/// The maximum length of a field's text, in bytes.
const MAX_FIELD_BYTES: usize = 400;
/// The maximum number of refusals of one principal that are logged in [`WINDOW`].
const REFUSALS: u32 = 20;
const WINDOW: Duration = Duration::from_secs(60);
/// The maximum number of counted principals. Above it, counting starts again.
const COUNTED: usize = 1_000;

/// Writes the audit log. Clones share it.
#[derive(Clone)]
pub(crate) struct Audit(Arc<Mutex<Inner>>);

struct Inner {
    folder: PathBuf,
    file: File,
    length: u64,
    /// The bytes of all files together.
    most: u64,
    refusals: HashMap<String, Refusals>,
}

struct Refusals {
    since: Instant,
    noted: u32,
    suppressed: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    principal: String,
    action: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    /// `done`, or the code of the failure.
    outcome: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    /// Refusals of this principal that were not noted before this one.
    #[serde(skip_serializing_if = "is_zero")]
    suppressed: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Audit {
    /// Opens the audit log of a data folder, of at most `most` bytes.
    pub(crate) fn open(data: &Path, most: u64) -> io::Result<Self> {
        let folder = data.join(FOLDER);
        disk::create_folder(&folder)?;
        cut_unfinished(&folder.join(CURRENT))?;
        let (file, length) = open(&folder)?;
        Ok(Self(Arc::new(Mutex::new(Inner { folder, file, length, most, refusals: HashMap::new() }))))
    }

    /// Logs a change or its refusal. `target` must not contain a secret.
    pub(crate) fn note<T>(&self, principal: &str, action: &str, target: &str, result: &Result<T, Failure>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = result.as_ref().err();
        let Some(suppressed) = failure.map_or(Some(0), |_| inner.count_refusal(principal)) else { return };
        let time = DateTime::from_timestamp(i64::try_from(unix_seconds()).unwrap_or_default(), 0).unwrap_or_default();
        let line = Line {
            time: time.to_rfc3339_opts(SecondsFormat::Secs, true),
            principal: short(if principal.is_empty() { "anonymous" } else { principal }),
            action,
            target: short(target),
            outcome: short(failure.map_or("done", |failure| &failure.code)),
            message: short(failure.map_or("", |failure| &failure.message)),
            suppressed,
        };
        let written = serde_json::to_vec(&line).map_err(io::Error::other).and_then(|mut bytes| {
            bytes.push(b'\n');
            inner.append(&bytes, failure.is_none())
        });
        if let Err(error) = written {
            tracing::error!(principal, action, target, %error, "cannot write the audit log");
        }
    }

    /// The last `count` lines, oldest first.
    pub(crate) fn last(&self, count: usize) -> io::Result<Vec<serde_json::Value>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = Vec::new();
        for number in (0..FILES).rev() {
            let text = match fs::read(file_of(&inner.folder, number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes?,
            };
            lines.extend(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()));
        }
        Ok(lines.split_off(lines.len().saturating_sub(count)))
    }
}

impl Inner {
    fn append(&mut self, line: &[u8], durable: bool) -> io::Result<()> {
        let length = line.len() as u64;
        if self.length > 0 && self.length + length > self.most / FILES {
            for number in (1..FILES).rev() {
                match fs::rename(file_of(&self.folder, number - 1), file_of(&self.folder, number)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
            (self.file, self.length) = open(&self.folder)?;
        }
        self.file.write_all(line)?;
        self.length += length;
        if durable { self.file.sync_data() } else { Ok(()) }
    }

    /// The number of refusals of a principal that were not logged before this one; none if this one is not logged either.
    fn count_refusal(&mut self, principal: &str) -> Option<u64> {
        if self.refusals.len() >= COUNTED && !self.refusals.contains_key(principal) {
            self.refusals.clear();
        }
        let now = Instant::now();
        let fresh = || Refusals { since: now, noted: 0, suppressed: 0 };
        let counted = self.refusals.entry(principal.to_owned()).or_insert_with(fresh);
        let mut before = 0;
        if now.duration_since(counted.since) >= WINDOW {
            before = counted.suppressed;
            *counted = fresh();
        }
        if counted.noted >= REFUSALS {
            counted.suppressed += 1;
            return None;
        }
        counted.noted += 1;
        Some(before)
    }
}

fn open(folder: &Path) -> io::Result<(File, u64)> {
    let mut options = fs::OpenOptions::new();
    let file = disk::private(options.append(true).create(true)).open(folder.join(CURRENT))?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Removes the part of a line that a killed server left.
fn cut_unfinished(file: &Path) -> io::Result<()> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        bytes => bytes?,
    };
    match bytes.rsplit(|byte| *byte == b'\n').next() {
        Some([]) | None => Ok(()),
        Some(unfinished) => {
            let whole = (bytes.len() - unfinished.len()) as u64;
            fs::OpenOptions::new().write(true).open(file)?.set_len(whole)
        }
    }
}

fn file_of(folder: &Path, number: u64) -> PathBuf {
    if number == 0 { folder.join(CURRENT) } else { folder.join(format!("{number}.jsonl")) }
}

/// A text for a line, cut if it is too long. The line gives the number of cut bytes.
fn short(text: &str) -> String {
    cut(text.to_owned(), MAX_FIELD_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done() -> Result<(), Failure> {
        Ok(())
    }

    #[test]
    fn changes_and_refusals_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), 1 << 20).unwrap();
        audit.note("ada", "app.create", "acme:shop", &done());
        audit.note("", "token.create", "eve\n", &Err::<(), _>(Failure::no_grant("no")));
        drop(audit);
        let half = fs::OpenOptions::new().append(true).open(folder.path().join("audit/current.jsonl"));
        half.unwrap().write_all(b"{\"time\":").unwrap();
        let audit = Audit::open(folder.path(), 1 << 20).unwrap();
        audit.note("ada", "app.delete", "acme:shop", &done());
        let lines = audit.last(10).unwrap();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!((&lines[0]["principal"], &lines[0]["outcome"]), (&"ada".into(), &"done".into()));
        assert_eq!((&lines[1]["principal"], &lines[1]["outcome"]), (&"anonymous".into(), &"no-grant".into()));
        assert_eq!(audit.last(1).unwrap()[0]["action"], "app.delete");
    }

    #[test]
    fn the_log_keeps_its_size_and_refusals_displace_no_changes() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), 40_000).unwrap();
        audit.note("ada", "app.create", "acme:first", &done());
        let long = "x".repeat(10_000);
        for _ in 0..10_000 {
            audit.note("eve", "token.create", &long, &Err::<(), _>(Failure::no_grant(long.clone())));
        }
        let lines = audit.last(1_000).unwrap();
        assert_eq!(lines.len(), 1 + REFUSALS as usize);
        let target = lines[1]["target"].as_str().unwrap();
        assert!(target.len() <= MAX_FIELD_BYTES && target.ends_with("bytes cut)"), "{target}");
        for n in 0..2_000 {
            audit.note("ada", "app.create", &n.to_string(), &done());
        }
        let size: u64 = fs::read_dir(folder.path().join("audit"))
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .sum();
        assert!((20_000..=40_000).contains(&size), "{size}");
        assert_eq!(audit.last(1).unwrap()[0]["target"], "1999");
    }
}
