//! The connection to the database: opened when needed, given up when the browser or another tab wants it gone.

use std::{cell::RefCell, rc::Rc};

use futures_util::{
    FutureExt,
    future::{AbortHandle, abortable},
    lock::Mutex,
    select_biased,
};
use gloo_timers::future::TimeoutFuture;
use indexed_db_futures::{
    Build,
    database::Database,
    error::{DomException, Error, OpenDbError, UnexpectedDataError},
};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::spawn_local;

use super::schema;
use crate::failure;

/// A browser whose storage has not answered for so long won't, in milliseconds.
const PATIENCE: u32 = 10_000;

/// Why an operation failed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The quota is used up.
    Full(String),
    /// Another try with a new connection may go well.
    Broken(String),
    /// No other try will.
    Unusable(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::DomException(DomException::Other(exception)) if is(&exception, "QuotaExceededError") => {
                Self::Full(text)
            }
            // With a sound connection browsers abort a write only when there is no room for it.
            Error::MissingData(UnexpectedDataError::TransactionAborted) => Self::Full("the write was aborted".into()),
            _ => Self::Broken(text),
        }
    }
}

impl From<OpenDbError> for Fault {
    fn from(error: OpenDbError) -> Self {
        match error {
            OpenDbError::Base(Error::DomException(DomException::Other(exception)))
                if is(&exception, "VersionError") =>
            {
                Self::Unusable("a newer version of this page keeps its data there".into())
            }
            OpenDbError::Base(error) => error.into(),
            // There is none, or the page may not use it.
            other => Self::Unusable(other.to_string()),
        }
    }
}

fn is(exception: &JsValue, name: &str) -> bool {
    failure::name(exception).as_deref() == Some(name)
}

/// The connection to one database, shared by all operations.
pub(super) struct Connection {
    name: String,
    database: Mutex<Option<Rc<Open>>>,
}

/// An open database. Dropping it closes it.
pub(super) struct Open {
    pub(super) database: Database,
    /// Ends the task that listens for `versionchange`.
    listener: RefCell<Option<AbortHandle>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(listener) = self.listener.take() {
            listener.abort();
        }
        self.database.clone().close();
    }
}

impl Connection {
    pub(super) fn new(name: String) -> Rc<Self> {
        Rc::new(Self { name, database: Mutex::new(None) })
    }

    /// The open database, opened now if it is not.
    pub(super) async fn open(self: &Rc<Self>) -> Result<Rc<Open>, Fault> {
        let mut slot = self.database.lock().await;
        if let Some(open) = &*slot {
            return Ok(Rc::clone(open));
        }
        let request = Database::open(self.name.as_str())
            .with_version(schema::VERSION)
            .with_on_upgrade_needed(|event, database| schema::upgrade(&database, event.old_version() as u32))
            .build()?;
        let database = select_biased! {
            database = request.fuse() => database?,
            () = TimeoutFuture::new(PATIENCE).fuse() => {
                return Err(Fault::Unusable("the browser's storage does not answer".into()));
            }
        };
        let open = Rc::new(Open { database, listener: RefCell::default() });
        self.listen(&open)?;
        *slot = Some(Rc::clone(&open));
        Ok(open)
    }

    /// Gives up a connection that turned out dead, unless another operation did.
    pub(super) async fn give_up(&self, dead: &Rc<Open>) {
        let mut slot = self.database.lock().await;
        if slot.as_ref().is_some_and(|open| Rc::ptr_eq(open, dead)) {
            *slot = None;
        }
    }

    /// Another tab that upgrades or deletes the database waits until we have closed it; a browser that closes it by itself
    /// says so as well. The next operation opens it again.
    fn listen(self: &Rc<Self>, open: &Rc<Open>) -> Result<(), Fault> {
        let mut changes = open.database.version_changes()?;
        let (this, own) = (Rc::downgrade(self), Rc::downgrade(open));
        let (task, handle) = abortable(async move {
            let _ = changes.recv().await;
            changes.db().clone().close();
            if let (Some(this), Some(own)) = (this.upgrade(), own.upgrade()) {
                // It need not end itself: it is about to return.
                own.listener.take();
                this.give_up(&own).await;
            }
        });
        open.listener.replace(Some(handle));
        spawn_local(task.map(drop));
        Ok(())
    }
}
