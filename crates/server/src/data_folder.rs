//! The data folder: its content, its lock, and the version of its format.
//!
//! Each format has a number. Named steps migrate a folder of an older format; each step keeps the types that it reads. A folder
//! of a newer format is refused. The number is written after a step, so an interrupted step runs again.

mod v1_to_v2;

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, TryLockError},
    io::{self, Write},
    path::Path,
};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use crate::{database, disk, serve::ServeError, time::random};

/// The file that holds the format's number.
pub(crate) const FORMAT_FILE: &str = "format.json";
/// The format that this version writes.
pub(crate) const FORMAT: u32 = 2;
/// Brings a folder from one format to the next.
type Step = fn(&Path) -> Result<(), String>;
/// The steps, by name: the first brings format 1 to format 2.
const STEPS: [(&str, Step); 1] = [("v1_to_v2", v1_to_v2::run)];
/// Held while a server runs or the folder is checked.
const LOCK: &str = "lock";
/// The entry that exists while a backup is restored. While it exists, the data folder is incomplete.
pub(crate) const RESTORING: &str = ".restoring";

/// The entries of a data folder, in the order in which a backup reads them: a reference is read before its target. Apps
/// name bundles, and bundles name blobs. A named file is never removed.
pub(crate) const ENTRIES: [Entry; 11] = [
    Entry { name: FORMAT_FILE, kind: Kind::Plain },
    Entry { name: "admin.token", kind: Kind::Key },
    Entry { name: "token.key", kind: Kind::Key },
    Entry { name: "host.secret", kind: Kind::Plain },
    Entry { name: "principals.json", kind: Kind::Plain },
    Entry { name: "audit", kind: Kind::Plain },
    Entry { name: "state.sqlite", kind: Kind::Sqlite },
    Entry { name: database::FOLDER, kind: Kind::Resources },
    Entry { name: "apps", kind: Kind::Plain },
    Entry { name: "bundles", kind: Kind::Plain },
    Entry { name: "blobs", kind: Kind::Plain },
];

/// A file or folder at the top of a data folder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

/// How a backup copies an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// As it is.
    Plain,
    /// Unchanged; a restore leaves it out unless it keeps keys.
    Key,
    /// An SQLite file, copied by SQLite.
    Sqlite,
    /// The data of the resources of a kind, copied by their driver.
    Resources,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    format: u32,
    /// The version of Starlane that wrote it: for people.
    version: String,
}

/// A locked data folder. The lock ends when this is dropped.
pub(crate) struct DataFolder {
    lock: File,
}

impl DataFolder {
    /// Opens a data folder for a server: creates it if it does not exist, removes the access of other users, migrates
    /// it to the current format and removes unfinished files.
    pub(crate) fn open(data: &Path) -> Result<Self, ServeError> {
        let failed = |error: String| ServeError::Data(data.to_owned(), error);
        if let Some(name) = foreign(data).map_err(|error| failed(error.to_string()))? {
            let shown: String = name.to_string_lossy().chars().filter(|c| !c.is_control()).collect();
            return Err(failed(format!(
                "it is not empty and is not a data folder of a server (it contains `{shown}` and no host.secret): choose a new or \
                 empty folder with `--data`"
            )));
        }
        let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent)
            .and_then(|()| disk::create_folder(data))
            .map_err(|error| failed(error.to_string()))?;
        let lock = Self::lock(data)?;
        if data.join(RESTORING).exists() {
            return Err(failed(
                "a restore into it was interrupted: empty the folder and restore the backup again".into(),
            ));
        }
        let format = read_format(data).map_err(failed)?;
        tighten(data).map_err(|error| {
            failed(format!("{error}; run `chown -R` so that the folder belongs to the user that the server runs as"))
        })?;
        disk::clear(data);
        migrate(data, format).map_err(failed)?;
        Ok(lock)
    }

    /// Writes an id of this run of the server into the lock, by which [`server_id`] finds out which server has the folder.
    pub(crate) fn mark(&mut self) -> io::Result<String> {
        let id = HEXLOWER.encode(&random());
        self.lock.set_len(0)?;
        self.lock.write_all(id.as_bytes())?;
        Ok(id)
    }

    /// Locks an existing folder against other servers. Errors with `InUse` when a server uses it.
    pub(crate) fn lock(data: &Path) -> Result<Self, ServeError> {
        let failed = |error: io::Error| ServeError::Data(data.to_owned(), error.to_string());
        let mut options = File::options();
        let options = disk::private(options.create(true).truncate(false).write(true));
        let lock = options.open(data.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { lock }),
            Err(TryLockError::WouldBlock) => Err(ServeError::InUse(data.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// The id of the server that uses a data folder, which it reports as `folder` of its status; none if it can't be read.
pub fn server_id(data: &Path) -> Option<String> {
    fs::read_to_string(data.join(LOCK)).ok().filter(|id| !id.is_empty())
}

/// Whether a folder is a server's data folder.
pub(crate) fn is_data_folder(data: &Path) -> bool {
    data.join("host.secret").exists() || data.join(FORMAT_FILE).exists()
}

/// Returns an entry that shows that the folder already has other content. Returns none for an empty folder, and after
/// an interrupted first start. An operator can provide the keys.
fn foreign(data: &Path) -> io::Result<Option<OsString>> {
    if is_data_folder(data) || data.join(RESTORING).exists() {
        return Ok(None);
    }
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let is_key = ENTRIES.iter().any(|entry| entry.kind == Kind::Key && name == entry.name);
        // The root of a file system contains `lost+found`.
        if !is_key && name != LOCK && name != "lost+found" && !disk::is_unfinished(&name) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// The format of a data folder. A folder without the file has format 1. Errors say what to do when the file is damaged
/// or the format is newer.
pub(crate) fn read_format(data: &Path) -> Result<u32, String> {
    let Some(bytes) = disk::read(&data.join(FORMAT_FILE)).map_err(|error| format!("{FORMAT_FILE}: {error}"))? else {
        return Ok(1);
    };
    check_format(&bytes)
}

/// The format that a file `format.json` names.
pub(crate) fn check_format(bytes: &[u8]) -> Result<u32, String> {
    // A newer version may write more fields: the number is read alone first.
    #[derive(Deserialize)]
    struct Number {
        format: u32,
        #[serde(default)]
        version: String,
    }
    let number: Number = serde_json::from_slice(bytes)
        .map_err(|error| format!("{FORMAT_FILE} is damaged ({error}): restore the folder from a backup"))?;
    match number.format {
        1..=FORMAT => Ok(number.format),
        0 => Err(format!("{FORMAT_FILE} is damaged (format 0 does not exist): restore the folder from a backup")),
        newer => Err(format!(
            "it has format {newer}, written by Starlane {}; this version ({}) reads formats up to {FORMAT}: run the newer \
             version, or restore a backup of this version",
            number.version.chars().filter(|c| !c.is_control()).take(40).collect::<String>(),
            env!("CARGO_PKG_VERSION"),
        )),
    }
}

fn migrate(data: &Path, format: u32) -> Result<(), String> {
    let done = usize::try_from(format).unwrap_or(1).saturating_sub(1);
    let mut now = format;
    for (name, step) in STEPS.iter().skip(done) {
        step(data).map_err(|error| format!("the migration {name} failed: {error}"))?;
        now += 1;
        write_format(data, now)?;
        if data.join("host.secret").exists() {
            tracing::info!(step = name, format = now, "the data folder was migrated");
        }
    }
    Ok(())
}

fn write_format(data: &Path, format: u32) -> Result<(), String> {
    let about = Format { format, version: env!("CARGO_PKG_VERSION").to_owned() };
    let bytes = serde_json::to_vec(&about).map_err(|error| error.to_string())?;
    disk::write(&data.join(FORMAT_FILE), &bytes).map_err(|error| format!("{FORMAT_FILE}: {error}"))
}

/// Removes the access of other users to the server's files. Other files in the folder are not changed.
fn tighten(data: &Path) -> io::Result<()> {
    if let Err(error) = disk::set_mode(data, &fs::metadata(data)?) {
        // A volume that is mounted there may belong to another user; its files are private by their own modes.
        tracing::warn!(data = %data.display(), %error, "cannot set the mode of the data folder: other users can list it");
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if is_ours(&entry.file_name()) {
            disk::tighten(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name at the top of a data folder belongs to the server, or to a file beside one of the server's:
/// `state.sqlite-wal`.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let of = |entry: &str| text.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']));
    disk::is_unfinished(name) || of(LOCK) || ENTRIES.iter().any(|entry| of(entry.name))
}

/// The entry that contains a path of a data folder or of a backup.
pub(crate) fn entry_of(path: &Path) -> Option<Entry> {
    let first = path.iter().next()?;
    ENTRIES.into_iter().find(|entry| first == entry.name)
}
