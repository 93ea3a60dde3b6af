//! WebSocket conformance: kosoku runs the Autobahn cases against an echo on the server's own listener, settings and pump.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use starlane_server::testing::Echo;
use starlane_testkit::figure::figure_of;
use tokio::runtime::Builder;

/// The number of cases that must run.
const CASES: usize = 301;
/// The cases that end in a way that the standard allows, but not in the best one: they send bytes that are not UTF-8, which the
/// library notices at the end of their message.
const NON_STRICT: [&str; 2] = ["6.4.3", "6.4.4"];
/// The cases that send a violation right behind a message. The pump reads ahead, and a violation ends the connection at once. So it
/// depends on the threads' order whether the message is echoed before; the standard allows both.
const MAYBE_STRICT: [&str; 10] = ["3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"];
/// The maximum message size of the echo, above the largest of the cases. The limit of links is lower.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// The number of cases that run at the same time.
const PARALLEL_CASES: &str = "2";
/// Leaves out the compression of messages (RFC 7692), an extension that links do not offer.
const LEFT_OUT: [&str; 4] = ["-x", "12.*", "-x", "13.*"];
/// The verdicts that count as passed: right, or reported for information only.
const RIGHT: [&str; 2] = ["OK", "INFORMATIONAL"];
const ALLOWED: &str = "NON-STRICT";

/// The verdicts on all cases.
#[derive(Default)]
struct Verdicts {
    cases: usize,
    /// The cases that are not strict.
    non_strict: BTreeSet<String>,
    /// A line for each case that failed.
    failed: Vec<String>,
}

fn main() -> ExitCode {
    let verdicts = match run() {
        Ok(verdicts) => verdicts,
        Err(error) => {
            println!("FAIL  {error:#}\n0 passed, 1 failed");
            return ExitCode::FAILURE;
        }
    };
    let Verdicts { cases, non_strict, mut failed } = verdicts;
    for (name, value) in [("cases", cases), ("non-strict", non_strict.len()), ("failed", failed.len())] {
        figure_of("", "conformance", &format!("ws-conformance.{name}"), value as f64, "cases");
    }
    if cases != CASES {
        failed.push(format!("{cases} cases ran; {CASES} were expected"));
    }
    let expected = BTreeSet::from(NON_STRICT.map(str::to_owned));
    let found: BTreeSet<String> = non_strict.into_iter().filter(|case| !MAYBE_STRICT.contains(&&**case)).collect();
    failed.extend(found.symmetric_difference(&expected).map(|case| {
        let is = if found.contains(case) { "is" } else { "is not" };
        format!("case {case} {is} {ALLOWED}, against the list in tests/conformance")
    }));
    failed.iter().for_each(|line| println!("FAIL  {line}"));
    println!("{} passed, {} failed", cases.saturating_sub(failed.len()), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all cases.
fn run() -> Result<Verdicts> {
    let kosoku = env::var_os("STARLANE_KOSOKU").map(PathBuf::from);
    let kosoku = kosoku.context("STARLANE_KOSOKU is not set: run this with `cargo xtask test --only conformance`")?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = runtime.enter();
    let echo = Echo::listen("127.0.0.1:0".parse()?, MAX_MESSAGE_BYTES)?;
    let address = echo.address()?;
    runtime.spawn(echo.serve());
    let reports = tempfile::tempdir()?;
    let ran = Command::new(&kosoku)
        .args([&address.to_string(), "-p", PARALLEL_CASES, "-o"])
        .arg(reports.path())
        .args(LEFT_OUT)
        .output()
        .with_context(|| format!("cannot run {}: install it with `cargo xtask setup`", kosoku.display()))?;
    let index = reports.path().join("index.json");
    if !index.exists() {
        bail!("{} wrote no report: {}", kosoku.display(), String::from_utf8_lossy(&ran.stderr));
    }
    read(&index)
}

/// Reads the report: an object of agents, each an object of cases.
fn read(index: &Path) -> Result<Verdicts> {
    let report: Value = serde_json::from_slice(&std::fs::read(index)?)?;
    let cases = report.as_object().and_then(|agents| agents.values().next()).and_then(Value::as_object);
    let cases = cases.context("the report has no cases")?;
    let mut verdicts = Verdicts { cases: cases.len(), ..Verdicts::default() };
    for (name, case) in cases {
        let [behaviour, close] =
            ["behavior", "behaviorClose"].map(|end| case.get(end).and_then(Value::as_str).unwrap_or("nothing"));
        let line = format!("case {name}: {behaviour}, closed {close}");
        let ends = [behaviour, close];
        if ends.iter().any(|end| *end != ALLOWED && !RIGHT.contains(end)) {
            verdicts.failed.push(line);
        } else if ends.contains(&ALLOWED) {
            verdicts.non_strict.insert(name.clone());
        }
    }
    Ok(verdicts)
}
