//! The state of actors on disk: `DATA/state.sqlite`, one row per actor.
//!
//! One thread owns the database. It writes all waiting commands in one transaction, so that many actors share one sync of the
//! disk. Each save is answered when its transaction is on disk (`synchronous=FULL`).

mod metrics;
mod table;
#[cfg(test)]
mod tests;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
};

use futures_util::future::LocalBoxFuture;
use rusqlite::ErrorCode;
use starlane_host::ports::{StateError, StateLimits, StateStore};
use starlane_node::{
    guest::Saved,
    state::{ActorState, Owned},
};
use starlane_protocol::Address;
use tokio::sync::oneshot;

pub(crate) use self::metrics::StateMetrics;
use self::table::Table;
use crate::{limits::Limiter, storage::Storage};

/// Commands of one transaction.
const BATCH: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, StateError>>;
type Done<T> = LocalBoxFuture<'static, Result<T, StateError>>;

enum Command {
    Take { app: Address, reply: Reply<Owned> },
    Load { app: Address, actor: Address, reply: Reply<Option<Saved>> },
    Save { app: Address, epoch: u64, state: ActorState, reply: Reply<()> },
    Forget { app: Address, reply: Reply<()> },
}

/// The state of actors on disk. Clones share the thread. It ends after the last clone, when everything is written.
#[derive(Clone)]
pub(crate) struct SqliteStateStore {
    commands: mpsc::Sender<Command>,
    counts: Arc<StateCounts>,
}

/// The counts of a state store.
#[derive(Debug, Default)]
pub(crate) struct StateCounts {
    /// Rows that were written.
    pub(crate) written: AtomicU64,
    /// Saves of unchanged state.
    pub(crate) unchanged: AtomicU64,
    /// Saves that were refused or failed.
    pub(crate) failed: AtomicU64,
    /// Transactions.
    pub(crate) commits: AtomicU64,
}

impl SqliteStateStore {
    /// Opens the database of a data folder, and creates it if it does not exist. The error names the file and the
    /// reason.
    pub(crate) fn open(
        data: &Path,
        limits: StateLimits,
        limiter: &Arc<Limiter>,
        storage: &Storage,
    ) -> Result<Self, String> {
        let table = Table::open(&data.join("state.sqlite"), limits, limiter, storage)?;
        let (commands, received) = mpsc::channel();
        let counts = Arc::<StateCounts>::default();
        let counted = Arc::clone(&counts);
        let serve = move || serve(table, &received, &counted);
        thread::Builder::new().name("state".to_owned()).spawn(serve).map_err(|error| error.to_string())?;
        Ok(Self { commands, counts })
    }

    /// The counts since it was opened.
    pub(crate) fn counts(&self) -> Arc<StateCounts> {
        Arc::clone(&self.counts)
    }

    /// Queues a command immediately, so that commands keep their order. The result is a future.
    fn ask<T: 'static>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Done<T> {
        let (reply, done) = oneshot::channel();
        let stopped = || StateError::Failed("the state store has stopped: see the log".to_owned());
        let sent = self.commands.send(command(reply)).map_err(|_| stopped());
        Box::pin(async move {
            sent?;
            done.await.unwrap_or_else(|_| Err(stopped()))
        })
    }
}

impl StateStore for SqliteStateStore {
    fn take(&self, app: &Address) -> Done<Owned> {
        self.ask(|reply| Command::Take { app: app.clone(), reply })
    }

    fn load(&self, app: &Address, actor: &Address) -> Done<Option<Saved>> {
        self.ask(|reply| Command::Load { app: app.clone(), actor: actor.clone(), reply })
    }

    fn save(&self, app: &Address, epoch: u64, state: ActorState) -> Done<()> {
        self.ask(|reply| Command::Save { app: app.clone(), epoch, state, reply })
    }

    fn forget(&self, app: &Address) -> Done<()> {
        self.ask(|reply| Command::Forget { app: app.clone(), reply })
    }
}

/// The result of a command, sent when the transaction is on disk.
enum Answer {
    Taken(Reply<Owned>, Result<Owned, StateError>),
    Loaded(Reply<Option<Saved>>, Result<Option<Saved>, StateError>),
    Saved(Reply<()>, Result<bool, StateError>),
    Forgotten(Reply<()>, Result<(), StateError>),
}

fn serve(mut table: Table, received: &mpsc::Receiver<Command>, counts: &StateCounts) {
    while let Ok(first) = received.recv() {
        let commands = std::iter::once(first).chain(received.try_iter().take(BATCH - 1));
        let (answers, committed) = transaction(&mut table, commands);
        counts.commits.fetch_add(1, Relaxed);
        for answer in answers {
            tell(answer, committed.clone(), counts);
        }
    }
}

/// Runs commands in one transaction. Returns their answers, which are valid only if the transaction succeeds, and
/// whether it succeeds.
fn transaction(table: &mut Table, commands: impl Iterator<Item = Command>) -> (Vec<Answer>, Result<(), StateError>) {
    let mut going = table.begin().map_err(told);
    let answers = commands.map(|command| answer(table, command, &mut going)).collect();
    let committed = going.and_then(|()| table.commit().map_err(told));
    if committed.is_err() {
        table.roll_back();
    }
    (answers, committed)
}

/// Runs one command, unless the transaction has ended: SQLite itself can end a transaction after an error.
fn answer(table: &mut Table, command: Command, going: &mut Result<(), StateError>) -> Answer {
    fn step<T>(
        going: &mut Result<(), StateError>,
        work: impl FnOnce() -> rusqlite::Result<T>,
    ) -> Result<T, StateError> {
        going.clone()?;
        work().map_err(told).inspect_err(|error| *going = Err(error.clone()))
    }
    match command {
        Command::Take { app, reply } => Answer::Taken(reply, step(going, || table.take(&app))),
        Command::Load { app, actor, reply } => Answer::Loaded(reply, step(going, || table.load(&app, &actor))),
        Command::Forget { app, reply } => Answer::Forgotten(reply, step(going, || table.forget(&app))),
        Command::Save { app, epoch, state, reply } => {
            let saved = step(going, || table.save(&app, epoch, &state)).and_then(|saved| saved);
            Answer::Saved(reply, saved)
        }
    }
}

fn tell(answer: Answer, committed: Result<(), StateError>, counts: &StateCounts) {
    match answer {
        Answer::Taken(reply, result) => drop(reply.send(committed.and(result))),
        Answer::Loaded(reply, result) => drop(reply.send(committed.and(result))),
        Answer::Forgotten(reply, result) => drop(reply.send(committed.and(result))),
        Answer::Saved(reply, result) => {
            let result = committed.and(result);
            let count = match &result {
                Ok(true) => &counts.written,
                Ok(false) => &counts.unchanged,
                Err(_) => &counts.failed,
            };
            count.fetch_add(1, Relaxed);
            let _ = reply.send(result.map(drop));
        }
    }
}

/// Converts an error of SQLite into a store's error.
fn told(error: rusqlite::Error) -> StateError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StateError::Full(format!("the disk has no room for state.sqlite: {error}")),
        _ => StateError::Failed(format!("state.sqlite: {error}")),
    }
}
