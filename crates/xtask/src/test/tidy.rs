//! Rules about files that no compiler knows.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::outcome::Outcome;
use crate::files;
use crate::workshop::Workshop;

/// A longer file wants to be two.
const MOST_LINES: usize = 600;
/// The demo's Service Worker shows how little a page needs to open while its server is away.
const SERVICE_WORKER: (&str, usize) = ("www/public/sw.js", 60);
/// What is written by hand is in these folders, and in files that end so.
const FOLDERS: [&str; 3] = ["crates", "tests", "www"];
const LANGUAGES: [&str; 4] = ["rs", "ts", "js", "mjs"];
/// The modules of the sandbox in pages have no state of their own: it belongs to objects that somebody owns.
const STATELESS: &str = "crates/browser/ts";
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["common", "util", "utils", "base", "manager"];

/// Checks what is written by hand; each rule is one test.
pub(super) fn check(workshop: &Workshop, outcome: &mut Outcome) -> Result<()> {
    let crates = workshop.path("crates");
    let mut sources = Vec::new();
    for folder in FOLDERS {
        sources.extend(files::below(&workshop.path(folder))?.into_iter().filter(|path| is_source(path)));
    }

    let mut long = Vec::new();
    for path in &sources {
        let most = if path.ends_with(SERVICE_WORKER.0) { SERVICE_WORKER.1 } else { MOST_LINES };
        let lines = fs::read_to_string(path)?.lines().count();
        if lines > most {
            long.push(format!("{} has {lines} lines, {most} are allowed", shown(workshop, path)));
        }
    }
    settle(outcome, long);

    let named =
        sources.iter().filter_map(|path| name_fault(path).map(|fault| format!("{} {fault}", shown(workshop, path))));
    settle(outcome, named.collect());

    let mut stateful = Vec::new();
    for path in files::below(&workshop.path(STATELESS))? {
        for line in fs::read_to_string(&path)?.lines().filter(|line| is_state(line)) {
            stateful.push(format!("{} has state of its own: {line}", shown(workshop, &path)));
        }
    }
    settle(outcome, stateful);

    let mut unexplained = Vec::new();
    for entry in fs::read_dir(&crates)?.flatten() {
        let folder = entry.path();
        if folder.join("Cargo.toml").exists() && !folder.join("README.md").exists() {
            unexplained.push(format!("{} has no README.md", shown(workshop, &folder)));
        }
    }
    settle(outcome, unexplained);
    Ok(())
}

fn is_source(path: &Path) -> bool {
    path.extension().and_then(|kind| kind.to_str()).is_some_and(|kind| LANGUAGES.contains(&kind))
}

/// Whether a line of TypeScript declares a variable, or a collection to be filled, for a whole module.
fn is_state(line: &str) -> bool {
    let declared = line.strip_prefix("export ").unwrap_or(line);
    let collects =
        ["new Map(", "new Set(", "new WeakMap(", "= [];", "= {};"].iter().any(|made| declared.contains(made));
    declared.starts_with("let ") || declared.starts_with("var ") || declared.starts_with("const ") && collects
}

fn settle(outcome: &mut Outcome, faults: Vec<String>) {
    outcome.add_check(faults.is_empty());
    for fault in faults {
        outcome.note(fault);
    }
}

fn shown(workshop: &Workshop, path: &Path) -> String {
    path.strip_prefix(&workshop.root).unwrap_or(path).display().to_string()
}

/// What is wrong with the name of a module, if anything is.
fn name_fault(path: &Path) -> Option<String> {
    let name = path.file_stem()?.to_str()?;
    if name == "mod" {
        return Some("should be `x.rs` beside the folder `x`".to_owned());
    }
    EMPTY_NAMES.contains(&name).then(|| format!("is called `{name}`, which says nothing"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_of_a_module_is_found() {
        for line in ["let output = 1;", "export let x;", "const known = new Map();", "const all: string[] = [];"] {
            assert!(is_state(line), "{line}");
        }
        for line in
            ["  let at = 0;", "const ALL = [1, 2];", "export class Buffers {", "const utf8 = new TextDecoder();"]
        {
            assert!(!is_state(line), "{line}");
        }
    }

    #[test]
    fn a_module_has_a_name_that_says_something() {
        assert!(name_fault(Path::new("crates/x/src/mod.rs")).is_some());
        assert!(name_fault(Path::new("crates/x/src/util.rs")).is_some());
        assert!(name_fault(Path::new("crates/x/src/mailbox.rs")).is_none());
    }
}
