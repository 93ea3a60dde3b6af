//! Rules about files that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::outcome::Outcome;
use crate::figures;
use crate::files;
use crate::workshop::Workshop;

/// The maximum length of a file. A longer one should be split.
const MAX_LINES: usize = 600;
/// The demo's Service Worker shows how little a page needs to open while its server is away.
const SERVICE_WORKER: (&str, usize) = ("www/public/sw.js", 60);
/// The folders and file extensions of sources that are written by hand.
const FOLDERS: [&str; 3] = ["crates", "tests", "www"];
const LANGUAGES: [&str; 4] = ["rs", "ts", "js", "mjs"];
/// The modules of the pages' sandbox must not have state of their own: state belongs to objects with an owner.
const STATELESS: &str = "crates/browser/ts";
/// Names that do not describe the contents.
const EMPTY_NAMES: [&str; 5] = ["common", "util", "utils", "base", "manager"];

/// The files and folders whose prose is checked. Add a folder when its prose is rewritten.
const PROSE: [&str; 4] = ["README.md", "crates", "tests", "www"];
/// Phrases to avoid in comments, texts and Markdown. They are lists of words, so that this table does not contain them.
static PHRASES: [Phrase; 7] = [
    phrase(&["is", "no"], "is not a").except(&["there"], &["less", "longer", "more", "such"]),
    phrase(&["are", "no"], "are not").except(&["there"], &["less", "longer", "more", "such"]),
    phrase(&["are", "the", "most"], "the maximum is"),
    phrase(&["at", "the", "most"], "at most"),
    phrase(&["may", "everything"], "has every permission"),
    phrase(&["of", "before"], "before, earlier").except(&["instead"], &[]),
    phrase(&["tells", "of"], "reports, returns, says"),
];

/// Checks sources and prose. Each rule is one test.
pub(super) fn check(workshop: &Workshop, outcome: &mut Outcome) -> Result<()> {
    let crates = workshop.path("crates");
    let mut sources = Vec::new();
    for folder in FOLDERS {
        sources.extend(files::below(&workshop.path(folder))?.into_iter().filter(|path| is_source(path)));
    }

    let mut long = Vec::new();
    for path in &sources {
        let most = if path.ends_with(SERVICE_WORKER.0) { SERVICE_WORKER.1 } else { MAX_LINES };
        let lines = fs::read_to_string(path)?.lines().count();
        if lines > most {
            long.push(format!("{} has {lines} lines; the maximum is {most}: split it", shown(workshop, path)));
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

    let mut banned = Vec::new();
    for place in PROSE {
        for path in prose_below(&workshop.path(place))? {
            for (line, Phrase { words, instead, .. }) in banned_in(&fs::read_to_string(&path)?) {
                let phrase = words.join(" ");
                banned.push(format!("{}:{line}: instead of `{phrase}`, write: {instead}", shown(workshop, &path)));
            }
        }
    }
    outcome.figures.push(figures::counted("prose.banned-phrases", banned.len(), "phrases", "tidy"));
    settle(outcome, banned);
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
        return Some("must be `x.rs` beside the folder `x`".to_owned());
    }
    EMPTY_NAMES.contains(&name).then(|| format!("is called `{name}`: choose a name that describes the contents"))
}

/// A phrase to avoid.
struct Phrase {
    words: &'static [&'static str],
    /// The advice.
    instead: &'static str,
    /// Words before the phrase that make it right.
    after: &'static [&'static str],
    /// Words after the phrase that make it right.
    before: &'static [&'static str],
}

const fn phrase(words: &'static [&'static str], instead: &'static str) -> Phrase {
    Phrase { words, instead, after: &[], before: &[] }
}

impl Phrase {
    const fn except(self, after: &'static [&'static str], before: &'static [&'static str]) -> Self {
        Self { after, before, ..self }
    }

    /// Whether the phrase begins at the word `at`. Words come with their lines.
    fn is_at(&self, words: &[(usize, String)], at: usize) -> bool {
        let word = |at: usize| words.get(at).map_or("", |(_, word)| word.as_str());
        // Punctuation separates words, so only the last word of a phrase may have some.
        let plain = |at: usize| word(at).trim_end_matches(|c: char| !c.is_alphanumeric());
        let end = at + self.words.len();
        let here = (at..end).map(|at| if at + 1 == end { plain(at) } else { word(at) });
        let is_excepted = self.after.contains(&word(at.wrapping_sub(1))) || self.before.contains(&plain(end));
        here.eq(self.words.iter().copied()) && !is_excepted
    }
}

/// The files with prose in a folder, or the file itself. `site` is the built page of a bundle.
fn prose_below(place: &Path) -> Result<Vec<PathBuf>> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let is_prose = |path: &PathBuf| is_source(path) || path.extension().is_some_and(|kind| kind == "md");
    let is_built = |path: &PathBuf| path.components().any(|part| part.as_os_str() == "site");
    Ok(files::below(place)?.into_iter().filter(|path| is_prose(path) && !is_built(path)).collect())
}

/// The banned phrases in a text, with their lines. Also finds phrases that continue in the next line of a comment or
/// document.
fn banned_in(text: &str) -> Vec<(usize, &'static Phrase)> {
    let is_between = |c: char| c.is_whitespace() || ['"', '`', '\'', '(', '['].contains(&c);
    let mut words: Vec<(usize, String)> = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim_start().trim_start_matches(['/', '!', '*']);
        let own = text.split(is_between).filter(|word| !word.is_empty());
        words.extend(own.map(|word| (line, word.to_lowercase())));
        if text.trim().is_empty() {
            // A phrase does not continue after an empty line.
            words.push((line, String::new()));
        }
    }
    let mut found = Vec::new();
    for (at, (line, _)) in words.iter().enumerate() {
        found.extend(PHRASES.iter().filter(|phrase| phrase.is_at(&words, at)).map(|phrase| (*line, phrase)));
    }
    found
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
    fn banned_phrases_are_found_with_their_lines() {
        // The underscores keep these texts from being found themselves.
        let found = |text: &str| -> Vec<(usize, &'static str)> {
            banned_in(&text.replace('_', " ")).into_iter().map(|(line, phrase)| (line, phrase.words[0])).collect()
        };
        assert_eq!(found("This is_no phrase"), [(1, "is")]);
        assert_eq!(found("one\n// a link that tells\n// of, and"), [(2, "tells")]);
        assert_eq!(found("\"{bytes} bytes are_the_most\""), [(1, "are")]);
        for right in
            ["format!(\"there is_no room\")", "it is_no longer", "is,\nno", "is\n\nno", "instead of_before", "is none"]
        {
            assert!(found(right).is_empty(), "{right}");
        }
    }

    #[test]
    fn a_modules_name_must_describe_its_contents() {
        assert!(name_fault(Path::new("crates/x/src/mod.rs")).is_some());
        assert!(name_fault(Path::new("crates/x/src/util.rs")).is_some());
        assert!(name_fault(Path::new("crates/x/src/mailbox.rs")).is_none());
    }
}
