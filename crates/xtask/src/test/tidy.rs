//! Rules about files that no compiler knows.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::outcome::Outcome;
use crate::files;
use crate::workshop::Workshop;

/// A longer file wants to be two.
const MOST_LINES: usize = 600;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["common", "util", "utils", "base", "manager"];

/// Checks all Rust files of the crates; each rule is one test.
pub(super) fn check(workshop: &Workshop, outcome: &mut Outcome) -> Result<()> {
    let crates = workshop.path("crates");
    let sources: Vec<_> =
        files::below(&crates)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs")).collect();

    let mut long = Vec::new();
    for path in &sources {
        let lines = fs::read_to_string(path)?.lines().count();
        if lines > MOST_LINES {
            long.push(format!("{} has {lines} lines, {MOST_LINES} are allowed", shown(workshop, path)));
        }
    }
    settle(outcome, long);

    let named =
        sources.iter().filter_map(|path| name_fault(path).map(|fault| format!("{} {fault}", shown(workshop, path))));
    settle(outcome, named.collect());

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
    fn a_module_has_a_name_that_says_something() {
        assert!(name_fault(Path::new("crates/x/src/mod.rs")).is_some());
        assert!(name_fault(Path::new("crates/x/src/util.rs")).is_some());
        assert!(name_fault(Path::new("crates/x/src/mailbox.rs")).is_none());
    }
}
