//! What is to be a process of its own, as a server is: this program again, in another role.

use anyhow::{Context, Result, ensure};
use starlane_testkit::child::Started;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::{Duration, timeout},
};

const START: Duration = Duration::from_secs(10);

/// What this program can be instead of the client.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub(crate) enum Role {
    /// The raw WebSocket echo.
    Raw,
    /// SQLite behind plain HTTP.
    Sqlite,
    /// What answers behind a NATS server.
    Responder {
        /// The server's address.
        address: String,
    },
}

/// A process in a role; it is ended when this is dropped.
pub(crate) struct Player {
    /// The line that it said when it was ready.
    pub(crate) said: String,
    _running: Started,
}

impl Player {
    /// Starts this program in a role, and waits until it is ready.
    pub(crate) async fn start(words: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut running = Started::with_output(command.args(words))?;
        let output = running.child().stdout.take().context("it has no output")?;
        let mut line = String::new();
        let read = timeout(START, BufReader::new(output).read_line(&mut line)).await;
        read.with_context(|| format!("{words:?} says nothing"))??;
        ensure!(!line.trim().is_empty(), "{words:?} ended before it was ready");
        Ok(Self { said: line.trim().to_owned(), _running: running })
    }
}
