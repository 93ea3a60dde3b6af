//! The benchmark's client: it starts the servers and the browser, measures, and prints what it measured. Run by `cargo xtask bench`.
//!
//! Contenders are measured block by block in turn. Each measure is one line:
//! `bench {"id":…,"engine":…,"unit":…,"rounds":[{"ours":…,"floor":…,…},…]}`.

mod actors;
mod browser;
mod collector;
mod contender;
mod database;
mod http;
mod idle;
mod link;
mod load;
mod memory;
mod nats;
mod peer;
mod raw;
mod rounds;
mod world;

use std::{env, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{contender::Role, rounds::Rounds, world::Server};

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// What to measure; may be given several times.
    #[arg(long = "part")]
    parts: Vec<String>,
    /// How often each contender is measured.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// How long each time, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    block_ms: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A server uses all cores, and so does what stands in for one.
    let mut builder = match arguments.role {
        Some(Role::Raw) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match &arguments.role {
                None => run(&arguments).await,
                Some(Role::Raw) => raw::serve().await,
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

async fn run(arguments: &Arguments) -> Result<()> {
    let rounds = Rounds { rounds: arguments.rounds, block: Duration::from_millis(arguments.block_ms) };
    let is_asked_for = |part: &str| arguments.parts.iter().any(|asked| asked == part);
    let in_page: Vec<&str> =
        ["calls", "link", "launch", "actors"].into_iter().filter(|part| is_asked_for(part)).collect();
    if is_asked_for("http") {
        http::run(&rounds).await?;
    }
    if !in_page.is_empty() {
        let server = Server::start(&path("STARLANE_BIN")?).await?;
        browser::run(&server, &in_page, &rounds).await?;
        if is_asked_for("link") {
            link::run(&server, &rounds).await?;
        }
    }
    if is_asked_for("idle") {
        idle::run(&rounds).await?;
    }
    if is_asked_for("actors") {
        actors::run(&rounds).await?;
    }
    if is_asked_for("database") {
        database::run(&rounds).await?;
    }
    Ok(())
}

/// The file or folder that a variable names.
pub(crate) fn path(variable: &str) -> Result<PathBuf> {
    let path = optional_path(variable)?;
    path.with_context(|| format!("{variable} is not set: run this by `cargo xtask bench`"))
}

/// The same, if the variable is set.
pub(crate) fn optional_path(variable: &str) -> Result<Option<PathBuf>> {
    let Some(path) = env::var_os(variable).map(PathBuf::from) else { return Ok(None) };
    ensure!(path.exists(), "{variable} names {}, which does not exist", path.display());
    Ok(Some(path))
}
