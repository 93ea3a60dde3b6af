//! Copies files and folders, and detects changed inputs.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Folders of generated files, which are never inputs.
const MADE: [&str; 4] = ["node_modules", "dist", "target", ".git"];

/// All files below `folder` in a stable order, without generated folders (`node_modules`, `dist`, `target`).
pub(crate) fn below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    gather(folder, &MADE, &mut found)?;
    found.sort();
    Ok(found)
}

fn gather(folder: &Path, without: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read the folder {}", folder.display()))? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if !without.iter().any(|name| entry.file_name() == *name) {
                gather(&entry.path(), without, found)?;
            }
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A fingerprint of the contents of files and folders, and of `more`. Use it only to detect changes.
pub(crate) fn fingerprint(paths: &[PathBuf], more: &[&str]) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    more.hash(&mut hasher);
    for path in paths {
        let files = if path.is_dir() { below(path)? } else { vec![path.clone()] };
        for file in files.iter().filter(|file| file.exists()) {
            file.hash(&mut hasher);
            fs::read(file).with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
        }
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Remembers the inputs that something was built from.
pub(crate) struct Stamp {
    path: PathBuf,
    fingerprint: String,
}

impl Stamp {
    /// The stamp at `path`, for an artifact of `inputs` and `more`.
    pub(crate) fn of(path: PathBuf, inputs: &[PathBuf], more: &[&str]) -> Result<Self> {
        Ok(Self { path, fingerprint: fingerprint(inputs, more)? })
    }

    /// Whether the inputs are the same as at the last [`set`](Self::set).
    pub(crate) fn holds(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|last| last == self.fingerprint)
    }

    /// Remembers the inputs, after the artifact was built.
    pub(crate) fn set(&self) -> Result<()> {
        write(&self.path, &self.fingerprint)
    }
}

/// Writes a file, and creates the folders above it.
pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Copies a file, and creates its target folder.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// Replaces the folder `to` by a copy of the folder `from`.
pub(crate) fn mirror(from: &Path, to: &Path) -> Result<()> {
    remove_folder(to)?;
    let mut all = Vec::new();
    gather(from, &[], &mut all)?;
    for file in all {
        if let Ok(inner) = file.strip_prefix(from) {
            copy(&file, &to.join(inner))?;
        }
    }
    Ok(())
}

/// Removes a folder and its contents, if it exists.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Finds the program `name` on a PATH-like list of folders.
pub(crate) fn program(name: &str, path: &std::ffi::OsStr) -> Option<PathBuf> {
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    std::env::split_paths(path).map(|folder| folder.join(&file)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_holds_until_an_input_changes() {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in");
        write(&input.join("a.rs"), "one").unwrap();
        let stamp = || Stamp::of(folder.path().join("stamp"), std::slice::from_ref(&input), &["tool 1"]).unwrap();
        assert!(!stamp().holds());
        stamp().set().unwrap();
        assert!(stamp().holds());
        write(&input.join("node_modules/x.js"), "made").unwrap();
        assert!(stamp().holds(), "a generated file is not an input");
        write(&input.join("a.rs"), "two").unwrap();
        assert!(!stamp().holds());
    }

    #[test]
    fn a_mirror_has_the_same_files_as_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from.join("deep/a"), "a").unwrap();
        write(&to.join("old"), "old").unwrap();
        mirror(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/a")).unwrap(), "a");
        assert!(!to.join("old").exists());
    }
}
