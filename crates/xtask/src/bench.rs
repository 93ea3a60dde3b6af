//! `cargo xtask bench`: measures, judged against their goals, in `target/bench.json`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::build::{self, Artifact};
use crate::files;
use crate::report;
use crate::setup::{self, Piece};
use crate::workshop::Workshop;

/// No part may take longer, builds included.
const LIMIT: Duration = Duration::from_secs(45 * 60);
/// How much of the baseline's rate is wanted.
const GOAL: f64 = 0.95;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only this part.
    #[arg(long, value_name = "NAME", value_parser = ["http"])]
    only: Option<String>,
    /// The `starlane` of the version to compare with, built in the same profile.
    #[arg(long, value_name = "BINARY")]
    baseline: PathBuf,
    /// The `starlane` to measure [default: a release build of this checkout].
    #[arg(long, value_name = "BINARY")]
    binary: Option<PathBuf>,
    /// Blocks for each server and measure.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(6..=100))]
    rounds: u64,
    /// The length of a block, in milliseconds.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    block_ms: u64,
}

/// `cargo xtask bench`
pub(crate) fn command(workshop: &Workshop, options: &Options) -> Result<ExitCode> {
    let baseline = absolute(&options.baseline)?;
    setup::prepare(workshop, &[Piece::C, Piece::Rust])?;
    build::ensure_built(workshop, Artifact::TestGuests)?;
    let binary = match &options.binary {
        Some(binary) => absolute(binary)?,
        None => release(workshop)?,
    };
    let words = [["test"].as_slice(), &build::NATIVE, &["--test", "bench"]].concat();
    let program = workshop.cargo(words).env("STARLANE_BIN", binary).env("STARLANE_BASELINE", baseline);
    let program = program.env("STARLANE_GUESTS", build::guests_folder(workshop));
    let program = program.env("STARLANE_ROUNDS", options.rounds.to_string());
    let finished = program.env("STARLANE_BLOCK_MS", options.block_ms.to_string()).limit(LIMIT).stream()?;
    if !finished.success() {
        bail!("the benchmark failed; its last lines are above");
    }
    let rows = finished.lines.iter().filter_map(|line| line.strip_prefix("bench "));
    let rows: Vec<Value> = rows.map(|line| row(&serde_json::from_str(line)?)).collect::<Result<_>>()?;
    if rows.is_empty() {
        bail!("the benchmark measured nothing");
    }
    print(&rows);
    record(workshop, &rows)?;
    let is_missed = rows.iter().any(|row| row.get("reached") == Some(&json!(false)));
    Ok(if is_missed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn absolute(binary: &Path) -> Result<PathBuf> {
    binary.canonicalize().with_context(|| format!("there is no binary {}", binary.display()))
}

fn release(workshop: &Workshop) -> Result<PathBuf> {
    report::step("build the server for release", || {
        workshop.cargo(["build", "--release", "-p", "starlane-cli", "--bin", "starlane"]).run()
    })?;
    Ok(workshop.path("target/release").join(format!("starlane{}", std::env::consts::EXE_SUFFIX)))
}

/// Judges the rounds of a measure: `{ id, unit, rounds: [[ours, baseline], …] }`. The ratio is the median of the rounds' ratios, and
/// the range leaves out the lowest and the highest of them.
fn row(measure: &Value) -> Result<Value> {
    let rounds = measure.get("rounds").and_then(Value::as_array).context("a measure has no rounds")?;
    let number = |round: &Value, index: usize| round.get(index).and_then(Value::as_f64).filter(|rate| *rate > 0.0);
    let pairs: Option<Vec<(f64, f64)>> =
        rounds.iter().map(|round| Some((number(round, 0)?, number(round, 1)?))).collect();
    let pairs = pairs.context("a round has no two rates")?;
    let ratios = sorted(pairs.iter().map(|(ours, baseline)| ours / baseline));
    let inner = ratios.get(1..ratios.len().saturating_sub(1)).filter(|inner| !inner.is_empty()).unwrap_or(&ratios);
    let (Some(low), Some(high)) = (inner.first(), inner.last()) else { bail!("a measure has no rounds") };
    let reached = match (*low >= GOAL, *high >= GOAL) {
        (true, _) => json!(true),
        (_, false) => json!(false),
        _ => json!("undecided"),
    };
    let two = |value: f64| (value * 1_000.0).round() / 1_000.0;
    Ok(json!({
        "id": measure.get("id"),
        "engine": "server",
        "value": median(sorted(pairs.iter().map(|pair| pair.0))).round(),
        "unit": measure.get("unit"),
        "floor": null,
        "peers": { "baseline": median(sorted(pairs.iter().map(|pair| pair.1))).round() },
        "ratio": two(median(ratios.clone())),
        "range": [two(*low), two(*high)],
        "goal": GOAL,
        "reached": reached,
    }))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: Vec<f64>) -> f64 {
    let middle = sorted.len() / 2;
    let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
    if sorted.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 }
}

fn print(rows: &[Value]) {
    println!("\n{:<16} {:>10} {:>10} {:>7} {:>15} {:>6}  reached", "id", "ours", "baseline", "ratio", "range", "goal");
    for row in rows {
        let number = |pointer: &str| row.pointer(pointer).and_then(Value::as_f64).unwrap_or_default();
        let range = format!("{:.3}–{:.3}", number("/range/0"), number("/range/1"));
        let (id, reached) = (row.get("id").and_then(Value::as_str).unwrap_or_default(), row.get("reached"));
        println!(
            "{id:<16} {:>10.0} {:>10.0} {:>7.3} {range:>15} {:>6.2}  {}",
            number("/value"),
            number("/peers/baseline"),
            number("/ratio"),
            number("/goal"),
            reached.map(|reached| reached.to_string().replace('"', "")).unwrap_or_default(),
        );
    }
}

/// Rows take the place of those with the same id and engine.
fn record(workshop: &Workshop, new: &[Value]) -> Result<()> {
    let path = workshop.path("target/bench.json");
    let old = std::fs::read_to_string(&path).ok().and_then(|text| serde_json::from_str(&text).ok());
    let mut rows: Vec<Value> = old.unwrap_or_default();
    let key = |row: &Value| ["id", "engine"].map(|field| row.get(field).cloned());
    rows.retain(|row| new.iter().all(|new| key(new) != key(row)));
    rows.extend(new.iter().cloned());
    files::write(&path, serde_json::to_string_pretty(&rows)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rounds: Value) -> Value {
        row(&json!({ "id": "http/files", "unit": "files/s", "rounds": rounds })).unwrap()
    }

    #[test]
    fn a_goal_is_reached_missed_or_undecided() {
        let reached = judged(json!([[100, 100], [50, 100], [96, 100], [97, 100], [98, 100], [300, 100]]));
        assert_eq!((reached["reached"].clone(), reached["range"].clone()), (json!(true), json!([0.96, 1.0])));
        assert_eq!((reached["ratio"].clone(), reached["peers"]["baseline"].clone()), (json!(0.975), json!(100.0)));
        let missed = judged(json!([[90, 100], [91, 100], [92, 100], [93, 100], [94, 100], [99, 100]]));
        assert_eq!(missed["reached"], json!(false));
        let undecided = judged(json!([[90, 100], [91, 100], [96, 100], [97, 100], [98, 100], [99, 100]]));
        assert_eq!(undecided["reached"], json!("undecided"));
    }

    #[test]
    fn rounds_without_rates_are_an_error() {
        assert!(row(&json!({ "id": "x", "rounds": [[1, 0]] })).is_err());
        assert!(row(&json!({ "id": "x", "rounds": [] })).is_err());
    }
}
