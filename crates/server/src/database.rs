//! Database resources: SQLite behind messages.
//!
//! | operation | takes | answers |
//! |---|---|---|
//! | `query` | `{ "sql", "params" }` | `{ "columns": […], "rows": [{ column: value }] }` |
//! | `execute` | `{ "sql", "params" }` | `{ "changed", "last_id" }`, and `columns` and `rows` of `RETURNING` |
//! | `transaction` | `{ "statements": [{ "sql", "params" }] }` | `{ "results": [{ "changed", "last_id" }] }` |
//!
//! `params` is an array for `?` and `?1`, or an object for `:name`. Values that JSON would change are tagged (`values.rs`). An
//! answered write is on disk (`synchronous=FULL`).
//!
//! One connection writes. A few others, opened read-only, answer `query` beside it.

mod authorizer;
mod connection;
pub(crate) mod copy;
mod driver;
mod functions;
mod generations;
mod like;
mod memory;
mod migrate;
mod staging;
mod statements;
mod values;
mod watch;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use starlane_protocol::{Failure, Message, Outcome};
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

use self::{connection::Guarded, migrate::Migration, staging::Held, statements::Operation};
pub(crate) use self::{
    driver::{DatabaseDriver, FOLDER, exists},
    memory::{open_file, open_in_memory},
};
use crate::limits::{Limit, Limiter};

/// The maximum number of read connections of a database, besides its write connection.
const READERS: usize = 4;
/// The number of idle read connections that stay open.
const IDLE: usize = 2;

/// A database resource. It remains when its app changes; only its file is replaced.
#[derive(Clone)]
pub(crate) struct Database(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    name: String,
    limiter: Arc<Limiter>,
    /// None until the first version of the app with this database is in effect. The lock is fair, so writes keep their order.
    writer: Arc<tokio::sync::Mutex<Option<Writer>>>,
    readers: Mutex<Option<Arc<Readers>>>,
    /// Messages that wait or are being answered.
    waiting: AtomicU64,
    /// Permits for the statements of all databases of the space.
    at_once: Arc<Semaphore>,
}

struct Writer {
    guarded: Guarded,
    file: Arc<Generation>,
}

/// The file of a current or an earlier database.
struct Generation {
    file: PathBuf,
    /// Whether another file has replaced it. Then it is removed when its last connection closes.
    replaced: AtomicBool,
}

impl Drop for Generation {
    fn drop(&mut self) {
        if self.replaced.load(Relaxed)
            && let Err(error) = generations::remove(&self.file)
        {
            tracing::warn!(file = %self.file.display(), %error, "cannot remove the file of an earlier schema");
        }
    }
}

/// The read connections.
struct Readers {
    idle: Mutex<Vec<Guarded>>,
    permits: Arc<Semaphore>,
    file: Arc<Generation>,
}

impl Readers {
    fn of(file: &Arc<Generation>) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(READERS));
        Arc::new(Self { idle: Mutex::default(), permits, file: Arc::clone(file) })
    }
}

impl Database {
    /// The database of this name in a folder. It has no file until a change of the app takes effect.
    pub(crate) fn new(folder: &Path, name: &str, limiter: &Arc<Limiter>, at_once: &Arc<Semaphore>) -> Self {
        Self(Arc::new(Inner {
            folder: folder.to_owned(),
            name: name.to_owned(),
            limiter: Arc::clone(limiter),
            writer: Arc::default(),
            readers: Mutex::default(),
            waiting: AtomicU64::new(0),
            at_once: Arc::clone(at_once),
        }))
    }

    async fn answer(&self, incoming: Message) -> Outcome {
        let operation = Operation::read(&incoming)?;
        let _waiting = self.wait_in_line()?;
        if operation == Operation::Query {
            return self.read(incoming).await;
        }
        // A write requires a token, even on a server with anonymous access.
        if incoming.caller.name().is_empty() {
            let message = format!(
                "`{}` writes to a database, which requires a token (`starlane token create`)",
                incoming.operation
            );
            return Err(Failure::no_grant(message));
        }
        let writer = Arc::clone(&self.0.writer).lock_owned().await;
        let turn = self.turn().await?;
        // SQLite waits for the disk, so it runs on another thread than the node. The work holds the lock to its end,
        // even if its caller is cancelled.
        aside(move || {
            let (_turn, writer) = (turn, writer);
            let guarded = &writer.as_ref().ok_or_else(gone)?.guarded;
            statements::answer(guarded, operation, &incoming.payload.body, incoming.remaining_ms)
        })
        .await
    }

    async fn read(&self, incoming: Message) -> Outcome {
        let readers = match self.readers() {
            Some(readers) => readers,
            // The first version of the app is not in effect yet.
            None => {
                drop(self.0.writer.lock().await);
                self.readers().ok_or_else(gone)?
            }
        };
        let permit = Arc::clone(&readers.permits).acquire_owned().await.map_err(|_| gone())?;
        let turn = self.turn().await?;
        let limiter = Arc::clone(&self.0.limiter);
        aside(move || {
            let (_turn, _permit) = (turn, permit);
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let reader = match idle {
                Some(reader) => reader,
                None => Guarded::reader(&readers.file.file, &limiter)
                    .map_err(|error| Failure::internal(error.to_string()))?,
            };
            let answer = statements::answer(&reader, Operation::Query, &incoming.payload.body, incoming.remaining_ms);
            let mut idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner);
            // Each connection keeps pages in memory.
            if idle.len() < IDLE {
                idle.push(reader);
            }
            answer
        })
        .await
    }

    fn readers(&self) -> Option<Arc<Readers>> {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.0.at_once).acquire_owned().await.map_err(|_| gone())
    }

    fn wait_in_line(&self) -> Result<Waiting, Failure> {
        let limiter = &self.0.limiter;
        if self.0.waiting.fetch_add(1, Relaxed) >= limiter.get(Limit::SqlWaiting) {
            self.0.waiting.fetch_sub(1, Relaxed);
            return Err(
                limiter.refuse(Limit::SqlWaiting, "too many messages are waiting for this database; try again later")
            );
        }
        Ok(Waiting(Arc::clone(&self.0)))
    }

    /// Suspends writes during a change of the app. Reads continue.
    pub(crate) async fn hold(&self) -> Held {
        let writer: OwnedMutexGuard<Option<Writer>> = Arc::clone(&self.0.writer).lock_owned().await;
        Held::new(self.clone(), writer)
    }
}

/// A message that counts as waiting.
struct Waiting(Arc<Inner>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

fn gone() -> Failure {
    Failure::not_running("the app of this database is not running")
}

async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Failure::internal(error.to_string())))
}

#[cfg(test)]
mod tests;
