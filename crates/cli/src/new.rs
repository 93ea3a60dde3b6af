//! `starlane new mechtron`: makes a folder with a mechtron that builds, passes its tests and publishes without changes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use include_dir::{Dir, DirEntry, include_dir};
use serde_json::json;
use starlane_bundle::authoring::FileKind;

use crate::output::Output;

/// The files of the new folder, in which `{{name}}` and `{{crate}}` stand for its name.
static TEMPLATE: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/template");
/// The guest SDK of this version, so that the new folder needs no registry for it.
static SDK: [(&str, Dir<'_>); 3] = [
    ("abi", include_dir!("$CARGO_MANIFEST_DIR/../abi")),
    ("mechtron", include_dir!("$CARGO_MANIFEST_DIR/../mechtron")),
    ("mechtron-macros", include_dir!("$CARGO_MANIFEST_DIR/../mechtron-macros")),
];
/// The folder of the JSON Schemas for the TOML files.
const SCHEMAS: &str = ".starlane/schemas";
/// The workspace file of the SDK's crates.
const WORKSPACE: &str = include_str!("../../../Cargo.toml");

/// Makes the folder `name` in the current folder.
pub(crate) fn mechtron(name: &str, output: Output) -> Result<()> {
    check(name)?;
    let folder = PathBuf::from(name);
    if folder.exists() {
        bail!("{name} exists already: choose another name");
    }
    let filled = |text: &str| text.replace("{{name}}", name).replace("{{crate}}", &name.replace('-', "_"));
    write_dir(&TEMPLATE, &|path| place(&folder, path, name), &|text| filled(text))?;
    let sdk = folder.join("sdk");
    write(&sdk.join("Cargo.toml"), WORKSPACE.as_bytes())?;
    for (of, dir) in &SDK {
        write_dir(dir, &|path| sdk.join("crates").join(of).join(path), &str::to_owned)?;
    }
    // The first line of each TOML file names its schema there.
    for kind in FileKind::ALL {
        let schema = format!("{:#}\n", kind.schema());
        write(&folder.join(SCHEMAS).join(kind.schema_file()), schema.as_bytes())?;
    }
    let facts = [
        ("folder", name.to_owned()),
        ("code", format!("{name}/src/lib.rs")),
        ("contract", format!("{name}/binds/{name}.toml")),
    ];
    let next = format!("starlane dev {name}");
    output.done(&format!("The mechtron {name} was created"), &facts, Some(&next), &json!({ "folder": folder }));
    Ok(())
}

/// Returns the place of a template file. The template's `Cargo.toml` has another name, because Cargo would read it as a
/// package of this repository.
fn place(folder: &Path, path: &Path, name: &str) -> PathBuf {
    let known = match path.to_str() {
        Some("Cargo.toml.in") => Path::new("Cargo.toml"),
        Some("gitattributes") => Path::new(".gitattributes"),
        Some("gitignore") => Path::new(".gitignore"),
        _ => path,
    };
    folder.join(known.to_string_lossy().replace("NAME", name))
}

fn write_dir(dir: &Dir<'_>, place: &dyn Fn(&Path) -> PathBuf, fill: &dyn Fn(&str) -> String) -> Result<()> {
    for entry in dir.entries() {
        match entry {
            DirEntry::Dir(below) => write_dir(below, place, fill)?,
            DirEntry::File(file) => {
                let text = file.contents_utf8().with_context(|| format!("{} is not text", file.path().display()))?;
                write(&place(file.path()), fill(text).as_bytes())?;
            }
        }
    }
    Ok(())
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    let folder = file.parent().unwrap_or(file);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(file, bytes));
    written.with_context(|| format!("{} can't be written", file.display()))
}

/// Names that the crate can't have: Rust's keywords, the crates that it uses, and the crates that always exist. `db` is
/// its database.
const TAKEN: &str = "abstract alloc as async await become box break const continue core crate db do dyn else enum extern false \
    final fn for gen if impl in let loop macro match mechtron mod move mut override priv proc-macro pub ref return sdk self serde \
    serde-json static std struct super test trait true try type typeof unsafe unsized use virtual where while yield";

/// Checks a name, which must be valid as the name of a crate, of a file, and of a segment of an address.
fn check(name: &str) -> Result<()> {
    let good = name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if !good {
        bail!(
            "`{name}` is not a valid name for a mechtron: expected a-z first, then a-z, 0-9 and -, at most 40 characters, \
             such as guestbook"
        );
    }
    if name.starts_with("starlane-") || TAKEN.split_whitespace().any(|taken| taken == name) {
        bail!(
            "`{name}` is a keyword of Rust, or the name of a crate or resource that every new mechtron has: use another name, \
             such as my-{name}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_valid_for_a_crate_and_an_address() {
        for name in ["guestbook", "a", "my-book-2", "my-test", "serde-book"] {
            assert!(check(name).is_ok(), "{name}");
        }
        for name in ["", "Book", "2books", "a_b", "a/b", "..", &"a".repeat(41)] {
            assert!(check(name).unwrap_err().to_string().contains("a-z first"), "{name}");
        }
        for name in ["crate", "fn", "mechtron", "serde", "serde-json", "core", "std", "test", "db", "starlane-mechtron"]
        {
            assert!(check(name).unwrap_err().to_string().contains(&format!("my-{name}")), "{name}");
        }
    }
}
