//! `starlane config check|show`: what `starlane serve` would run with.

use std::{fmt::Write, path::Path};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    output::Output,
    settings::{Setting, Settings},
};

/// Where the origin of a setting is written, in characters from the beginning of its line.
const COLUMN: usize = 40;

/// Says whether a server could be started like this, with the file that it was read from, if any.
pub(crate) fn check(settings: &Settings, file: Option<&Path>, output: Output) -> Result<()> {
    settings.serve.check()?;
    let listen = settings.serve.listen.to_string();
    let facts = [("listen", listen.clone()), ("data", settings.serve.data.display().to_string())];
    let next = file.map_or("starlane serve".to_owned(), |file| format!("starlane serve --config {}", file.display()));
    output.done("The configuration is good", &facts, Some(&next), &json!({ "good": true, "listen": listen }));
    Ok(())
}

/// Shows each setting, and where it came from: for people as a file that `--config` takes.
pub(crate) fn show(settings: &Settings, output: Output) {
    if output != Output::Json {
        return output.text(&as_file(&settings.all));
    }
    let all = settings.all.iter().map(|Setting { name, value, origin }| {
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        json!({ "name": name, "value": value, "from": origin })
    });
    output.done("", &[], None, &json!({ "settings": all.collect::<Vec<_>>() }));
}

fn as_file(all: &[Setting]) -> String {
    let (mut text, mut table) = (String::new(), "");
    for Setting { name, value, origin } in all {
        let (of, key) = name.split_once('.').unwrap_or(("", name));
        if of != table {
            let _ = writeln!(text, "\n[{of}]");
            table = of;
        }
        let _ = match value {
            Some(value) => writeln!(text, "{:COLUMN$} # {origin}", format!("{key} = {value}")),
            None => writeln!(text, "# {key} is not set"),
        };
    }
    text
}
