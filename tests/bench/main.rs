//! How fast two servers answer over HTTP, side by side: run by `cargo xtask bench --only http`.
//!
//! Both run on loopback with fresh data and the same bundle, and are measured block by block in alternating order. Each measure is one
//! line: `bench {"id":…,"unit":…,"rounds":[[ours, baseline], …]}`.

mod load;
mod world;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::{load::Load, world::Server};

/// What a server is asked in a block.
struct Measure {
    id: &'static str,
    unit: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static [u8],
    /// Whether it is asked with the admin token.
    as_admin: bool,
}

const MEASURES: [Measure; 3] = [
    Measure {
        id: "http/messages",
        unit: "requests/s",
        method: "POST",
        path: "/messages/bench:echoes:echo/echo",
        body: b"{\"text\":\"sixty-four bytes of JSON, which come back as they went\"}",
        as_admin: true,
    },
    Measure { id: "http/route", unit: "requests/s", method: "GET", path: "/echo/ada", body: b"", as_admin: false },
    Measure { id: "http/files", unit: "files/s", method: "GET", path: "/assets/file.bin", body: b"", as_admin: false },
];

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let ours = Server::start(&binary("STARLANE_BIN")?).await.context("our server")?;
    let baseline = Server::start(&binary("STARLANE_BASELINE")?).await.context("the baseline")?;
    let (rounds, block) = (number("STARLANE_ROUNDS")?, Duration::from_millis(number("STARLANE_BLOCK_MS")?));
    for measure in &MEASURES {
        let mut loads = Vec::new();
        for server in [&ours, &baseline] {
            let token = measure.as_admin.then_some(server.token.as_str());
            let load = Load::open(&server.address, measure.method, measure.path, token, measure.body).await?;
            // Modules are compiled, actors wake, caches fill.
            load.run(block).await?;
            loads.push(load);
        }
        let [ours, baseline] = loads.as_slice() else { continue };
        let mut results: Vec<[f64; 2]> = Vec::new();
        for round in 0..rounds {
            // A B B A: what drifts is as much with one as with the other.
            let rates = if round % 2 == 0 {
                let ours = ours.run(block).await?;
                [ours, baseline.run(block).await?]
            } else {
                let baseline = baseline.run(block).await?;
                [ours.run(block).await?, baseline]
            };
            results.push(rates);
        }
        println!("bench {}", json!({ "id": measure.id, "unit": measure.unit, "rounds": results }));
    }
    Ok(())
}

fn binary(variable: &str) -> Result<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from);
    let path = path.with_context(|| format!("{variable} is not set: run this by `cargo xtask bench --only http`"))?;
    ensure!(path.is_file(), "{variable} names {}, which is not a file", path.display());
    Ok(path)
}

fn number(variable: &str) -> Result<u64> {
    let text = env::var(variable).with_context(|| format!("{variable} is not set"))?;
    text.parse().with_context(|| format!("{variable} is `{text}`, which is not a number"))
}
