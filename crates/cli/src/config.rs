//! `starlane config check|show`: checks or shows the settings of `starlane serve`.

use std::{fmt::Write, path::Path};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    output::Output,
    settings::{Setting, Settings},
};

/// The column of a setting's source, in characters.
const COLUMN: usize = 40;

/// Checks whether a server can start with these settings. `file` is the configuration file, if there is one.
pub(crate) fn check(settings: &Settings, file: Option<&Path>, output: Output) -> Result<()> {
    settings.serve.check()?;
    let listen = settings.serve.listen.to_string();
    let facts = [("listen", listen.clone()), ("data", settings.serve.data.display().to_string())];
    let next = file.map_or("starlane serve".to_owned(), |file| format!("starlane serve --config {}", file.display()));
    output.done("The configuration is valid", &facts, Some(&next), &json!({ "good": true, "listen": listen }));
    Ok(())
}

/// Shows each setting and its source. The output for people is a file for `--config`.
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
