//! The code in the documents, and which test runs each piece of it.
//!
//! A test that runs pieces asks for its own with [`of`], fails if one does not work, and records their number with [`ran`]. The test
//! `documents` fails if a piece has no runner. A run of all tests fails if the runners together ran fewer pieces than there are.

mod shell;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{figure::figure, workspace};

/// The word after a fence whose block is not code: output, a layout, a grammar.
const NO_CODE: &str = "text";
/// Folders with files that are generated or installed.
const GENERATED: [&str; 4] = ["target", "node_modules", "dist", "site"];
/// Texts that the demo shows.
const SAMPLES: &str = "www/public/samples";

/// The tests that run code of documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// The parser of `starlane`'s arguments, in `crates/cli`.
    CommandLine,
    /// The parser of `cargo xtask`'s arguments.
    Xtask,
    /// `starlane config check`, in `crates/cli`.
    Settings,
    /// `starlane publish` and `app create`, in `crates/cli`.
    Bundle,
    /// `cargo test --doc`.
    DocTest,
    /// `tests/documents` itself.
    Documents,
    /// `tests/npm`: type checks, and Vite with Chromium.
    Npm,
    /// nginx in front of a server, in `tests/native`.
    Proxy,
    /// `tests/tutorial`: a shell with the released files.
    Tutorial,
}

/// A piece of code in a document: a fenced block, or one command of a block of shell commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// The path of the document from the root of the checkout.
    pub document: String,
    /// The number of the block in the document, from 0. Blocks that are not code count too.
    pub block: usize,
    /// The line in the document where the code begins.
    pub line: usize,
    /// The word after the fence, such as `toml`.
    pub language: String,
    /// The file that the code belongs into, if the line above the block begins with its name.
    pub file: Option<String>,
    /// The code without the indentation of its fence.
    pub code: String,
}

impl Snippet {
    /// The test that runs it. `None` if there is none.
    pub fn runner(&self) -> Option<Runner> {
        let document = self.document.as_str();
        match (document, self.language.as_str()) {
            ("crates/cli/TUTORIAL.md", "sh") | ("crates/cli/template/AGENTS.md", "sh" | "toml" | "rust") => {
                Some(Runner::Tutorial)
            }
            ("crates/cli/README.md" | "crates/server/README.md", "sh") if self.block == 0 => Some(Runner::Tutorial),
            ("crates/cli/README.md" | "crates/server/PROXY.md", "toml") => Some(Runner::Settings),
            ("crates/bundle/README.md", "toml" | "json" | "sql") => Some(Runner::Bundle),
            (_, "rust" | "rust,no_run") => Some(Runner::DocTest),
            (_, "js" | "ts" | "html") => Some(Runner::Npm),
            (_, "nginx") => Some(Runner::Proxy),
            (_, "mermaid") => Some(Runner::Documents),
            (_, "sh") => self.runner_of_command(),
            _ => None,
        }
    }

    fn runner_of_command(&self) -> Option<Runner> {
        let words = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["starlane", ..] | ["cargo", "run", "--package", "starlane-cli", "--", ..] => Some(Runner::CommandLine),
            ["cargo", "xtask", ..] => Some(Runner::Xtask),
            ["cargo", "test", ..] | ["node", ..] | ["wasm-pack", "test", ..] => Some(Runner::Documents),
            ["cd", _, "&&", "npm", "ci"] => Some(Runner::Documents),
            ["npm", "install", ..] | ["npx", "vite"] => Some(Runner::Npm),
            ["curl", ..] if self.document == "crates/server/PROXY.md" => Some(Runner::Proxy),
            _ => None,
        }
    }

    /// The words of a command as a shell reads them, without comments, redirections and a final `&`.
    pub fn words(&self) -> Vec<String> {
        shell::words(&self.code)
    }

    /// `README.md:12`
    pub fn place(&self) -> String {
        format!("{}:{}", self.document, self.line)
    }
}

/// All pieces of code in all documents of the checkout.
///
/// # Panics
///
/// If a document cannot be read.
pub fn all() -> Vec<Snippet> {
    pages().iter().flat_map(|(document, text)| snippets(document, text)).collect()
}

/// The path from the root of the checkout and the text of each document.
///
/// # Panics
///
/// If a document cannot be read.
#[allow(clippy::panic, reason = "a test calls it, which fails by panicking")]
pub fn pages() -> Vec<(String, String)> {
    let root = workspace();
    let mut documents = Vec::new();
    find(&root, &root, &mut documents);
    documents.sort();
    let read = |path: &PathBuf| {
        let text =
            fs::read_to_string(path).unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
        (shown(&root, path), text)
    };
    documents.iter().map(read).collect()
}

/// The pieces that a test runs.
///
/// # Panics
///
/// If there are none: then the test would pass without a check.
pub fn of(runner: Runner) -> Vec<Snippet> {
    let own: Vec<Snippet> = all().into_iter().filter(|snippet| snippet.runner() == Some(runner)).collect();
    assert!(!own.is_empty(), "no document has code for {runner:?}");
    own
}

/// Records how many pieces the test in this thread has run.
pub fn ran(count: usize) {
    figure("snippets.run", count as f64, "snippets");
}

fn find(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let is_hidden = name.starts_with('.') && name != ".github";
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if !is_hidden && !GENERATED.contains(&name.as_str()) && shown(root, &path) != SAMPLES {
                find(root, &path, found);
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
}

fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

/// The pieces of code in the text of a document.
fn snippets(document: &str, text: &str) -> Vec<Snippet> {
    let (mut found, mut block, mut above) = (Vec::new(), 0, "");
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        let (indentation, rest) = line.split_at(line.len() - line.trim_start().len());
        let fence: String = rest.chars().take_while(|c| *c == '`').collect();
        if fence.len() < 3 {
            above = if line.trim().is_empty() { above } else { line };
            continue;
        }
        let within = lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != fence);
        let code: Vec<&str> = within.map(|line| line.strip_prefix(indentation).unwrap_or(line.trim_start())).collect();
        let whole = Snippet {
            document: document.to_owned(),
            block,
            line: number + 1,
            language: rest.trim_start_matches('`').trim().to_owned(),
            file: above.strip_prefix('`').and_then(|rest| rest.split('`').next()).map(str::to_owned),
            code: code.join("\n") + "\n",
        };
        (block, above) = (block + 1, "");
        match whole.language.as_str() {
            NO_CODE => {}
            "sh" => {
                let commands = (0..).zip(code).filter(|(_, line)| !line.trim().is_empty());
                found.extend(commands.map(|(after, line)| Snippet {
                    line: whole.line + after,
                    code: line.to_owned(),
                    ..whole.clone()
                }));
            }
            _ => found.push(whole),
        }
    }
    found
}

/// The workspace's README, for `cargo test --doc`: the page belongs to no crate.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct WorkspaceReadme;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_with_their_place_and_file() {
        let text = "# A\n\n```sh\na --b\n\nc  # d\n```\n\n`x/y.toml`, which:\n\n   ```toml\n   [a]\n     b = 1\n   ```\n```text\nno\n```\n";
        let found = snippets("A.md", text);
        let facts: Vec<_> = found.iter().map(|s| (s.block, s.line, s.language.as_str(), s.code.as_str())).collect();
        assert_eq!(facts, [(0, 4, "sh", "a --b"), (0, 6, "sh", "c  # d"), (1, 12, "toml", "[a]\n  b = 1\n")]);
        assert_eq!(found.iter().map(|s| s.file.as_deref()).collect::<Vec<_>>(), [None, None, Some("x/y.toml")]);
    }

    #[test]
    fn code_without_a_test_is_found() {
        let runner = |text: &str| snippets("A.md", text).first().and_then(Snippet::runner);
        assert_eq!(runner("```sh\ncargo xtask run\n```"), Some(Runner::Xtask));
        for text in ["```python\n1\n```", "```\n1\n```", "```sh\nrm -r /\n```", "```toml\na = 1\n```"] {
            assert_eq!(runner(text), None, "{text}");
        }
    }
}
