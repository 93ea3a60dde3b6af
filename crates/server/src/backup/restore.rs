//! A data folder made of a backup.

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

/// Makes a data folder of a backup; returns the version that made it. The folder may be there, if it is empty, and may be a
/// symbolic link to one or a mount point. Errors when the folder is not empty, when the file is not a whole backup or of a
/// newer format, and when the system refuses; then everything is as it was before.
pub fn restore(backup: &Path, data: &Path, keys: Keys) -> Result<String, RestoreError> {
    let in_data = |error| RestoreError::Io(data.to_owned(), error);
    let file = File::open(backup).map_err(|error| RestoreError::Io(backup.to_owned(), error))?;
    if !is_empty(data).map_err(in_data)? {
        return Err(RestoreError::NotEmpty(data.to_owned()));
    }
    let mut undo = Undo { made: missing(data), moved: Vec::new() };
    // The parents are the operator's: only the folder itself is made for its owner alone.
    let parent = data.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent).and_then(|()| disk::create_folder(data)).map_err(in_data)?;
    // Inside of it, and so on the same file system, whatever the folder is.
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
    // While it is there, no server starts on what is beside it.
    fs::remove_dir(&aside).map_err(in_data)?;
    undo.keep();
    // A mounted file system may belong to another user; what is in it is private all the same.
    let _ = fs::metadata(data).and_then(|about| disk::set_mode(data, &about));
    Ok(version)
}

/// Whether a folder is missing or empty. The top of a file system has a folder of its own in it.
fn is_empty(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // A symbolic link to nothing is not missing: nothing can be made in its place.
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

/// Removes what a restore made, unless it is kept.
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
        // What marks the folder as not whole is the first, and goes last.
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
        // Of the first format, which the next start migrates.
        None => Ok(version),
    }
}
