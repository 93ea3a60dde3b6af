//! Figures: measured numbers of tests and commands, in `target/figures.json`. Each names the commit that it was measured on.

use std::{fs, io};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::files;
use crate::workshop::Workshop;

const FILE: &str = "target/figures.json";

/// The engines that must record a figure. `None` is a test outside of browsers.
type Rows = &'static [Option<&'static str>];

const ONCE: Rows = &[None];
const EACH: Rows = &[Some("chromium"), Some("firefox"), Some("webkit")];
const EVERYWHERE: Rows = &[None, Some("chromium"), Some("firefox"), Some("webkit")];

/// The figures that a run of all tests must record, at least once in each place.
const WANTED: [(&str, Rows); 50] = [
    ("first-load.gzip", ONCE),
    ("first-launch.gzip", ONCE),
    ("fuzz.inputs", ONCE),
    ("fuzz.targets", ONCE),
    ("meter.gzip", ONCE),
    ("modules.refused", EVERYWHERE),
    ("csp.violations", EACH),
    ("demo.ready", EACH),
    ("second-load.blobs", EACH),
    ("request.worker.p50", EACH),
    ("grants.cases", ONCE),
    ("grants.differences", ONCE),
    ("tokens.tried", ONCE),
    ("tokens.accepted-wrongly", ONCE),
    ("origins.tried", ONCE),
    ("origins.accepted-wrongly", ONCE),
    ("revoke.closed", ONCE),
    ("ws-conformance.cases", ONCE),
    ("ws-conformance.non-strict", ONCE),
    ("ws-conformance.failed", ONCE),
    ("author.first-reply", ONCE),
    ("tutorial.commands", ONCE),
    ("offline.launch", EACH),
    ("mutations.tried", EVERYWHERE),
    ("mutations.accepted", EVERYWHERE),
    ("names.tried", EVERYWHERE),
    ("names.accepted", EVERYWHERE),
    ("publish.1000-files", ONCE),
    ("authoring.error-kinds", ONCE),
    ("schema-suite.cases", EVERYWHERE),
    ("schema-suite.differences", EVERYWHERE),
    ("schema-random.cases", ONCE),
    ("schema-random.differences", ONCE),
    ("delta.blobs", EACH),
    ("verify.10MB", EACH),
    ("storage-faults.tried", EACH),
    ("storage-faults.silent", EACH),
    ("manifest.mutations", ONCE),
    ("manifest.differences", ONCE),
    ("routes.walked", ONCE),
    ("routes.untyped", ONCE),
    ("server.rss-max", ONCE),
    ("neighbour.unanswered", ONCE),
    ("upgrade.kills", ONCE),
    ("upgrade.torn", ONCE),
    ("state.restarts", ONCE),
    ("state.lost", ONCE),
    ("prose.banned-phrases", ONCE),
    ("snippets.found", ONCE),
    ("snippets.run", ONCE),
];

/// The figure on a line of output, if there is one: `figure {"name":…}`.
pub(crate) fn in_line(line: &str) -> Option<Value> {
    let at = line.find("figure {")?;
    let (before, rest) = line.split_at(at);
    // A test harness or a browser's log may indent the line or prefix it by `log: `. A figure is not part of a sentence.
    if before.trim().contains(' ') {
        return None;
    }
    let figure: Value = serde_json::from_str(rest.strip_prefix("figure ")?.trim()).ok()?;
    figure.get("name")?.as_str()?;
    figure.get("value")?.as_f64()?;
    Some(figure)
}

/// Adds the engine to a figure that lacks it, because a test in a page does not know it, and the size of the run.
pub(crate) fn completed(mut figure: Value, engine: Option<&str>, size: &str) -> Value {
    if let Some(fields) = figure.as_object_mut() {
        for (field, known) in [("engine", engine), ("size", Some(size))] {
            if fields.get(field).is_none_or(Value::is_null) {
                fields.insert(field.to_owned(), known.into());
            }
        }
    }
    figure
}

/// A figure of a command itself, in seconds.
pub(crate) fn of_command(name: &str, seconds: f64, command: &str) -> Value {
    let seconds = (seconds * 10.0).round() / 10.0;
    json!({ "name": name, "value": seconds, "unit": "s", "engine": null, "size": null, "test": command })
}

/// A count of a test of this program.
pub(crate) fn counted(name: &str, value: usize, unit: &str, test: &str) -> Value {
    json!({ "name": name, "value": value, "unit": unit, "engine": null, "size": null, "test": test })
}

/// The rows of [`WANTED`] that are missing in `figures`, for people.
pub(crate) fn missing(figures: &[Value]) -> Vec<String> {
    let recorded = |wanted: &str, place: &Option<&str>| {
        figures.iter().any(|figure| {
            let of = |field| figure.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
            of("name") == Some(wanted) && of("engine") == *place
        })
    };
    let rows = WANTED.iter().flat_map(|(name, places)| places.iter().map(move |place| (*name, place)));
    let missed = rows.filter(|(name, place)| !recorded(name, place));
    missed.map(|(name, place)| place.map_or(name.to_owned(), |engine| format!("{name} in {engine}"))).collect()
}

/// Forgets all figures, before a run of all tests.
pub(crate) fn forget(workshop: &Workshop) -> Result<()> {
    let path = workshop.path(FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Records figures of the current commit. Each replaces an older one of the same name, engine, size and test.
pub(crate) fn record(workshop: &Workshop, new: Vec<Value>) -> Result<()> {
    // Without a repository, figures have no commit.
    let git = workshop.program("git").args(["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]);
    let commit = git.output().ok().map(|text| text.trim().to_owned());
    let new = new.into_iter().map(|figure| measured_on(commit.as_deref(), figure)).collect();
    let path = workshop.path(FILE);
    let old = fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let merged = merge(old, new);
    let text = serde_json::to_string_pretty(&merged).context("figures are JSON")?;
    files::write(&path, text + "\n")
}

/// A figure with the commit that it was measured on. `-dirty` after it means that files had changed since.
fn measured_on(commit: Option<&str>, mut figure: Value) -> Value {
    if let Some(fields) = figure.as_object_mut() {
        fields.insert("commit".to_owned(), commit.into());
    }
    figure
}

fn merge(old: Vec<Value>, new: Vec<Value>) -> Vec<Value> {
    let key = |figure: &Value| ["name", "engine", "size", "test"].map(|field| figure.get(field).cloned());
    let mut merged = old;
    for figure in new {
        merged.retain(|other| key(other) != key(&figure));
        merged.push(figure);
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_figure_line_is_read_as_a_figure() {
        let line = r#"figure {"name":"swap.lost","value":0,"unit":"messages","engine":"firefox"}"#;
        assert_eq!(in_line(line).unwrap()["name"], "swap.lost");
        assert!(in_line(&format!("    {line}")).is_some(), "a browser's log is indented");
        assert!(in_line(r#"figure {"name":"x"}"#).is_none(), "no value");
        assert!(in_line("figure {not json").is_none());
        assert!(in_line(r#"the doc says: figure {"name":"x","value":1}"#).is_none());
    }

    #[test]
    fn a_missing_engine_is_filled_in() {
        let figure = completed(json!({ "name": "a", "value": 1, "engine": null }), Some("webkit"), "ci");
        assert_eq!(figure, json!({ "name": "a", "value": 1, "engine": "webkit", "size": "ci" }));
        assert_eq!(completed(json!({ "engine": "server" }), Some("webkit"), "ci")["engine"], "server");
    }

    #[test]
    fn a_new_figure_replaces_the_same_older_one() {
        let row = |engine: &str, value: u32| json!({ "name": "a", "engine": engine, "value": value });
        let merged = merge(vec![row("chromium", 1), row("firefox", 1)], vec![row("chromium", 2)]);
        assert_eq!(merged, [row("firefox", 1), row("chromium", 2)]);
    }

    #[test]
    fn a_run_of_all_tests_begins_without_figures_and_each_names_its_commit() {
        let folder = tempfile::tempdir().unwrap();
        let mut workshop = Workshop::open(false).unwrap();
        workshop.root = folder.path().to_owned();
        let read = || -> Value { serde_json::from_slice(&fs::read(folder.path().join(FILE)).unwrap()).unwrap() };
        forget(&workshop).unwrap();
        record(&workshop, vec![json!({ "name": "a", "value": 1 })]).unwrap();
        assert_eq!(read()[0]["commit"], Value::Null, "there is no repository");
        forget(&workshop).unwrap();
        record(&workshop, vec![json!({ "name": "b", "value": 1 })]).unwrap();
        assert_eq!(read().as_array().unwrap().len(), 1);
        assert_eq!(measured_on(Some("1234"), read()[0].clone())["commit"], "1234");
    }

    #[test]
    fn an_unrecorded_figure_is_reported_for_each_place() {
        let row = |name: &str, engine: &Option<&str>| json!({ "name": name, "value": 1, "engine": engine });
        let mut all: Vec<Value> =
            WANTED.iter().flat_map(|(name, places)| places.iter().map(|place| row(name, place))).collect();
        assert!(missing(&all).is_empty());
        let at = all.iter().position(|row| row["name"] == "offline.launch" && row["engine"] == "firefox").unwrap();
        all.remove(at);
        assert_eq!(missing(&all), ["offline.launch in firefox"]);
        all.remove(0);
        assert_eq!(missing(&all).first().unwrap(), WANTED[0].0);
    }
}
