//! `cargo xtask test`: every test, part by part.

mod failures;
mod outcome;
mod parts;
mod tidy;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;

use crate::build;
use crate::figures;
use crate::ledger;
use crate::process;
use crate::report;
use crate::setup::{self, Piece};
use crate::snippets;
use crate::workshop::Workshop;
use outcome::Outcome;
use parts::Part;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only this part. Repeatable.
    #[arg(long, value_name = "NAME", value_parser = parts::name_of_part)]
    only: Vec<String>,
    /// Run adversarial tests at their full size.
    #[arg(long)]
    full: bool,
}

/// The result of a part.
struct Done {
    name: String,
    outcome: Outcome,
    took: Duration,
}

/// `cargo xtask test`
pub(crate) fn command(workshop: &Workshop, options: &Options) -> Result<ExitCode> {
    let start = Instant::now();
    let first = !workshop.path("target/dist").exists();
    let size = if options.full { "full" } else { "ci" };
    let parts: Vec<Part> = parts::all().into_iter().filter(|part| part.is_asked_for(&options.only)).collect();
    setup::prepare(workshop, &needed(&parts))?;
    if options.only.is_empty() {
        figures::forget(workshop)?;
    }

    let mut found = Vec::new();
    let mut done: Vec<Done> = Vec::new();
    for part in &parts {
        let name = part.name();
        println!("\n{}", report::strong(&format!("━━ {name}")));
        let begin = Instant::now();
        let outcome = conduct(workshop, part, size);
        if process::interrupted() {
            bail!("interrupted");
        }
        let engine = part.engine().map(|engine| engine.name());
        found.extend(outcome.figures.iter().cloned().map(|figure| figures::completed(figure, engine, size)));
        let took = begin.elapsed();
        println!("━━ {name}: {} in {}", outcome.summary(), report::seconds(took));
        done.push(Done { name, outcome, took });
    }
    if options.only.is_empty() {
        found.extend(ledger::sums(&found));
        done.push(judge_figures(&found));
        found.push(snippets::sum(&found));
        let name = if first || workshop.installed.get() { "test.cold" } else { "test.warm" };
        found.push(figures::of_command(name, start.elapsed().as_secs_f64(), "cargo xtask test"));
    }
    figures::record(workshop, found)?;
    Ok(close(&done, start.elapsed()))
}

/// The set-up pieces that the parts need, each once.
fn needed(parts: &[Part]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for part in parts {
        let of_artifacts = part.artifacts().into_iter().flat_map(|artifact| artifact.pieces().iter().copied());
        for piece in part.pieces().into_iter().chain(of_artifacts) {
            if !pieces.contains(&piece) {
                pieces.push(piece);
            }
        }
    }
    pieces
}

/// Prepares and runs one part. An error counts as a failed test of that part, and the other parts still run.
fn conduct(workshop: &Workshop, part: &Part, size: &str) -> Outcome {
    let ready = setup::ensure_all(workshop, &part.pieces())
        .and_then(|()| build::ensure_all_built(workshop, &part.artifacts()))
        .and_then(|()| part.run(workshop, size));
    ready.unwrap_or_else(|error| Outcome::broken(format!("{error:#}")))
}

/// Fails if a required figure was not recorded.
fn judge_figures(found: &[Value]) -> Done {
    println!("\n{}", report::strong("━━ figures"));
    let missing = [figures::missing(found), ledger::missing(found), Vec::from_iter(snippets::missing(found))].concat();
    let mut outcome = Outcome::default();
    outcome.add_check(missing.is_empty());
    for name in &missing {
        outcome.note(format!("no test recorded the figure {name}"));
    }
    println!("━━ figures: {}", outcome.summary());
    Done { name: "figures".to_owned(), outcome, took: Duration::ZERO }
}

/// Prints the failures, the table of the parts, and the closing line, so that the end of a long log is enough.
fn close(done: &[Done], took: Duration) -> ExitCode {
    for Done { name, outcome, .. } in done.iter().filter(|part| !part.outcome.failures.is_empty()) {
        println!("\n{}", report::bad(&format!("━━ {name}: failures")));
        outcome.failures.iter().for_each(|line| println!("{line}"));
    }
    println!("\n{:<20} {:>8} {:>8} {:>9}", "part", "passed", "failed", "time");
    for Done { name, outcome, took } in done {
        println!("{name:<20} {:>8} {:>8} {:>9}", outcome.passed, outcome.failed, report::seconds(*took));
    }
    for Done { name, outcome, .. } in done {
        for note in &outcome.notes {
            println!("{} {name}: {note}", report::bad("✗"));
        }
    }
    let (passed, failed) = done.iter().fold((0, 0), |(p, f), part| (p + part.outcome.passed, f + part.outcome.failed));
    println!("{:<20} {:>8} {:>8} {:>9}\n", "all", passed, failed, report::seconds(took));
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
