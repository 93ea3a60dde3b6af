//! The data folder: what lies in it, who may have it, and the version of its format.
//!
//! Each format has a number. A folder of an older format is brought to the present one by named steps, each kept with the types
//! that it reads; a folder of a newer format is refused. After a step its number is written: a step that was killed runs again.

mod v1_to_v2;

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{disk, serve::ServeError};

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
/// A folder in it that is there while a backup is restored: what is beside it is not whole.
pub(crate) const RESTORING: &str = ".restoring";

/// What lies in a data folder, in the order in which a backup reads it: what refers to something before what it refers to. Apps
/// name bundles, bundles name blobs, and what is named is never taken away.
pub(crate) const ENTRIES: [Entry; 11] = [
    Entry { name: FORMAT_FILE, kind: Kind::Plain },
    Entry { name: "admin.token", kind: Kind::Key },
    Entry { name: "token.key", kind: Kind::Key },
    Entry { name: "host.secret", kind: Kind::Plain },
    Entry { name: "principals.json", kind: Kind::Plain },
    Entry { name: "audit", kind: Kind::Plain },
    Entry { name: "state.sqlite", kind: Kind::Databases },
    Entry { name: "databases", kind: Kind::Databases },
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
    /// As it is; a restore leaves it out unless it is told to keep keys.
    Key,
    /// An SQLite file, or a folder of such, each copied by SQLite.
    Databases,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Format {
    format: u32,
    /// The version of Starlane that wrote it: for people.
    version: String,
}

/// A data folder that nobody else has, for as long as this lives.
pub(crate) struct DataFolder {
    _lock: File,
}

impl DataFolder {
    /// Takes a data folder for a server: makes it where there is none, takes it from other users, brings it to the present
    /// format and removes unfinished files.
    pub(crate) fn open(data: &Path) -> Result<Self, ServeError> {
        let failed = |error: String| ServeError::Data(data.to_owned(), error);
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

    /// Keeps other servers out of a folder that is there. Errors with `InUse` when one has it.
    pub(crate) fn lock(data: &Path) -> Result<Self, ServeError> {
        let failed = |error: io::Error| ServeError::Data(data.to_owned(), error.to_string());
        let mut options = File::options();
        let options = disk::private(options.create(true).truncate(false).write(true));
        let lock = options.open(data.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(ServeError::InUse(data.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

/// The format of a data folder: 1 without the file, which later formats have. Errors say what to do when the file is damaged or
/// the format is newer.
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
            "it has format {newer}, written by Starlane {}, and this version ({}) reads formats up to {FORMAT}: run the newer \
             version, or restore a backup that this version made",
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

/// Takes what is ours from other users. A folder that holds other files too keeps them as they are.
fn tighten(data: &Path) -> io::Result<()> {
    if let Err(error) = disk::set_mode(data, &fs::metadata(data)?) {
        // A volume that is mounted there may belong to another user; its files are private by their own modes.
        tracing::warn!(data = %data.display(), %error, "other users may list the data folder: its mode can't be set");
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if is_ours(&entry.file_name()) {
            disk::tighten(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a name at the top of a data folder is of a file of ours, or of one that belongs to it: `state.sqlite-wal`.
pub(crate) fn is_ours(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let of = |entry: &str| text.strip_prefix(entry).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']));
    disk::is_unfinished(name) || of(LOCK) || ENTRIES.iter().any(|entry| of(entry.name))
}

/// The entry that a path in a data folder, or in a backup of one, lies in.
pub(crate) fn entry_of(path: &Path) -> Option<Entry> {
    let first = path.iter().next()?;
    ENTRIES.into_iter().find(|entry| first == entry.name)
}
