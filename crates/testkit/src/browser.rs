//! Drives a browser over WebDriver.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use fantoccini::{
    Client, ClientBuilder, Locator,
    elements::Element,
    error::CmdError,
    wd::{TimeoutConfiguration, WebDriverCompatibleCommand},
};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    time::{sleep, timeout},
};

use crate::{
    child::{Started, find_program},
    engine::Engine,
    server::free_address,
};

/// The time limit for a driver to answer, and for a browser to start.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The time limit of a script in a page.
const SCRIPT_LIMIT: Duration = Duration::from_secs(60);
/// The time limit for an element or a condition in a page.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A browser with one session. Dropping it ends the browser and its driver.
pub struct Browser {
    /// The session, for commands without a method here.
    pub client: Client,
    engine: Engine,
    _driver: Started,
    _display: Option<Started>,
    _folder: TempDir,
}

impl Browser {
    /// Starts the engine's driver and the browser, with a temporary profile.
    pub async fn open(engine: Engine) -> Result<Self> {
        Self::with(engine, engine.capabilities()?, &[]).await
    }

    /// The same for a person who prefers dark pages.
    pub async fn open_dark(engine: Engine) -> Result<Self> {
        let browser = Self::with(engine, engine.dark_capabilities()?, &[("GTK_THEME", "Adwaita:dark")]).await?;
        if engine == Engine::Chromium {
            let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
            browser.devtools("Emulation.setEmulatedMedia", media).await?;
        }
        Ok(browser)
    }

    /// Starts the browser on a profile folder, which is kept for a later browser.
    pub async fn open_on(engine: Engine, profile: &Path) -> Result<Self> {
        Self::with(engine, engine.capabilities_on(profile)?, &[]).await
    }

    async fn with(engine: Engine, capabilities: Map<String, Value>, environment: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("starlane-browser-").tempdir()?;
        let mut command = Command::new(engine.driver()?);
        command.env("TMPDIR", folder.path()).envs(environment.iter().copied());
        let mut display = None;
        if engine == Engine::Webkit {
            // Without a GPU, compositing only costs time.
            command.env("WEBKIT_DISABLE_COMPOSITING_MODE", "1");
            if rustix::process::getuid().is_root() {
                command.env("WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS", "1");
            }
            if std::env::var_os("DISPLAY").is_none() {
                let (started, name) = start_display(engine).await?;
                display = Some(started);
                command.env("DISPLAY", name);
            }
        }
        let address = free_address()?;
        let port = address.rsplit(':').next().unwrap_or_default();
        command.arg(format!("--port={port}"));
        let log = folder.path().join("driver.log");
        let mut driver = Started::new(&mut command, &log)?;
        let said = || std::fs::read_to_string(&log).unwrap_or_default();

        let start = Instant::now();
        while tokio::net::TcpStream::connect(&address).await.is_err() {
            driver.still_runs().with_context(said)?;
            if start.elapsed() > START_LIMIT {
                bail!("the driver of {engine} did not listen within {} s\n{}", START_LIMIT.as_secs(), said());
            }
            sleep(Duration::from_millis(20)).await;
        }
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(capabilities);
        let url = format!("http://{address}");
        let connected = timeout(START_LIMIT, builder.connect(&url)).await;
        let client = connected.with_context(said)?.with_context(|| format!("{engine} did not start\n{}", said()))?;
        let long = TimeoutConfiguration::new(Some(SCRIPT_LIMIT), Some(SCRIPT_LIMIT), Some(Duration::ZERO));
        client.update_timeouts(long).await?;
        Ok(Self { client, engine, _driver: driver, _display: display, _folder: folder })
    }

    /// Its engine.
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// Closes the session.
    pub async fn close(self) -> Result<()> {
        self.client.clone().close().await.context("the browser did not close")
    }

    /// Opens a URL in the present window.
    pub async fn goto(&self, url: &str) -> Result<()> {
        self.client.goto(url).await.with_context(|| format!("cannot open {url}"))
    }

    /// Opens another window (or a tab, if the engine has only tabs) and switches to it.
    pub async fn new_window(&self) -> Result<()> {
        let window = self.client.new_window(false).await?;
        self.client.switch_to_window(window.handle).await?;
        Ok(())
    }

    /// Runs the body of an async function in the page, with `argument`. Returns its value.
    ///
    /// If the function throws, the error is a [`Thrown`].
    pub async fn run(&self, body: &str, argument: Value) -> Result<Value> {
        let script = format!(
            "const [argument, done] = arguments;
             (async () => {{ {body} }})().then(
               (value) => done({{ value: value === undefined ? null : value }}),
               (error) => done({{ thrown: {{ name: error?.name ?? null, code: error?.code ?? null, status: error?.status ?? null,
                 address: error?.address ?? null, message: String(error?.message ?? error) }} }}));"
        );
        let mut answer = self.client.execute_async(&script, vec![argument]).await?;
        if let Some(thrown) = answer.get("thrown") {
            let text = |name: &str| thrown.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            return Err(Thrown {
                name: text("name"),
                code: text("code"),
                status: thrown.get("status").and_then(Value::as_u64).unwrap_or_default(),
                address: text("address"),
                message: text("message"),
            }
            .into());
        }
        Ok(answer.get_mut("value").map(Value::take).unwrap_or_default())
    }

    /// Runs a script that must throw. Returns its error.
    pub async fn run_to_fail(&self, body: &str, argument: Value) -> Result<Thrown> {
        match self.run(body, argument).await {
            Ok(value) => bail!("the script did not throw; it returned {value}"),
            Err(error) => error.downcast::<Thrown>(),
        }
    }

    /// The element with this `data-testid`.
    pub async fn element(&self, name: &str) -> Result<Element> {
        let selector = format!("[data-testid=\"{name}\"]");
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(&selector)).await;
        found.with_context(|| format!("the page has no `{name}`"))
    }

    /// The text content of an element, even if it is hidden.
    pub async fn text(&self, name: &str) -> Result<String> {
        let text = self.element(name).await?.prop("textContent").await?;
        Ok(text.unwrap_or_default())
    }

    /// An attribute of an element.
    pub async fn attribute(&self, name: &str, attribute: &str) -> Result<Option<String>> {
        Ok(self.element(name).await?.attr(attribute).await?)
    }

    /// Clicks an element when it is enabled.
    pub async fn click(&self, name: &str) -> Result<()> {
        let selector = format!("[data-testid=\"{name}\"]:not(:disabled)");
        let found = self.client.wait().at_most(PATIENCE).for_element(Locator::Css(&selector)).await;
        let element = found.with_context(|| format!("cannot click `{name}`"))?;
        element.click().await.with_context(|| format!("cannot click `{name}`"))
    }

    /// Waits until a script returns a value other than `null` and `false`.
    ///
    /// The script is the body of a function, which is called repeatedly. `what` describes the condition.
    pub async fn until(&self, what: &str, body: &str, argument: Value) -> Result<Value> {
        let start = Instant::now();
        loop {
            let value =
                self.client.execute(&format!("const [argument] = arguments; {body}"), vec![argument.clone()]).await;
            let told = match value {
                Ok(Value::Null | Value::Bool(false)) => None,
                Ok(value) => return Ok(value),
                // Scripts fail while a page is loading.
                Err(CmdError::Standard(error)) => Some(error.to_string()),
                Err(error) => return Err(error.into()),
            };
            if start.elapsed() > PATIENCE {
                let told = told.map(|told| format!(" ({told})")).unwrap_or_default();
                bail!("not true within {} s: {what}{told}", PATIENCE.as_secs());
            }
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// Saves a picture of the window.
    pub async fn screenshot(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(file, self.client.screenshot().await?)?)
    }

    /// A command of Chromium's own protocol.
    pub async fn devtools(&self, command: &str, parameters: Value) -> Result<Value> {
        let body = json!({ "cmd": command, "params": parameters });
        Ok(self.client.issue_cmd(Vendor { path: "goog/cdp/execute", body }).await?)
    }

    /// The messages of the page's console. Empty in engines that do not report them.
    pub async fn console(&self) -> String {
        if self.engine != Engine::Chromium {
            return String::new();
        }
        let log = self.client.issue_cmd(Vendor { path: "se/log", body: json!({ "type": "browser" }) }).await;
        let lines = log.ok().and_then(|log| log.as_array().cloned()).unwrap_or_default();
        let line = |entry: &Value| entry.get("message").and_then(Value::as_str).map(str::to_owned);
        lines.iter().filter_map(line).collect::<Vec<_>>().join("\n")
    }
}

/// An error that a script in a page threw.
#[derive(Debug, Clone)]
pub struct Thrown {
    /// The class of the error.
    pub name: String,
    /// Its code, if it has one.
    pub code: String,
    /// Its HTTP-like status, or 0.
    pub status: u64,
    /// The address that it is about, if any.
    pub address: String,
    /// Its message.
    pub message: String,
}

impl std::fmt::Display for Thrown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, code, status, address, message } = self;
        write!(f, "{name} {{ code: {code:?}, status: {status}, address: {address:?} }}: {message}")
    }
}

impl std::error::Error for Thrown {}

/// A command beyond the WebDriver standard.
#[derive(Debug)]
struct Vendor {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Vendor {
    fn endpoint(&self, base: &url::Url, session: Option<&str>) -> Result<url::Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &url::Url) -> (hyper::Method, Option<String>) {
        (hyper::Method::POST, Some(self.body.to_string()))
    }
}

/// Starts a virtual display, which finds a free number by itself. Returns its name.
async fn start_display(engine: Engine) -> Result<(Started, String)> {
    let program = find_program("Xvfb").ok_or_else(|| engine.missing("Xvfb"))?;
    let mut command = Command::new(program);
    command.args(["-displayfd", "1", "-screen", "0", "1400x1000x24", "-nolisten", "tcp"]);
    let mut display = Started::with_output(&mut command)?;
    let output = display.child().stdout.take().ok_or_else(|| anyhow!("Xvfb has no output"))?;
    let mut number = String::new();
    timeout(START_LIMIT, BufReader::new(output).read_line(&mut number))
        .await
        .context("Xvfb did not report its display")??;
    if number.trim().is_empty() {
        bail!("Xvfb ended before it reported its display");
    }
    Ok((display, format!(":{}", number.trim())))
}
