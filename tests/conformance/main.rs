//! WebSocket conformance: kosoku runs the Autobahn cases against an echo on the server's own stack.

use std::{
    env,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};
use axum::{
    Router,
    extract::ws::{Message, WebSocket, WebSocketUpgrade},
    routing::get,
};
use serde_json::Value;
use starlane_testkit::figure;
use tokio::{net::TcpListener, runtime::Builder};

/// The maximum message size of the echo, above the largest of the cases. The limit of links is lower.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// The number of cases that run at the same time.
const PARALLEL_CASES: &str = "2";
/// Leaves out the compression of messages (RFC 7692), an extension that links do not offer.
const LEFT_OUT: [&str; 4] = ["-x", "12.*", "-x", "13.*"];
/// The verdicts that count as passed: right, or one of several ways that the standard allows.
const RIGHT: [&str; 3] = ["OK", "INFORMATIONAL", "NON-STRICT"];

fn main() -> ExitCode {
    match run() {
        Ok((cases, wrong)) => {
            figure::figure_of("", "conformance", "ws-conformance.cases", cases as f64, "cases");
            figure::figure_of("", "conformance", "ws-conformance.failed", wrong.len() as f64, "cases");
            wrong.iter().for_each(|line| println!("{line}"));
            println!("{} passed, {} failed", cases - wrong.len(), wrong.len());
            if wrong.is_empty() && cases > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            println!("FAIL  {error:#}\n0 passed, 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// Runs all cases. Returns their number, and a line for each failure.
fn run() -> Result<(usize, Vec<String>)> {
    let kosoku = env::var_os("STARLANE_KOSOKU").map(PathBuf::from);
    let kosoku = kosoku.context("STARLANE_KOSOKU is not set: run this with `cargo xtask test --only conformance`")?;
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let address = runtime.block_on(echo())?;
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
fn read(index: &Path) -> Result<(usize, Vec<String>)> {
    let report: Value = serde_json::from_slice(&std::fs::read(index)?)?;
    let cases = report.as_object().and_then(|agents| agents.values().next()).and_then(Value::as_object);
    let cases = cases.context("the report has no cases")?;
    let text = |case: &Value, name: &str| case.get(name).and_then(Value::as_str).unwrap_or("nothing").to_owned();
    let wrong = cases.iter().filter_map(|(name, case)| {
        let (behaviour, close) = (text(case, "behavior"), text(case, "behaviorClose"));
        let right = [&behaviour, &close].iter().all(|end| RIGHT.contains(&end.as_str()));
        (!right).then(|| format!("FAIL  case {name}: {behaviour}, closed {close}"))
    });
    Ok((cases.len(), wrong.collect()))
}

async fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let upgrade = async |upgrade: WebSocketUpgrade| {
        upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES).on_upgrade(answer)
    };
    let router = Router::new().route("/", get(upgrade));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn answer(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let echoed = match message {
            message @ (Message::Text(_) | Message::Binary(_)) => socket.send(message).await,
            // The library itself answers these.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => Ok(()),
        };
        if echoed.is_err() {
            return;
        }
    }
}
