//! The benchmark's client: starts the servers and the browser, and prints its measures. `cargo xtask bench` runs it.
//!
//! Contenders are measured block by block in turn. Each measure is one line:
//! `bench {"id":…,"engine":…,"unit":…,"rounds":[{"ours":…,"floor":…,…},…]}`.

mod actors;
mod browser;
mod collector;
mod database;
mod http;
mod idle;
mod link;
mod load;
mod memory;
mod nats;
mod peer;
mod raw;
mod role;
mod rounds;
mod world;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use starlane_testkit::engine::Engine;

use crate::{role::Role, rounds::Rounds, world::Server};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Measure this part. Repeatable.
    #[arg(long = "part")]
    parts: Vec<String>,
    /// The browser engine of pages.
    #[arg(long, default_value = "chromium")]
    engine: Engine,
    /// The number of blocks of each contender.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// The length of a block, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    block_ms: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A server uses all cores, and so do its peers.
    let mut builder = match arguments.role {
        Some(Role::Raw | Role::Sqlite) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match &arguments.role {
                None => run(&arguments).await,
                Some(Role::Raw) => raw::serve().await,
                Some(Role::Sqlite) => database::serve().await,
                Some(Role::Responder { address }) => nats::respond(address).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs each part, even if another has failed.
async fn run(arguments: &Arguments) -> Result<()> {
    let rounds = Rounds { rounds: arguments.rounds, block: Duration::from_millis(arguments.block_ms) };
    let mut failed = 0;
    for part in &arguments.parts {
        println!("part {part}");
        if let Err(error) = run_part(part, arguments.engine, &rounds).await {
            eprintln!("error: {part}: {error:#}");
            failed += 1;
        }
    }
    ensure!(failed == 0, "{failed} of {} parts failed; see the errors above", arguments.parts.len());
    Ok(())
}

async fn run_part(part: &str, engine: Engine, rounds: &Rounds) -> Result<()> {
    match part {
        "calls" | "launch" => browser::run(&server().await?, part, engine, rounds).await,
        "link" => {
            let server = server().await?;
            browser::run(&server, part, engine, rounds).await?;
            link::run(&server, rounds).await
        }
        "actors" => {
            // Only Chromium's pages have separate processes, whose memory can be measured.
            if engine == Engine::Chromium {
                browser::run(&server().await?, part, engine, rounds).await?;
            }
            actors::run(rounds).await
        }
        "idle" => idle::run(rounds).await,
        "http" => http::run(rounds).await,
        "database" => database::run(rounds).await,
        _ => bail!("`{part}` is not a part of the benchmark"),
    }
}

/// A server with fresh data.
async fn server() -> Result<Server> {
    Server::start(&path("STARLANE_BIN")?).await
}

/// The file or folder that a variable names. Fails if the variable is not set.
pub(crate) fn path(variable: &str) -> Result<PathBuf> {
    let path = optional_path(variable)?;
    path.with_context(|| format!("{variable} is not set: run this with `cargo xtask bench`"))
}

/// The same, if the variable is set.
pub(crate) fn optional_path(variable: &str) -> Result<Option<PathBuf>> {
    let Some(path) = env::var_os(variable).map(PathBuf::from) else { return Ok(None) };
    ensure!(path.exists(), "{variable} names {}, which does not exist", path.display());
    Ok(Some(path))
}
