//! Published packages must be complete: no crate of the guest SDK reads a file outside of its package.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

/// The crates for authors of mechtrons.
const PUBLISHED: [&str; 3] = ["abi", "mechtron-macros", "mechtron"];
/// The Rust code before the path of a file.
const READS: [&str; 4] = ["include_str!(\"", "include_bytes!(\"", "include!(\"", "#[path = \""];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn package(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--offline", "--allow-dirty", "--no-verify"])
        .args(arguments)
        .current_dir(folder(".."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The files in a crate's package.
fn packed(name: &str) -> BTreeSet<PathBuf> {
    package(&["--list", "-p", &format!("starlane-{name}")]).lines().map(PathBuf::from).collect()
}

/// The crates must depend on the versions of each other, or a registry would refuse them.
#[test]
fn published_crates_can_be_packed() {
    let target = tempfile::tempdir().unwrap();
    let names = PUBLISHED.map(|name| format!("starlane-{name}"));
    let [abi, macros, sdk] = names.each_ref().map(String::as_str);
    package(&["--target-dir", &target.path().to_string_lossy(), "-p", abi, "-p", macros, "-p", sdk]);
    for name in &names {
        let archives = fs::read_dir(target.path().join("package")).unwrap();
        let mut files = archives.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
        let begin = format!("{name}-0");
        assert!(files.any(|file| file.starts_with(&begin) && file.ends_with(".crate")), "{name} was not packed");
    }
}

/// Returns the path without `..`; `None` if it leads out of the package.
fn within(path: &Path) -> Option<PathBuf> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::ParentDir if !parts.pop() => return None,
            _ => {}
        }
    }
    Some(parts)
}

#[test]
fn published_crates_read_no_file_outside_of_their_packages() {
    for name in PUBLISHED {
        let files = packed(name);
        let mut read = BTreeSet::from([PathBuf::from("Cargo.toml")]);
        for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "rs")) {
            let text = fs::read_to_string(folder(name).join(file)).unwrap();
            let beside = |path: &str| file.parent().unwrap().join(path);
            let included = READS.iter().flat_map(|read| text.split(read).skip(1));
            let mut named: Vec<PathBuf> = included.map(|rest| beside(rest.split('"').next().unwrap())).collect();
            // `wit_bindgen::generate!` reads a folder beside Cargo.toml.
            named.extend(text.split("    path: \"").skip(1).map(|rest| PathBuf::from(rest.split('"').next().unwrap())));
            for path in named {
                let inside = within(&path);
                read.insert(inside.unwrap_or_else(|| panic!("{name}/{} reads {}", file.display(), path.display())));
            }
        }
        for path in read {
            let is_there = files.iter().any(|file| file.starts_with(&path));
            assert!(is_there, "the package of {name} lacks {}: {files:?}", path.display());
        }
    }
}

/// The dependencies of a published crate must be published too, with a version that a registry can find.
#[test]
fn published_crates_depend_only_on_published_crates() {
    for name in PUBLISHED {
        let manifest = fs::read_to_string(folder(name).join("Cargo.toml")).unwrap();
        for used in manifest.lines().filter_map(|line| line.strip_prefix("starlane-")) {
            let used = used.split('.').next().unwrap();
            assert!(PUBLISHED.contains(&used), "{name} uses {used}");
            let workspace = fs::read_to_string(folder("..").join("Cargo.toml")).unwrap();
            let line = workspace.lines().find(|line| line.starts_with(&format!("starlane-{used} = ")));
            assert!(line.is_some_and(|line| line.contains("version = ")), "{used} needs a version in Cargo.toml");
        }
    }
}

/// The macro for the SDK's bindings cannot read files of another package, so the SDK has a copy.
#[test]
fn the_sdk_has_the_same_interface_as_the_hosts() {
    let file = folder("mechtron").join("wit/mechtron.wit");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, starlane_abi::WIT).unwrap();
    }
    let copy = fs::read_to_string(&file).unwrap();
    assert!(copy == starlane_abi::WIT, "crates/mechtron/wit is not crates/abi/wit: run this test with BLESS=1");
}
