//! `starlane status`, `logs`, `backup` and `restore`: what an operator asks of a server.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};
use starlane_protocol::Topic;

use crate::{
    client::Client,
    output::{Output, size},
    watch,
};

const SERVER: &str = "starlane:server";

#[derive(Deserialize)]
struct Lines {
    lines: Vec<String>,
}

/// Shows what runs on a server.
pub(crate) fn status(client: &Client, output: Output) -> Result<()> {
    let status: Value = client.ask(SERVER, "status", &json!({}))?;
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "?".to_owned(),
    };
    let list = |pointer: &str| status.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let (links, actors, apps) = (list("/inspection/links"), list("/inspection/actors"), list("/inspection/apps"));
    let up = links.iter().filter(|link| link.get("up") == Some(&json!(true))).count();
    let running = Duration::from_secs(status.pointer("/uptimeSeconds").and_then(Value::as_u64).unwrap_or_default());
    let facts = [
        ("host", text("/inspection/host")),
        ("running for", humantime::format_duration(running).to_string()),
        ("apps", apps.len().to_string()),
        ("links", up.to_string()),
        (
            "requests",
            format!(
                "{} answered, {} failed, {} open",
                text("/replies"),
                text("/failures"),
                text("/inspection/openRequests")
            ),
        ),
        ("crashes", text("/crashes")),
    ];
    output.done(&format!("Starlane {} at {}", text("/version"), client.url()), &facts, None, &status);
    if output == Output::Human && !actors.is_empty() {
        let cell = |actor: &Value, name: &str| match actor.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "–".to_owned(),
            Some(other) => other.to_string(),
        };
        let names = ["address", "state", "place", "mailbox", "crashes"];
        let rows: Vec<[String; 5]> = actors.iter().map(|actor| names.map(|name| cell(actor, name))).collect();
        output.gap();
        output.table(["MECHTRON", "STATE", "RUNS IN", "MAILBOX", "CRASHES"], &rows, &Value::Null);
    }
    Ok(())
}

/// Prints the last lines of the server's log, and with `follow` those that come.
pub(crate) fn logs(last: usize, follow: bool, client: &Client, output: Output) -> Result<()> {
    // The stream is open before the last lines are asked for: none is missed between them.
    let topic = Topic::parse("starlane:server#logs")?;
    let stream = if follow { Some(watch::open(&topic, client)?) } else { None };
    let Lines { lines } = client.ask(SERVER, "logs", &json!({ "last": last }))?;
    match output {
        Output::Json => writeln!(io::stdout(), "{}", json!({ "lines": lines }))?,
        Output::Human | Output::Quiet => lines.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"))?,
    }
    match stream {
        Some(stream) => watch::print(stream, output, watch::Shape::Body),
        None => Ok(()),
    }
}

/// Writes all that a running server keeps into a file.
pub(crate) fn backup(file: &Path, client: &Client, output: Output) -> Result<()> {
    if file.exists() {
        bail!("{} is there already: name a file that is not", file.display());
    }
    let mut body = client.stream("/backup")?;
    let beside = file.with_extension("part");
    let created = File::create(&beside);
    let mut out = created.with_context(|| format!("{} can't be written", beside.display()))?;
    let bar = if output == Output::Human { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let copied = io::copy(&mut body, &mut bar.wrap_write(&mut out)).and_then(|bytes| out.sync_all().map(|()| bytes));
    bar.finish_and_clear();
    let bytes = match copied.and_then(|bytes| fs::rename(&beside, file).map(|()| bytes)) {
        Ok(bytes) => bytes,
        Err(error) => {
            let _ = fs::remove_file(&beside);
            return Err(error).with_context(|| format!("the backup of {} broke off: nothing was kept", client.url()));
        }
    };
    let facts = [
        ("file", file.display().to_string()),
        ("size", size(bytes)),
        ("secret", "it holds the server's keys: keep it safe".to_owned()),
    ];
    let next = format!("starlane restore {} --data NEW-FOLDER", file.display());
    output.done("All is backed up", &facts, Some(&next), &json!({ "file": file, "bytes": bytes }));
    Ok(())
}

/// Makes a data folder of a backup.
pub(crate) fn restore(file: &Path, data: &Path, output: Output) -> Result<()> {
    let version = starlane_server::restore(file, data)?;
    let facts = [("data", data.display().to_string()), ("made by", format!("Starlane {version}"))];
    let next = format!("starlane serve --data {}", data.display());
    output.done("The backup is restored", &facts, Some(&next), &json!({ "data": data, "madeBy": version }));
    Ok(())
}
