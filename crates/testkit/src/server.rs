//! The real server, with its own data.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use tempfile::TempDir;
use tokio::{process::Command, time::sleep};

use crate::child::Started;

/// The time limit from the server's start to its first answer.
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running `starlane serve`. Dropping it ends the server and removes its data.
pub struct Server {
    /// `127.0.0.1:PORT`.
    pub address: String,
    binary: PathBuf,
    configuration: Option<PathBuf>,
    /// Declared before the folder that it writes to, because fields are dropped in order.
    running: Option<Started>,
    folder: TempDir,
}

impl Server {
    /// Starts the server that `STARLANE_BIN` names, on a free port and without data.
    pub async fn start() -> Result<Self> {
        Self::start_with(from_environment("STARLANE_BIN")?, None).await
    }

    /// Starts another binary of the server, with a configuration file.
    pub async fn start_binary(binary: &Path, configuration: &Path) -> Result<Self> {
        Self::start_with(binary.to_owned(), Some(configuration.to_owned())).await
    }

    async fn start_with(binary: PathBuf, configuration: Option<PathBuf>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("starlane-test-").tempdir()?;
        let address = free_address()?;
        let mut server = Self { address, folder, binary, configuration, running: None };
        server.start_again().await?;
        Ok(server)
    }

    /// `http://127.0.0.1:PORT`
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The id of its process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.running.as_ref().and_then(Started::process)
    }

    /// Kills it, like a crash.
    pub async fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.kill().await;
        }
    }

    /// Ends it with SIGTERM, so that it says goodbye.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Restarts it on the same port with the same data, and waits until it answers.
    pub async fn start_again(&mut self) -> Result<()> {
        self.kill().await;
        let mut command = self.command();
        command.arg("serve").arg("--data").arg(self.data()).args(["--listen", &self.address]);
        if let Some(configuration) = &self.configuration {
            command.arg("--config").arg(configuration);
        }
        let mut running = Started::new(&mut command, &self.log_file())?;
        let start = Instant::now();
        loop {
            running.still_runs().with_context(|| self.log())?;
            match get(&format!("{}/healthz", self.origin())).await {
                Ok((200, _)) => break,
                _ if start.elapsed() < START_LIMIT => sleep(Duration::from_millis(25)).await,
                Ok((status, _)) => bail!("/healthz answers {status} after {} s\n{}", START_LIMIT.as_secs(), self.log()),
                Err(error) => return Err(error.context(self.log())),
            }
        }
        self.running = Some(running);
        Ok(())
    }

    /// Publishes the bundle in `folder`, and creates `app` from it.
    pub async fn publish(&self, folder: &Path, bundle: &str, app: &str) -> Result<()> {
        let folder = folder.to_string_lossy();
        self.starlane(&["publish", &folder, bundle]).await?;
        self.starlane(&["app", "create", app, "--bundle", bundle]).await?;
        Ok(())
    }

    /// Runs a command of the command line against this server. Returns its standard output.
    pub async fn starlane(&self, words: &[&str]) -> Result<String> {
        let output = self.command().args(words).output().await?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("`starlane {}` failed ({})\n{out}{err}", words.join(" "), output.status);
        }
        Ok(out.into_owned())
    }

    /// The last lines of the server's log.
    pub fn log(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default();
        format!("last lines of the server at {}:\n{}", self.address, last.join("\n"))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.kill_on_drop(true).env("STARLANE_SERVER", self.origin()).env("STARLANE_DATA", self.data());
        // Keeps the keys of tests apart from the user's.
        command.env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        command
    }
}

/// The file or folder that a variable of `cargo xtask test` names.
pub fn from_environment(variable: &str) -> Result<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from).with_context(|| {
        format!("{variable} is not set: run this with `cargo xtask test --only page` or `cargo xtask run --check`")
    })?;
    if !path.exists() {
        bail!("{variable} names {}, which does not exist: run `cargo xtask test`, which builds it", path.display());
    }
    Ok(path)
}

/// A free address on loopback.
pub fn free_address() -> Result<String> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string())
}

/// GETs a URL: status and body.
pub async fn get(url: &str) -> Result<(u16, Vec<u8>)> {
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let response = client.get(Uri::try_from(url)?).await.with_context(|| format!("{url} did not answer"))?;
    let status = response.status().as_u16();
    Ok((status, response.into_body().collect().await?.to_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_variable_is_an_error_with_a_remedy() {
        let error = from_environment("STARLANE_NO_SUCH_THING").unwrap_err().to_string();
        assert!(error.contains("STARLANE_NO_SUCH_THING") && error.contains("cargo xtask"), "{error}");
    }
}
