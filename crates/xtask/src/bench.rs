//! `cargo xtask bench`: measures Starlane beside its peers and judges it against its goals, in `target/bench.json` and
//! `target/bench.html`.

mod cold;
mod goals;
mod html;
mod judge;
mod parts;
mod size;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use self::judge::{Measure, Reached, Row};
use self::parts::Part;
use crate::build::{self, Artifact};
use crate::figures;
use crate::files;
use crate::process::Program;
use crate::report;
use crate::setup::{self, Piece, browsers::Engine, python::NATS, system};
use crate::workshop::Workshop;

/// The time limit of the whole client, including builds.
const LIMIT: Duration = Duration::from_secs(90 * 60);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only this part. Repeatable.
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// With `--only http`: compare with the `starlane` binary of another version, built in the same profile.
    #[arg(long, value_name = "BINARY")]
    baseline: Option<PathBuf>,
    /// The `starlane` binary to measure [default: a release build of this checkout].
    #[arg(long, value_name = "BINARY")]
    binary: Option<PathBuf>,
    /// The browser that opens the page: Chromium or Firefox.
    #[arg(long, value_enum, default_value_t = Engine::Chromium)]
    engine: Engine,
    /// The number of blocks for each contender and measure.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(5..=100))]
    rounds: u64,
    /// The length of a block, in milliseconds.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(20..=60_000))]
    block_ms: u64,
}

/// `cargo xtask bench`
pub(crate) fn command(workshop: &Workshop, options: &Options) -> Result<ExitCode> {
    let parts = if options.only.is_empty() { Part::ALL.as_slice() } else { options.only.as_slice() };
    if options.baseline.is_some() && parts != [Part::Http] {
        bail!("`--baseline` requires `--only http`: it compares two servers over HTTP");
    }
    if options.engine == Engine::Webkit {
        bail!("WebKit cannot open a page without its driver: use `--engine chromium` or `--engine firefox`");
    }
    let artifacts: Vec<Artifact> = parts.iter().flat_map(|part| part.artifacts()).collect();
    let of_artifacts = artifacts.iter().flat_map(|artifact| artifact.pieces().iter().copied());
    let mut pieces: Vec<Piece> =
        parts.iter().flat_map(|part| part.pieces(options.engine)).chain(of_artifacts).collect();
    pieces.sort();
    pieces.dedup();
    setup::prepare(workshop, &pieces)?;
    setup::ensure_all(workshop, &pieces)?;
    build::ensure_all_built(workshop, &artifacts)?;

    let (mut rows, mut failures) = (Vec::new(), Vec::new());
    let client: Vec<Part> = parts.iter().copied().filter(|part| part.is_of_client()).collect();
    if !client.is_empty() {
        rows.extend(run_client(workshop, options, &client, &mut failures)?);
    }
    for (part, run) in [(Part::Size, size::run as fn(&Workshop) -> Result<Vec<Row>>), (Part::Cold, cold::run)] {
        if parts.contains(&part) {
            match run(workshop) {
                Ok(measured) => rows.extend(measured),
                Err(error) => failures.push(error),
            }
        }
    }
    // Keeps the measured rows, even if another part failed.
    let code = conclude(workshop, &rows)?;
    for failure in &failures {
        println!("{} {failure:#}", report::bad("✗"));
    }
    Ok(if failures.is_empty() { code } else { ExitCode::FAILURE })
}

/// Runs the client for its parts. Adds errors to `failures`.
fn run_client(
    workshop: &Workshop,
    options: &Options,
    parts: &[Part],
    failures: &mut Vec<anyhow::Error>,
) -> Result<Vec<Row>> {
    let binary = match &options.binary {
        Some(binary) => absolute(binary)?,
        None => release(workshop)?,
    };
    let mut program = workshop.cargo(["test", "--release", "-p", "starlane-testkit", "--test", "bench", "--"]);
    program = program.args(parts.iter().flat_map(|part| ["--part".to_owned(), part.name()]));
    program = program.args([
        "--engine",
        options.engine.name(),
        "--rounds",
        &options.rounds.to_string(),
        "--block-ms",
        &options.block_ms.to_string(),
    ]);
    program = program.env("STARLANE_BIN", binary).env("STARLANE_GUESTS", build::guests_folder(workshop));
    if let Some(baseline) = &options.baseline {
        program = program.env("STARLANE_BASELINE", absolute(baseline)?);
    }
    let finished = equipped(workshop, program, options.engine, parts)?.limit(LIMIT).stream()?;
    if !finished.success() {
        failures.push(anyhow!("a part of the benchmark failed; see its output above"));
    }
    Ok(measured(&finished.lines, failures))
}

/// Adds variables that name the peers and the browser.
fn equipped(workshop: &Workshop, mut program: Program, engine: Engine, parts: &[Part]) -> Result<Program> {
    if parts.iter().any(|part| part.has_page()) {
        program = program.env("STARLANE_SITE", build::bench_site(workshop));
        program = program.env(
            "STARLANE_BROWSER",
            engine.binary(workshop).context("the browser is missing: run `cargo xtask setup`")?,
        );
    }
    if parts.contains(&Part::Link) {
        program = program.env("STARLANE_NATS", NATS.program(workshop));
    }
    if parts.contains(&Part::Http) {
        program = program.env(
            "STARLANE_NGINX",
            system::program(workshop, "nginx").context("nginx is missing: run `cargo xtask setup --only nginx`")?,
        );
    }
    Ok(program)
}

/// The rows of a program's measures. Adds an error to `failures` for a measure that cannot be judged.
fn measured(lines: &[String], failures: &mut Vec<anyhow::Error>) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in lines.iter().filter_map(|line| line.strip_prefix("bench ")) {
        let measure = serde_json::from_str(line).with_context(|| format!("a measure is not JSON: {line}"));
        match measure.and_then(|measure: Value| Measure::read(&measure)?.rows()) {
            Ok(judged) => rows.extend(judged),
            Err(error) => failures.push(error),
        }
    }
    rows
}

/// Prints and records the rows. Fails if a goal is certainly missed.
fn conclude(workshop: &Workshop, rows: &[Row]) -> Result<ExitCode> {
    if rows.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let new: Vec<Value> = rows.iter().map(Row::json).collect();
    println!();
    for line in table::lines(&new) {
        println!("{line}");
    }
    let path = workshop.path("target/bench.json");
    let old = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
    let all = merged(old.unwrap_or_default(), new);
    files::write(&path, serde_json::to_string_pretty(&all)? + "\n")?;
    let page = workshop.path("target/bench.html");
    files::write(&page, html::page(&all))?;
    report::remark(format!("{}\n  {}", path.display(), page.display()));
    figures::record(workshop, rows.iter().filter_map(Row::figure).collect())?;
    let is_missed = rows.iter().any(|row| row.reached == Reached::No);
    Ok(if is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// New rows replace those with the same id and engine. Rows that are not in the catalogue any more are removed.
fn merged(old: Vec<Value>, new: Vec<Value>) -> Vec<Value> {
    let key = |row: &Value| ["id", "engine"].map(|field| table::text(row, field));
    let kept = old.into_iter().filter(|old| new.iter().all(|new| key(new) != key(old)));
    let mut all: Vec<Value> = kept.collect::<Vec<_>>().into_iter().chain(new.iter().cloned()).collect();
    let place = |row: &Value| goals::CATALOGUE.iter().position(|entry| entry.id == table::text(row, "id"));
    all.retain(|row| place(row).is_some());
    all.sort_by_key(place);
    all
}

fn absolute(binary: &Path) -> Result<PathBuf> {
    binary.canonicalize().with_context(|| format!("the binary {} does not exist", binary.display()))
}

fn release(workshop: &Workshop) -> Result<PathBuf> {
    report::step("build the server for release", || {
        workshop.cargo(["build", "--release", "-p", "starlane-cli", "--bin", "starlane"]).run()
    })?;
    Ok(workshop.path("target/release").join(format!("starlane{}", std::env::consts::EXE_SUFFIX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_row_replaces_the_same_older_one() {
        let row = |id: &str, value: u32| json!({ "id": id, "engine": "chromium", "value": value });
        let old = vec![row("P1/4KiB", 1), row("P1/64B", 1), row("long gone", 1)];
        assert_eq!(merged(old, vec![row("P1/64B", 2)]), [row("P1/64B", 2), row("P1/4KiB", 1)]);
    }

    #[test]
    fn only_measure_lines_are_read_as_measures() {
        let line =
            r#"bench {"id":"P1/64B","engine":"chromium","unit":"µs","rounds":[{"ours":2,"floor":1,"extism":9}]}"#;
        let lines = ["running".to_owned(), line.to_owned()];
        let mut failures = Vec::new();
        assert_eq!(measured(&lines, &mut failures).len(), 2);
        assert!(measured(&lines[..1], &mut failures).is_empty() && failures.is_empty());
        // A broken measure does not affect others.
        assert_eq!(measured(&["bench {".to_owned(), line.to_owned()], &mut failures).len(), 2);
        assert_eq!(failures.len(), 1);
    }
}
