//! `starlane watch`: the events of a topic, one a line, until Ctrl-C.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use starlane_protocol::Topic;

use crate::{client::Client, output::Output};

pub(crate) fn run(topic: &Topic, client: &Client, output: Output) -> Result<()> {
    let path = format!("/events/{}", topic.to_string().replace('#', "%23"));
    let lines = client.stream(&path)?;
    output.remark(&format!("Watching {topic}. Ctrl-C ends it."));
    let mut out = io::stdout().lock();
    let mut kind = String::new();
    for line in lines.lines() {
        let line = line.context("the stream of events broke")?;
        // A server-sent event is a kind, unless it is a plain one, and then its data.
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let written = writeln!(out, "{}", show(&kind, data, output)).and_then(|()| out.flush());
            kind.clear();
            match written {
                // A reader that has seen enough, such as `| head`.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("an event can't be written")?,
            }
        }
    }
    bail!("the server ended the stream: it is stopping, or was stopped")
}

fn show(kind: &str, data: &str, output: Output) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    match (output, kind) {
        (Output::Json, "") => data.to_owned(),
        (Output::Json, kind) => serde_json::json!({ kind: event }).to_string(),
        (Output::Human, "") => {
            let from = event.get("from").and_then(Value::as_str).unwrap_or_default();
            format!("{from} {}", event.get("body").unwrap_or(&Value::Null))
        }
        (Output::Human, "gap") => "— events may have been missed here".to_owned(),
        (Output::Human, kind) => format!("— {kind}: {data}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_gaps_are_told_apart() {
        let data = r#"{"from":"acme:a","contentType":"application/json","body":{"n":1}}"#;
        assert_eq!(show("", data, Output::Human), r#"acme:a {"n":1}"#);
        assert_eq!(show("", data, Output::Json), data);
        assert_eq!(show("lagged", r#"{"missed":3}"#, Output::Json), r#"{"lagged":{"missed":3}}"#);
        assert!(show("gap", "{}", Output::Human).contains("missed"));
    }
}
