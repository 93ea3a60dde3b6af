//! The resource `starlane:server`: what an operator asks of a running server.

use std::{rc::Rc, time::Instant};

use serde::Deserialize;
use serde_json::json;
use starlane_host::{Host, Incoming, Operations, Served, handler};
use starlane_protocol::{Address, Failure, Outcome, Payload, Verb};
use tokio::sync::broadcast::error::RecvError;

use crate::{
    body::{json as json_payload, read},
    log::LogLines,
};

/// How many lines of the log are given that are not asked for by number.
const LINES: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lines {
    #[serde(default = "default_lines")]
    last: usize,
}

fn default_lines() -> usize {
    LINES
}

/// Its address. Errors never: it is well-formed.
pub(crate) fn address() -> Result<Address, Failure> {
    Address::parse("starlane:server").map_err(|error| Failure::internal(error.to_string()))
}

/// Serves it, for as long as what is given lives. New lines of the log are its event `logs`.
pub(crate) fn serve(host: &Host, logs: &LogLines) -> Result<Rc<Served>, Failure> {
    let (own, kept, started) = (host.clone(), logs.clone(), Instant::now());
    let answer = handler(move |incoming: Incoming| {
        let (host, logs) = (own.clone(), kept.clone());
        async move { answer(&host, &logs, started, &incoming).map_err(|failure| failure.at(&incoming.to)) }
    });
    let operations = Operations::Named(vec!["status".to_owned(), "logs".to_owned()]);
    let served = Rc::new(host.serve(&address()?, operations, answer)?);
    let (emitter, mut fresh) = (Rc::downgrade(&served), logs.follow());
    tokio::task::spawn_local(async move {
        loop {
            let line = match fresh.recv().await {
                Ok(line) => line.to_string(),
                Err(RecvError::Lagged(missed)) => format!("{missed} lines came too fast to be told"),
                Err(RecvError::Closed) => return,
            };
            let Some(served) = emitter.upgrade() else { return };
            // The name of the event is well-formed: it can't fail.
            let _ = served.emit("logs", Payload::new("text/plain", line));
        }
    });
    Ok(served)
}

fn answer(host: &Host, logs: &LogLines, started: Instant, incoming: &Incoming) -> Outcome {
    incoming.caller.permit(Verb::Admin, &incoming.to, "")?;
    if incoming.operation == "logs" {
        let Lines { last } = read(incoming)?;
        return Ok(json_payload(&json!({ "lines": logs.last(last).iter().map(|line| &**line).collect::<Vec<_>>() })));
    }
    let stats = host.stats();
    Ok(json_payload(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": started.elapsed().as_secs(),
        "replies": stats.replies,
        "failures": stats.failures,
        "crashes": stats.crashes,
        "inspection": host.inspect(),
    })))
}
