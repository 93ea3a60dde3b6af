//! Restores a data folder from a backup.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use tar::{Archive, EntryType};

use super::{ABOUT, About, END, FORMAT, RestoreError};
use crate::{
    data_folder::{FORMAT_FILE, Kind, RESTORING, check_format, entry_of},
    disk,
};

/// The treatment of the keys in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keys {
    /// They are not restored, and the next start creates new ones. All earlier tokens are refused, including those that were
    /// revoked after the backup. The host keeps its name.
    #[default]
    New,
    /// They are restored. Earlier tokens are valid until they expire, even if they were revoked after the backup.
    Keep,
}

/// Restores a data folder from a backup. Returns the version of Starlane that made the backup. The folder can exist if
/// it is empty. It can be a mount point, or a symbolic link to an empty folder. Errors when the folder is not empty,
/// when the file is not a complete backup or has a newer format, and on errors of the system. After an error nothing
/// has changed.
pub fn restore(backup: &Path, data: &Path, keys: Keys) -> Result<String, RestoreError> {
    let in_data = |error| RestoreError::Io(data.to_owned(), error);
    let file = File::open(backup).map_err(|error| RestoreError::Io(backup.to_owned(), error))?;
    if !is_empty(data).map_err(in_data)? {
        return Err(RestoreError::NotEmpty(data.to_owned()));
    }
    let mut undo = Undo { made: missing(data), moved: Vec::new() };
    // The parent folders belong to the operator: only the folder itself gets a mode for its owner alone.
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).and_then(|()| disk::create_folder(data)).map_err(in_data)?;
    // It is inside the folder, and so on the same file system, even if the folder is a link or a mount point.
    let aside = data.join(RESTORING);
    undo.moved.push(aside.clone());
    disk::create_folder(&aside).map_err(in_data)?;
    let version = unpack(file, &aside, keys).map_err(|reason| RestoreError::Broken(backup.to_owned(), reason))?;
    disk::tighten(&aside).map_err(in_data)?;
    for entry in fs::read_dir(&aside).map_err(in_data)? {
        let name = entry.map_err(in_data)?.file_name();
        undo.moved.push(data.join(&name));
        fs::rename(aside.join(&name), data.join(&name)).map_err(in_data)?;
    }
    // While this folder exists, no server starts on the data folder.
    fs::remove_dir(&aside).map_err(in_data)?;
    undo.keep();
    // A mounted file system can belong to another user. The files in it are private all the same.
    let _ = fs::metadata(data).and_then(|about| disk::set_mode(data, &about));
    Ok(version)
}

/// Whether a folder is missing or empty. The root of a file system contains `lost+found`.
fn is_empty(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A symbolic link without a target is not missing, because no folder can be created in its place.
            return if folder.is_symlink() { Err(error) } else { Ok(true) };
        }
        entries => entries?,
    };
    for entry in entries {
        if entry?.file_name() != "lost+found" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The folder and those above it that are missing, innermost first.
fn missing(folder: &Path) -> Vec<PathBuf> {
    let above = folder.ancestors().filter(|above| !above.as_os_str().is_empty());
    above.take_while(|above| !above.exists()).map(Path::to_owned).collect()
}

/// Removes the restored files, unless the restore succeeds.
struct Undo {
    made: Vec<PathBuf>,
    moved: Vec<PathBuf>,
}

impl Undo {
    fn keep(mut self) {
        self.made.clear();
        self.moved.clear();
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // `RESTORING` was created first and is removed last, so that an incomplete folder stays marked.
        for path in self.moved.iter().rev() {
            let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        }
        for folder in &self.made {
            let _ = fs::remove_dir(folder);
        }
    }
}

fn unpack(backup: impl Read, folder: &Path, keys: Keys) -> Result<String, String> {
    let mut archive = Archive::new(backup);
    archive.set_mask(0o077);
    let (mut about, mut whole) = (None, false);
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        let path = entry.path().map_err(|error| error.to_string())?.into_owned();
        let lies_in = entry_of(&path);
        match path.to_str() {
            Some(ABOUT) => {
                let read: About = serde_json::from_reader(&mut entry).map_err(|error| error.to_string())?;
                if read.format != FORMAT {
                    return Err(format!("it has format {}; this version reads format {FORMAT}", read.format));
                }
                about = Some(read.version);
            }
            Some(END) => whole = true,
            _ if about.is_none() => break,
            _ if lies_in.is_none()
                || !matches!(entry.header().entry_type(), EntryType::Regular | EntryType::Directory) =>
            {
                return Err(format!("it contains {}, which does not belong in a backup", path.display()));
            }
            _ if lies_in.is_some_and(|entry| entry.kind == Kind::Key) && keys == Keys::New => {}
            _ => match entry.unpack_in(folder).map_err(|error| error.to_string())? {
                true => {}
                false => {
                    return Err(format!(
                        "it contains {}, which is a link to a place outside the backup",
                        path.display()
                    ));
                }
            },
        }
    }
    let version = about.ok_or("it does not begin as one")?;
    if !whole {
        return Err("its end is missing".to_owned());
    }
    match disk::read(&folder.join(FORMAT_FILE)).map_err(|error| error.to_string())? {
        Some(bytes) => check_format(&bytes).map(|_| version),
        // A backup of format 1, which the next start migrates.
        None => Ok(version),
    }
}
