//! The commands of an operator: `starlane status`, `logs`, `audit`, `backup` and `restore`.

use std::{
    io::{self, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};
use starlane_protocol::Topic;
use starlane_server::Keys;

use crate::{
    client::Client,
    output::{Output, size},
    watch,
};

const SERVER: &str = "starlane:server";

#[derive(Deserialize)]
struct Changes {
    lines: Vec<Value>,
}

#[derive(Deserialize)]
struct Lines {
    lines: Vec<String>,
}

/// Shows the status of a server.
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
        let row = |actor: &Value| {
            let [address, state, place, mailbox, unfinished, crashes] =
                ["address", "state", "place", "mailbox", "unfinished", "crashes"].map(|name| cell(actor, name));
            [address, state, place, mailbox, unfinished, crashes, saved(actor)]
        };
        let rows: Vec<[String; 7]> = actors.iter().map(row).collect();
        output.gap();
        let head = ["MECHTRON", "STATE", "RUNS IN", "MAILBOX", "UNFINISHED", "CRASHES", "SAVED"];
        output.table(head, &rows, &Value::Null);
    }
    Ok(())
}

/// When the state of an actor was saved, for people.
fn saved(actor: &Value) -> String {
    match (actor.get("unsaved") == Some(&json!(true)), actor.get("savedAgoMs").and_then(Value::as_u64)) {
        (true, _) => "not yet".to_owned(),
        (false, Some(ms)) => format!("{} ago", humantime::format_duration(Duration::from_secs(ms / 1_000))),
        (false, None) => "–".to_owned(),
    }
}

/// Prints the last lines of the server's log, and with `follow` also new lines.
pub(crate) fn logs(last: usize, follow: bool, client: &Client, output: Output) -> Result<()> {
    // Open the stream before the request for the last lines, so that no line between them is missed.
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

/// Prints the last lines of the server's audit log.
pub(crate) fn audit(last: usize, client: &Client, output: Output) -> Result<()> {
    let Changes { lines } = client.ask(SERVER, "audit", &json!({ "last": last }))?;
    let cell = |line: &Value, name: &str| line.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let names = ["time", "principal", "action", "outcome", "target"];
    let rows: Vec<[String; 5]> = lines.iter().map(|line| names.map(|name| cell(line, name))).collect();
    output.table(["TIME", "PRINCIPAL", "ACTION", "OUTCOME", "ABOUT"], &rows, &json!({ "lines": lines }));
    Ok(())
}

/// Writes a backup of a running server to a file.
pub(crate) fn backup(file: &Path, client: &Client, output: Output) -> Result<()> {
    if file.symlink_metadata().is_ok() {
        bail!("{} exists already: give a file that does not exist", file.display());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A temporary file in the same folder, which only its owner can read. Dropping it removes it.
    let made = tempfile::Builder::new().prefix(".starlane-backup.").tempfile_in(folder);
    let mut out = made.with_context(|| format!("no file can be created in {}", folder.display()))?;
    let mut body = client.stream("/backup")?;
    let bar = if output == Output::Human { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    let copied = io::copy(&mut body, &mut bar.wrap_write(out.as_file_mut()));
    bar.finish_and_clear();
    let copied = copied.and_then(|bytes| out.as_file().sync_all().map(|()| bytes));
    let bytes =
        copied.with_context(|| format!("the backup of {} was interrupted: no file was written", client.url()))?;
    out.persist_noclobber(file).with_context(|| format!("{} can't be written: no file was written", file.display()))?;
    let facts = [
        ("file", file.display().to_string()),
        ("size", size(bytes)),
        ("secret", "the file contains the server's keys: keep it safe".to_owned()),
    ];
    let next = format!("starlane restore {} --data NEW-FOLDER", file.display());
    output.done("The backup is complete", &facts, Some(&next), &json!({ "file": file, "bytes": bytes }));
    Ok(())
}

/// Makes a data folder from a backup.
pub(crate) fn restore(file: &Path, data: &Path, keep_keys: bool, output: Output) -> Result<()> {
    let keys = if keep_keys { Keys::Keep } else { Keys::New };
    let version = starlane_server::restore(file, data, keys)?;
    let about_tokens = match keys {
        Keys::New => "new keys: older tokens are refused; `starlane token create` creates new ones",
        Keys::Keep => "kept keys: older tokens are valid, even those that were revoked after the backup",
    };
    let facts = [
        ("data", data.display().to_string()),
        ("made by", format!("Starlane {version}")),
        ("tokens", about_tokens.to_owned()),
    ];
    let next = format!("starlane serve --data {}", data.display());
    let json = json!({ "data": data, "madeBy": version, "keysKept": keep_keys });
    output.done("The backup was restored", &facts, Some(&next), &json);
    Ok(())
}
