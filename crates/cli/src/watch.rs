//! `starlane watch`: prints the events of a topic, one per line, until Ctrl-C.

use std::io::{self, BufRead, Write};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use starlane_protocol::Topic;

use crate::{client::Client, output::Output};

/// The printed part of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Its sender and its body.
    Whole,
    /// Only its body, a text.
    Body,
}

pub(crate) fn run(topic: &Topic, client: &Client, output: Output) -> Result<()> {
    let stream = open(topic, client)?;
    output.remark(&format!("Watching {topic}. Ctrl-C stops it."));
    print(stream, output, Shape::Whole)
}

/// Opens the stream of events of a topic.
pub(crate) fn open(topic: &Topic, client: &Client) -> Result<impl BufRead + use<>> {
    client.stream(&format!("/events/{}", topic.to_string().replace('#', "%23")))
}

/// Prints events as they arrive. The end of the stream is an error.
pub(crate) fn print(lines: impl BufRead, output: Output, shape: Shape) -> Result<()> {
    let mut out = io::stdout().lock();
    let mut kind = String::new();
    for line in lines.lines() {
        let line = line.context("the stream of events was interrupted")?;
        // A server-sent event has an optional kind, and then its data.
        if let Some(name) = line.strip_prefix("event: ") {
            name.clone_into(&mut kind);
        } else if let Some(data) = line.strip_prefix("data: ") {
            if kind == "refused" {
                let refused: Value = serde_json::from_str(data).unwrap_or_default();
                let why = refused.get("message").and_then(Value::as_str).unwrap_or("the subscription was refused");
                bail!("{why}");
            }
            let written = writeln!(out, "{}", show(&kind, data, output, shape)).and_then(|()| out.flush());
            kind.clear();
            match written {
                // A closed pipe, such as `| head`.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written.context("an event can't be written")?,
            }
        }
    }
    bail!("the server closed the stream, because it is stopping")
}

fn show(kind: &str, data: &str, output: Output, shape: Shape) -> String {
    let event: Value = serde_json::from_str(data).unwrap_or_default();
    match (output, kind) {
        (Output::Json, "") => data.to_owned(),
        (Output::Json, kind) => serde_json::json!({ kind: event }).to_string(),
        (_, "") if shape == Shape::Body => event.get("body").and_then(Value::as_str).unwrap_or_default().to_owned(),
        (_, "") => {
            let from = event.get("from").and_then(Value::as_str).unwrap_or_default();
            format!("{from} {}", event.get("body").unwrap_or(&Value::Null))
        }
        (_, "gap") => "— events may have been missed here".to_owned(),
        (_, kind) => format!("— {kind}: {data}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_gaps_have_different_forms() {
        let data = r#"{"from":"acme:a","contentType":"application/json","body":{"n":1}}"#;
        assert_eq!(show("", data, Output::Human, Shape::Whole), r#"acme:a {"n":1}"#);
        assert_eq!(show("", data, Output::Json, Shape::Whole), data);
        assert_eq!(show("lagged", r#"{"missed":3}"#, Output::Json, Shape::Whole), r#"{"lagged":{"missed":3}}"#);
        assert!(show("gap", "{}", Output::Human, Shape::Whole).contains("missed"));
    }
}
