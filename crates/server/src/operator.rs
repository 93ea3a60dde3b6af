//! The resource `starlane:server`: the requests of operators to a running server.

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::json;
use starlane_host::{Bound, Host, Served, handler};
use starlane_protocol::{Address, Failure, Message, Outcome, Payload, Verb};
use tokio::sync::{broadcast::error::RecvError, watch};

use crate::{
    audit::Audit,
    body::{json as json_payload, read, unknown},
    check::{self, CheckReport},
    log::LogLines,
};

/// The maximum time that a request waits for the end of a check.
const PATIENCE: Duration = Duration::from_secs(10);

/// The default number of log lines in an answer.
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

/// A request to `starlane:server`.
enum Operation {
    Status,
    Logs(Lines),
    Audit(Lines),
    Check(Join),
}

impl Operation {
    fn read(incoming: &Message) -> Result<Self, Failure> {
        Ok(match incoming.operation.as_str() {
            "status" => Self::Status,
            "logs" => Self::Logs(read(incoming)?),
            "audit" => Self::Audit(read(incoming)?),
            "check" => Self::Check(read(incoming)?),
            _ => return unknown(incoming),
        })
    }
}

/// Its address. The text is a valid address, so this never fails.
pub(crate) fn address() -> Result<Address, Failure> {
    Address::parse("starlane:server").map_err(|error| Failure::internal(error.to_string()))
}

/// Serves it as long as the returned value lives. New lines of the log are its event `logs`.
pub(crate) fn serve(
    host: &Host,
    logs: &LogLines,
    audit: &Audit,
    (data, folder): (&Path, String),
    bound: Bound,
) -> Result<Rc<Served>, Failure> {
    let folder = Rc::<str>::from(folder);
    let (own, kept, audit, started) = (host.clone(), logs.clone(), audit.clone(), Instant::now());
    let checks = Rc::new(Checks { data: data.to_owned(), running: RefCell::default() });
    let answer = handler(move |incoming: Message| {
        let (host, logs, audit, checks) = (own.clone(), kept.clone(), audit.clone(), Rc::clone(&checks));
        let folder = Rc::clone(&folder);
        async move {
            let answered = async {
                match Operation::read(&incoming)? {
                    Operation::Status => Ok(status(&host, started, &folder)),
                    Operation::Logs(Lines { last }) => {
                        let lines = logs.last(last);
                        Ok(json_payload(&json!({ "lines": lines.iter().map(|line| &**line).collect::<Vec<_>>() })))
                    }
                    Operation::Audit(Lines { last }) => audited(audit, last).await,
                    Operation::Check(Join { join }) => checks.answer(join).await,
                }
            };
            answered.await.map_err(|failure| failure.at(&incoming.to))
        }
    });
    let bound = bound.entered_by(Rc::new(|incoming| incoming.caller.permit(Verb::Admin, &incoming.to, "")));
    let served = Rc::new(bound.serve(host, &address()?, answer)?);
    let (emitter, mut fresh) = (Rc::downgrade(&served), logs.follow());
    tokio::task::spawn_local(async move {
        loop {
            let line = match fresh.recv().await {
                Ok(line) => line.to_string(),
                Err(RecvError::Lagged(missed)) => format!("{missed} log lines were not sent: they came too fast"),
                Err(RecvError::Closed) => return,
            };
            let Some(served) = emitter.upgrade() else { return };
            // The event accepts any text.
            let _ = bound.emit(&served, "logs", Payload::new("text/plain", line)).await;
        }
    });
    Ok(served)
}

/// The running check of the data folder, if any.
struct Checks {
    data: PathBuf,
    running: RefCell<Option<Running>>,
}

#[derive(Clone)]
struct Running {
    /// The number of checked files.
    seen: Arc<AtomicU64>,
    report: watch::Receiver<Option<CheckReport>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Join {
    /// Whether to wait for an earlier check instead of starting a new one.
    #[serde(default)]
    join: bool,
}

impl Checks {
    /// Starts a check unless one is running, and answers with its report. If the check takes too long for one request,
    /// it answers with `running` and the number of checked files.
    async fn answer(&self, join: bool) -> Outcome {
        let known = self.running.borrow().clone().filter(|known| join || known.report.borrow().is_none());
        let Running { seen, mut report } = known.unwrap_or_else(|| self.begin());
        let done = tokio::time::timeout(PATIENCE, report.wait_for(Option::is_some)).await;
        match done {
            Ok(Ok(report)) => Ok(json_payload(&json!({ "report": *report }))),
            Ok(Err(_)) => {
                *self.running.borrow_mut() = None;
                Err(Failure::internal("the check ended early; see the log"))
            }
            Err(_) => Ok(json_payload(&json!({ "running": true, "files": seen.load(Relaxed) }))),
        }
    }

    fn begin(&self) -> Running {
        let (seen, (told, report)) = (Arc::<AtomicU64>::default(), watch::channel(None));
        let (data, counted) = (self.data.clone(), Arc::clone(&seen));
        tokio::task::spawn_blocking(move || drop(told.send(Some(check::run(&data, &counted)))));
        let running = Running { seen, report };
        *self.running.borrow_mut() = Some(running.clone());
        running
    }
}

async fn audited(audit: Audit, last: usize) -> Outcome {
    let lines = tokio::task::spawn_blocking(move || audit.last(last)).await;
    let lines = lines.map_err(io::Error::other).flatten();
    let lines = lines.map_err(|error| Failure::internal(format!("cannot read the audit log: {error}")))?;
    Ok(json_payload(&json!({ "lines": lines })))
}

fn status(host: &Host, started: Instant, folder: &str) -> Payload {
    let stats = host.stats();
    json_payload(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeSeconds": started.elapsed().as_secs(),
        "folder": folder,
        "replies": stats.replies,
        "failures": stats.failures,
        "crashes": stats.crashes,
        "inspection": host.inspect(),
    }))
}
