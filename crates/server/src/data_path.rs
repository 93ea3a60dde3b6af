//! Paths below the data folder. Every path is built here: each part is one name, and the path is below its folder.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

/// The maximum length of a file or folder name, in bytes: the limit of common file systems.
const MAX_NAME: usize = 255;

/// A path below a folder. Errors with `InvalidInput` when a part is not the name of one file or folder.
pub(crate) fn below<P: AsRef<str>>(base: &Path, parts: impl IntoIterator<Item = P>) -> io::Result<PathBuf> {
    let mut path = base.to_owned();
    for part in parts {
        let part = part.as_ref();
        let mut components = Path::new(part).components();
        // Compare the text itself, not the resolved path: `a/` and `a/.` are `a` as components.
        let one =
            matches!((components.next(), components.next()), (Some(Component::Normal(name)), None) if name == part);
        if !one || part.len() > MAX_NAME || part.contains(['/', '\\']) || part.chars().any(char::is_control) {
            let text = format!("{part:?} is not a file name of 1 to {MAX_NAME} bytes below {}", base.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        path.push(part);
    }
    match path.starts_with(base) && path != base {
        true => Ok(path),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is not below {}", path.display(), base.display()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_below_its_folder() {
        let base = Path::new("/data");
        let path = below(base, ["databases", "acme:app", "db.sqlite"]).unwrap();
        assert_eq!(path, Path::new("/data/databases/acme:app/db.sqlite"));
        let long = "a".repeat(256);
        for part in ["", ".", "..", "/", "/etc", "a/b", "../a", "a/..", "a/", "a\\b", "a\0b", "a\nb", "./a", &long] {
            for parts in [vec![part], vec!["a", part], vec![part, "a"]] {
                let error = below(base, &parts).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{parts:?}");
            }
        }
        assert!(below(base, [""; 0]).is_err(), "the folder itself is not below it");
    }
}
