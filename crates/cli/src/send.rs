//! `starlane send`.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
};

use anyhow::{Context, Result};
use data_encoding::BASE64;
use serde_json::{Value, json};
use starlane_protocol::Payload;

use crate::{arguments::Send, client::Client, error::Refused, output::Output};

pub(crate) fn run(given: &Send, client: &Client, output: Output) -> Result<()> {
    let payload = payload(given)?;
    let reply = client.request(&given.address, &given.operation, &payload);
    let reply = reply.map_err(|error| if payload.body.is_empty() { without_body(error) } else { error })?;
    let mut out = io::stdout().lock();
    let written = match output {
        Output::Json => writeln!(out, "{}", as_json(&reply)),
        Output::Human if io::stdout().is_terminal() => writeln!(out, "{}", for_people(&reply)),
        // A pipe or a file gets the reply's bytes and nothing else.
        Output::Human | Output::Quiet => out.write_all(&reply.body).and_then(|()| out.flush()),
    };
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("the reply can't be written"),
        _ => Ok(()),
    }
}

/// A hint for an operation that takes JSON and got nothing.
fn without_body(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Refused>() {
        Ok(refused) if ["malformed", "schema-mismatch"].contains(&refused.code.as_str()) => {
            let message =
                format!("{}; no body was sent: for an operation that takes JSON, add `--json '{{}}'`", refused.message);
            Refused { message, ..refused }.into()
        }
        Ok(refused) => refused.into(),
        Err(error) => error,
    }
}

fn payload(given: &Send) -> Result<Payload> {
    if let Some(json) = &given.json {
        return Ok(Payload::json(json.clone()));
    }
    let Some(file) = &given.file else { return Ok(Payload::nothing()) };
    let mut bytes = Vec::new();
    let read = match file.as_os_str() == "-" {
        true => io::stdin().lock().read_to_end(&mut bytes).map(drop),
        false => fs::read(file).map(|read| bytes = read),
    };
    read.with_context(|| format!("{} can't be read", file.display()))?;
    let guessed = || mime_guess::from_path(file).first_or_octet_stream().to_string();
    Ok(Payload::new(&given.content_type.clone().unwrap_or_else(guessed), bytes))
}

fn as_json(reply: &Payload) -> Value {
    let parsed = match reply.media_type().as_str() {
        "application/json" => serde_json::from_slice(&reply.body).ok(),
        _ => None,
    };
    let text = || std::str::from_utf8(&reply.body).ok().map(|text| json!(text));
    let body = parsed.or_else(text).unwrap_or_else(|| json!({ "$bytes": BASE64.encode(&reply.body) }));
    json!({ "contentType": reply.content_type, "body": body })
}

fn for_people(reply: &Payload) -> String {
    let json: Option<Value> = match reply.media_type().as_str() {
        "application/json" => serde_json::from_slice(&reply.body).ok(),
        _ => None,
    };
    match json.and_then(|json| serde_json::to_string_pretty(&json).ok()) {
        Some(pretty) => pretty,
        None => String::from_utf8_lossy(&reply.body).trim_end().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_a_reply_keeps_its_type() {
        assert_eq!(as_json(&Payload::json("[1]"))["body"], json!([1]));
        assert_eq!(as_json(&Payload::new("text/html", "<p>"))["body"], json!("<p>"));
        assert_eq!(as_json(&Payload::new("image/png", vec![0xff]))["body"], json!({ "$bytes": "/w==" }));
    }
}
