//! The parts in a page: a browser without a driver opens the page, which reports its measures.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use starlane_testkit::{child::Started, engine::Engine};
use tokio::{process::Command, time::timeout};

use crate::{collector, memory, nats::Nats, path, role::Player, rounds::Rounds, world::Server};

/// The maximum silence of a page.
const SILENCE: Duration = Duration::from_secs(180);
/// Chromium treats the page as visible, and lets it collect garbage before memory is measured.
const CHROMIUM: [&str; 4] = [
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--js-flags=--expose-gc",
];

/// Firefox opens no other page, and keeps its clock precise.
const FIREFOX: &str = "user_pref(\"browser.aboutwelcome.enabled\", false);\n\
                       user_pref(\"browser.shell.checkDefaultBrowser\", false);\n\
                       user_pref(\"datareporting.policy.dataSubmissionEnabled\", false);\n\
                       user_pref(\"privacy.reduceTimerPrecision\", false);\n";

/// Opens the page on a server and runs a part in it.
pub(crate) async fn run(server: &Server, part: &str, engine: Engine, rounds: &Rounds) -> Result<()> {
    let (collector, mut told) = collector::start().await?;
    let folder = tempfile::tempdir()?;
    let peers = if part == "link" { Some(Peers::start(folder.path()).await?) } else { None };
    let url = format!(
        "{}/bench?part={part}&engine={engine}&rounds={}&block={}&collector=http://{collector}{}",
        server.origin(),
        rounds.rounds,
        rounds.block.as_millis(),
        peers.as_ref().map(Peers::query).unwrap_or_default(),
    );
    let log = folder.path().join("browser.log");
    let mut browser = Started::new(&mut command(engine, folder.path(), &url)?, &log)?;
    loop {
        browser.still_runs().with_context(|| said(&log))?;
        let Ok(Some(told)) = timeout(SILENCE, told.recv()).await else {
            bail!("the page has reported nothing for {} s\n{}", SILENCE.as_secs(), said(&log));
        };
        let answer = match told.kind.as_str() {
            "measure" => {
                println!("bench {}", told.value);
                Value::Null
            }
            "memory" => memory::of_pages(browser.process().context("the browser has ended")?)?.into(),
            "done" => return Ok(()),
            "failed" => {
                let text = |field: &str| told.value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
                bail!("in the page: {}\n{}", text("why"), text("stack"));
            }
            other => bail!("the page reports `{other}`, which is unknown"),
        };
        // A closed page does not wait for the answer.
        let _ = told.answer.send(answer);
    }
}

/// The peers of the link.
struct Peers {
    nats: Nats,
    _responder: Player,
    raw: Player,
}

impl Peers {
    async fn start(folder: &Path) -> Result<Self> {
        let nats = Nats::start(folder).await?;
        let responder = Player::start(&["responder", &nats.address]).await?;
        Ok(Self { nats, _responder: responder, raw: Player::start(&["raw"]).await? })
    }

    /// Their addresses, for the page.
    fn query(&self) -> String {
        format!("&raw={}&nats={}", self.raw.said, self.nats.websocket)
    }
}

fn command(engine: Engine, folder: &Path, url: &str) -> Result<Command> {
    let profile = folder.join("profile");
    std::fs::create_dir(&profile)?;
    let mut command = Command::new(path("STARLANE_BROWSER")?);
    let capabilities = engine.capabilities()?;
    let arguments = capabilities.values().find_map(|options| options.get("args")?.as_array()).cloned();
    command.args(arguments.unwrap_or_default().iter().filter_map(Value::as_str));
    match engine {
        Engine::Chromium => command.args(CHROMIUM).arg(format!("--user-data-dir={}", profile.display())),
        Engine::Firefox => {
            std::fs::write(profile.join("user.js"), FIREFOX)?;
            command.arg("-no-remote").arg("-profile").arg(&profile)
        }
        Engine::Webkit => bail!("WebKit cannot open a page without its driver: measure in another engine"),
    };
    command.arg(url).env("TMPDIR", folder);
    Ok(command)
}

/// The last lines of the browser's log.
fn said(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}
