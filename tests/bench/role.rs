//! Roles that need a separate process, like a server: this program again, in another role.

use anyhow::{Context, Result, ensure};
use starlane_testkit::child::Started;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::{Duration, timeout},
};

const START: Duration = Duration::from_secs(10);

/// The roles of this program besides the client.
#[derive(Debug, Clone, PartialEq, Eq, clap::Subcommand)]
pub(crate) enum Role {
    /// The raw WebSocket echo.
    Raw,
    /// SQLite behind plain HTTP.
    Sqlite,
    /// The responder behind a NATS server.
    Responder {
        /// The server's address.
        address: String,
    },
}

/// A process in a role. Dropping it ends the process.
pub(crate) struct Player {
    /// The line that it printed when it was ready.
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
        read.with_context(|| format!("{words:?} printed no line"))??;
        ensure!(!line.trim().is_empty(), "{words:?} ended before it was ready");
        Ok(Self { said: line.trim().to_owned(), _running: running })
    }
}
