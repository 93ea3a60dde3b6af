//! Every piece of code in the documents is run by some test; and the checks of those that no other test runs.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod commands;
mod diagrams;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag};
use starlane_testkit::{
    documents::{self, Runner},
    figure::figure,
    workspace,
};

/// Crates whose documentation tests `cargo test` does not run: they build for browsers, or are binaries.
const WITHOUT_DOC_TESTS: [&str; 5] = ["browser", "cli", "npm", "verifier", "xtask"];

#[test]
fn every_piece_of_code_has_a_test_that_runs_it() {
    let all = documents::all();
    let faults: Vec<String> = all
        .iter()
        .filter(|snippet| snippet.runner().is_none())
        .map(|snippet| format!("{}: `{}`: {}", snippet.place(), snippet.language, snippet.code.trim_end()))
        .collect();
    assert!(
        faults.is_empty(),
        "no test runs this code: give it a runner in crates/testkit/src/documents.rs, or the fence word `text` if it is not code\n{}",
        faults.join("\n")
    );
    figure("snippets.found", all.len() as f64, "snippets");
}

#[test]
fn every_code_block_is_seen() {
    let mut seen: BTreeMap<(String, usize), usize> = BTreeMap::new();
    for snippet in documents::all() {
        seen.entry((snippet.document, snippet.block)).or_insert(snippet.line);
    }
    let seen: BTreeSet<(String, usize)> = seen.into_iter().map(|((document, _), line)| (document, line)).collect();
    for (document, text) in documents::pages() {
        for (event, range) in Parser::new(&text).into_offset_iter() {
            let Event::Start(Tag::CodeBlock(kind)) = event else { continue };
            // The line after the fence.
            let begin = text[..range.start].matches('\n').count() + 2;
            let is_seen = match kind {
                CodeBlockKind::Fenced(language) => &*language == "text" || seen.contains(&(document.clone(), begin)),
                CodeBlockKind::Indented => false,
            };
            assert!(is_seen, "{document}:{begin}: code needs a fence of three backticks on lines of their own");
        }
    }
}

#[test]
fn rust_examples_are_documentation_tests() {
    let examples = documents::of(Runner::DocTest);
    let tested = doc_tested();
    for example in &examples {
        let document = workspace().join(&example.document).canonicalize().unwrap();
        assert!(
            tested.contains(&document),
            "{}: no library has `#[doc = include_str!(…)]` of this page",
            example.place()
        );
    }
    documents::ran(examples.len());
}

/// The documents that libraries include as their documentation.
fn doc_tested() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(workspace().join("crates")).unwrap().map(|entry| entry.unwrap()) {
        if !WITHOUT_DOC_TESTS.contains(&folder.file_name().to_str().unwrap())
            && folder.path().join("src/lib.rs").exists()
        {
            included(&folder.path().join("src"), &mut found);
        }
    }
    found
}

fn included(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            included(&entry, found);
        } else if entry.extension().is_some_and(|kind| kind == "rs") {
            let text = fs::read_to_string(&entry).unwrap();
            let paths = text.lines().filter(|line| line.starts_with("#[doc") || line.starts_with("#![doc"));
            let paths = paths.filter_map(|line| line.split("include_str!(\"").nth(1)?.split('"').next());
            found.extend(paths.map(|path| folder.join(path).canonicalize().unwrap()));
        }
    }
}
