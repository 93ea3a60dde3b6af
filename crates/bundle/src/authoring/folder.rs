//! The files in the bundle's folder. Nothing outside of the folder is read, neither by `..` nor by a symbolic link.

use std::{
    fs, io,
    io::Read,
    ops::Range,
    path::{Component, Path, PathBuf},
};

use starlane_protocol::address;
use toml::Spanned;

use super::{AuthoringError, Source};
use crate::{Digest, Hasher};

/// The folder of a bundle.
pub(super) struct Folder(PathBuf);

/// The reason why a path in the folder cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderFault {
    /// The path does not exist, or is not a file.
    Missing,
    /// The path, or a folder on the way, is a symbolic link.
    Link,
    /// It leads out of the folder.
    Outside,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, AuthoringError> {
        match path.is_dir() {
            true => Ok(Self(path.to_owned())),
            false => Err(AuthoringError::whole(
                path,
                "the folder does not exist",
                "a bundle is a folder with a bundle.toml; give its path",
            )),
        }
    }

    /// Joins a relative path to the folder.
    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.0.join(relative)
    }

    /// Returns the path of a file. The bundle's folder may be a symbolic link; nothing in it may be one.
    pub(super) fn file(&self, relative: &str) -> Result<PathBuf, FolderFault> {
        let path = self.within(relative)?;
        if path.is_file() { Ok(path) } else { Err(FolderFault::Missing) }
    }

    fn within(&self, relative: &str) -> Result<PathBuf, FolderFault> {
        let mut path = self.0.clone();
        for part in Path::new(relative).components() {
            match part {
                Component::Normal(name) => path.push(name),
                Component::CurDir => continue,
                _ => return Err(FolderFault::Outside),
            }
            if path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
                return Err(FolderFault::Link);
            }
        }
        Ok(path)
    }

    /// Returns whether the path exists. A symbolic link exists, wherever it leads.
    pub(super) fn has(&self, relative: &str) -> bool {
        self.path(relative).symlink_metadata().is_ok()
    }

    /// Returns the TOML files of a sub-folder, sorted; none if the sub-folder does not exist.
    pub(super) fn toml_files(&self, sub: &str) -> Result<Vec<String>, AuthoringError> {
        let path = self.within(sub).map_err(|_| {
            let hint = "replace the link with the folder itself";
            AuthoringError::whole(&self.path(sub), "it is a symbolic link, or inside one", hint)
        })?;
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut files: Vec<_> =
            names.filter(|name| name.ends_with(".toml")).map(|name| format!("{sub}/{name}")).collect();
        files.sort();
        Ok(files)
    }

    /// Returns the files of an entry of `include`: a file, a folder with everything in it, or a glob. Folders and
    /// wildcards skip names that begin with `.`, because such files often contain secrets or the data of tools.
    pub(super) fn matching(&self, source: &Source, pattern: &Spanned<String>) -> Result<Vec<String>, AuthoringError> {
        let written = pattern.get_ref().trim_start_matches("./").trim_end_matches('/');
        if matches!(written, "" | ".") {
            let text = format!("`{}` is the bundle's folder itself; expected a path inside it", pattern.get_ref());
            return Err(source.error(pattern.span(), text, "name files and folders, or \"**\" for all of them"));
        }
        let is_glob = written.contains(['*', '?', '[', '{']);
        let glob = if is_glob || !self.path(written).is_dir() { written.to_owned() } else { format!("{written}/**") };
        let matcher = globset::GlobBuilder::new(&glob).literal_separator(true).build();
        let matcher = matcher.map_err(|e| {
            let text = format!("{}; expected a file, a folder or a glob", e.kind());
            source.error(
                pattern.span(),
                format!("`{written}` is not a glob: {text}"),
                "such as \"site/**\" or \"*.html\"",
            )
        })?;
        let matcher = matcher.compile_matcher();

        // Walk only the folder before the first wildcard, not, for example, a build folder beside it.
        let literal = glob.find(['*', '?', '[', '{']).and_then(|at| glob.get(..at)).unwrap_or(&glob);
        let start = if is_glob { literal.rsplit_once('/').map_or("", |(folder, _)| folder) } else { written };
        // A glob with such a name after that folder includes hidden files.
        let sought = if is_glob { glob.get(start.len()..).unwrap_or_default() } else { "" };
        let takes_hidden = sought.split(['/', '{', ',']).any(|part| part.starts_with('.'));
        let start = self.within(start).map_err(|fault| fault.at(source, pattern.span(), "the file", written))?;

        let mut found = Vec::new();
        let named_or_shown = |entry: &walkdir::DirEntry| {
            takes_hidden || entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b".")
        };
        let walk = walkdir::WalkDir::new(start).follow_links(false).sort_by_file_name();
        for entry in walk.into_iter().filter_entry(named_or_shown) {
            // A glob may refer to files that are not built yet.
            let Ok(entry) = entry else { continue };
            let Ok(relative) = entry.path().strip_prefix(&self.0) else { continue };
            if entry.file_type().is_dir() || !matcher.is_match(relative) {
                continue;
            }
            let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
            let relative = parts.join("/");
            if entry.file_type().is_symlink() {
                return Err(FolderFault::Link.at(source, pattern.span(), "the file", &relative));
            }
            found.push(relative);
        }
        if found.is_empty() && !is_glob {
            return Err(FolderFault::Missing.at(source, pattern.span(), "the file", written));
        }
        Ok(found)
    }
}

impl FolderFault {
    /// Adds the place at which a file names the path.
    pub(super) fn at(self, source: &Source, span: Range<usize>, what: &str, written: &str) -> AuthoringError {
        let (wrong, hint) = match self {
            Self::Missing => ("is missing", "paths are relative to the folder of bundle.toml"),
            Self::Link => ("is a symbolic link, or inside one", "replace the link with the file itself"),
            Self::Outside => ("is outside of the bundle's folder", "use a path inside that folder, without `..`"),
        };
        source.error(span, format!("{what} {written} {wrong}"), hint)
    }
}

/// Turns a path relative to the bundle's folder into a path in the bundle.
pub(super) fn bundle_path(written: &str) -> String {
    format!("/{}", written.trim_start_matches("./").trim_start_matches('/'))
}

/// The same for a folder, which gets a slash at its end.
pub(super) fn bundle_folder(written: &str) -> String {
    let path = bundle_path(written);
    if path.ends_with('/') { path } else { path + "/" }
}

/// Checks a path in the bundle, which becomes part of an address. The error is a text for the author.
pub(super) fn check_path(path: &str) -> Result<(), String> {
    let wrong = |(at, expected)| format!("{path} is not a valid path in a bundle: at byte {at}; expected {expected}");
    address::check_path(path).map_err(wrong)
}

/// Returns the digest and the length of a file, which is read in pieces.
pub(super) fn digest(path: &Path) -> io::Result<(Digest, u64)> {
    let (mut file, mut hasher, mut size) = (fs::File::open(path)?, Hasher::new(), 0);
    let mut piece = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(piece.get(..read).unwrap_or_default());
        size += read as u64;
    }
}
