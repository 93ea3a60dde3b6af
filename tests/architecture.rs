//! Compares the workspace with the map: the tables of `crates/README.md` with `cargo metadata`.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

const MAP: &str = include_str!("../crates/README.md");

/// The rows of the table under a heading, each as its cells.
fn table(heading: &str) -> Vec<Vec<String>> {
    let section = MAP.split("\n## ").find(|section| section.starts_with(heading)).expect("the map has this heading");
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// The words in backticks of a cell.
fn names(cell: &str) -> BTreeSet<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

struct Package {
    folder: String,
    dependencies: BTreeSet<String>,
}

/// The packages of the workspace by name. Dev-dependencies don't count: tests can use any crate.
fn packages() -> BTreeMap<String, Package> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let package = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().unwrap());
        let dependencies = package["dependencies"].as_array().unwrap().iter();
        let normal = dependencies.filter(|d| d["kind"] != "dev").map(|d| d["name"].as_str().unwrap().to_owned());
        let folder = manifest.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        (package["name"].as_str().unwrap().to_owned(), Package { folder, dependencies: normal.collect() })
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn the_map_names_every_crate() {
    let mapped: BTreeSet<String> = table("Crates").iter().flat_map(|row| names(&row[0])).collect();
    let present: BTreeSet<String> = packages().into_values().map(|package| package.folder).collect();
    assert_eq!(mapped, present);
}

#[test]
fn folders_and_packages_have_the_same_names() {
    for (name, package) in packages() {
        assert_eq!(name, format!("starlane-{}", package.folder));
    }
}

#[test]
fn the_dependencies_between_crates_match_the_map() {
    let packages = packages();
    for row in table("Crates") {
        let allowed = names(&row[2]);
        for folder in names(&row[0]) {
            let package = &packages[&format!("starlane-{folder}")];
            let ours = package.dependencies.iter().filter_map(|name| name.strip_prefix("starlane-"));
            let used: BTreeSet<String> = ours.map(str::to_owned).collect();
            assert_eq!(used, allowed, "the dependencies of `{folder}`, and those on the map");
        }
    }
}

/// Whether a word of the map is a path: a crate, or a name with a folder or an extension.
fn is_path(word: &str, crates: &BTreeSet<String>) -> bool {
    let has_ending =
        [".rs", ".ts", ".js", ".json", ".wat", ".toml", ".md", ".wit"].iter().any(|ending| word.ends_with(ending));
    !word.contains(' ') && !word.starts_with("./") && (has_ending || word.contains('/') || crates.contains(word))
}

/// The words in backticks of a text, in order.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The existing files and folders that a text names, and the words that name none. A path is relative to `crates`, to
/// the root, to the folder of the previous path, or to the folder of the previous module.
fn places(text: &str, crates: &BTreeSet<String>) -> (Vec<PathBuf>, Vec<String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    let mut before = root.join("crates");
    for word in words(text).filter(|word| is_path(word, crates)) {
        let beside = before.parent().map(|folder| folder.join(word));
        let within = [before.join(word), before.with_extension("").join(word)];
        let mut places = [root.join("crates").join(word), root.join(word)].into_iter().chain(beside).chain(within);
        match places.find(|place| place.exists()) {
            Some(place) => {
                found.push(place.clone());
                before = place;
            }
            None => missing.push(format!("`{word}` in: {text}")),
        }
    }
    (found, missing)
}

#[test]
fn every_path_on_the_map_exists() {
    let crates: BTreeSet<String> = packages().into_values().map(|package| package.folder).collect();
    let rows = table("Where does this line live?").into_iter().map(|row| row[1].clone());
    let folders = table("Outside `crates`").into_iter().map(|row| row[0].clone());
    let missing: Vec<String> = rows.chain(folders).flat_map(|cell| places(&cell, &crates).1).collect();
    assert!(missing.is_empty(), "the map names missing paths:\n{}", missing.join("\n"));
}

/// The steps of a request are a list. Each item names files, and functions in these files.
#[test]
fn the_architecture_page_names_files_and_functions_that_exist() {
    let crates: BTreeSet<String> = packages().into_values().map(|package| package.folder).collect();
    let page = include_str!("../crates/ARCHITECTURE.md");
    let mut items: Vec<String> = Vec::new();
    for line in page.lines() {
        match items.last_mut() {
            Some(item) if line.starts_with("   ") => {
                item.push(' ');
                item.push_str(line.trim());
            }
            _ => items.push(line.to_owned()),
        }
    }
    let (mut missing, mut functions) = (Vec::new(), 0);
    for item in &items {
        let (files, absent) = places(item, &crates);
        missing.extend(absent);
        if !item.starts_with(|first: char| first.is_ascii_digit()) {
            continue;
        }
        let texts: Vec<String> = files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect();
        for word in words(item).filter(|word| !is_path(word, &crates)) {
            let name = word.rsplit(['.', ':']).next().unwrap_or_default();
            let is_name = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if is_name && !texts.iter().any(|text| text.contains(name)) {
                missing.push(format!("`{word}` in: {item}"));
            }
            functions += usize::from(is_name);
        }
    }
    assert!(missing.is_empty(), "the page names missing files or functions:\n{}", missing.join("\n"));
    assert!(functions > 20, "{functions} functions were found on the page");
}

#[test]
fn libraries_are_used_only_where_the_map_allows() {
    let packages = packages();
    for row in table("Never here") {
        let libraries: Vec<&str> = row[0].split(", ").collect();
        let uses = |package: &&Package| libraries.iter().any(|library| package.dependencies.contains(*library));
        let used: BTreeSet<String> = packages.values().filter(uses).map(|package| package.folder.clone()).collect();
        assert_eq!(used, names(&row[1]), "the crates that depend on {}, and those on the map", row[0]);
    }
}

#[test]
fn deciding_crates_have_no_clock_and_no_async() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for name in ["protocol", "bundle", "abi", "meter", "node"] {
        let mut folders = vec![crates.join(name).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let text = std::fs::read_to_string(entry.path()).unwrap();
                for word in ["Instant::now", "SystemTime::now", "async fn", ".await", "thread_rng", "getrandom"] {
                    assert!(!text.contains(word), "{} has `{word}`", entry.path().display());
                }
            }
        }
    }
}
