//! Commands for people who change the project: what they name exists.

use std::{
    fs,
    path::{Path, PathBuf},
};

use starlane_testkit::{
    documents::{self, Runner, Snippet},
    workspace,
};

#[test]
fn commands_name_packages_tests_and_files_that_exist() {
    let commands: Vec<Snippet> =
        documents::of(Runner::Documents).into_iter().filter(|snippet| snippet.language == "sh").collect();
    let faults: Vec<String> = commands
        .iter()
        .filter_map(|command| fault(command).map(|fault| format!("{}: {fault}", command.place())))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    documents::ran(commands.len());
}

/// What is wrong with a command, if anything is.
fn fault(command: &Snippet) -> Option<String> {
    let beside = workspace().join(&command.document).parent().unwrap().to_owned();
    let words = command.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["cargo", "test", options @ ..] => cargo_test(options),
        ["node", script] => missing(beside.join(script)),
        ["cd", folder, "&&", "npm", "ci"] => missing(beside.join(folder).join("package-lock.json")),
        ["wasm-pack", "test", options @ ..] => wasm_pack(options),
        _ => Some(format!("this test does not know the command `{}`", command.code)),
    }
}

fn missing(file: PathBuf) -> Option<String> {
    (!file.exists()).then(|| format!("{} does not exist", file.display()))
}

/// A package, and one of its test targets or a part of a test's name.
fn cargo_test(options: &[&str]) -> Option<String> {
    let (package, rest) = match options {
        ["-p", package, rest @ ..] => (*package, rest),
        // In a project of an author.
        [] => return None,
        _ => return Some(format!("`cargo test {}`: a package is expected", options.join(" "))),
    };
    let folder = workspace().join("crates").join(package.trim_start_matches("starlane-"));
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
    if !manifest.contains(&format!("name = \"{package}\"")) {
        return Some(format!("the package `{package}` does not exist"));
    }
    match rest {
        [] => None,
        ["--test", target] => {
            let is_there = manifest.contains(&format!("name = \"{target}\""))
                || folder.join(format!("tests/{target}.rs")).exists();
            let is_there = is_there || folder.join(format!("tests/{target}/main.rs")).exists();
            (!is_there).then(|| format!("`{package}` has no test target `{target}`"))
        }
        [part] => {
            let sources = folder.join("src");
            (!names_a_module(&sources, part)).then(|| format!("`{package}` has no module or test `{part}`"))
        }
        _ => Some(format!("`cargo test {}` has options that this test does not know", options.join(" "))),
    }
}

/// Whether a file or folder below a folder has this name.
fn names_a_module(folder: &Path, name: &str) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| path.file_stem().is_some_and(|stem| stem == name) || (path.is_dir() && names_a_module(&path, name)))
}

/// Options that `cargo xtask test` passes too.
fn wasm_pack(options: &[&str]) -> Option<String> {
    let parts = fs::read_to_string(workspace().join("crates/xtask/src/test/parts.rs")).unwrap();
    let flags = options.iter().filter(|word| word.starts_with("--"));
    let unknown: Vec<&&str> = flags.filter(|flag| !parts.contains(&format!("\"{flag}\""))).collect();
    (!unknown.is_empty()).then(|| format!("`cargo xtask test` does not pass {unknown:?} to wasm-pack"))
}
