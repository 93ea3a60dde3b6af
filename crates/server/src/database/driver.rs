//! The driver of databases: the location of their files, their write access, and their changes when an app changes or ends.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use futures_util::future::LocalBoxFuture;
use starlane_bundle::ResourceKind;
use starlane_host::{
    Bound, Handler,
    resource::{Change, Driver, Kept, Place, Resource, Version},
};
use starlane_protocol::{Address, Failure, Message, Outcome};
use tokio::sync::Semaphore;

use super::{Database, Held, Migration, Operation, aside, copy, generations};
use crate::{
    data_path::below,
    limits::{Limit, Limiter},
    storage::Storage,
};

/// The folder of all databases, in the data folder: `databases/APP/NAME.REVISION.sqlite`.
pub(crate) const FOLDER: &str = "databases";

/// Serves databases from a data folder.
pub(crate) struct DatabaseDriver {
    data: PathBuf,
    bound: Bound,
    limiter: Arc<Limiter>,
    storage: Storage,
    /// The permits for concurrent statements, by space.
    at_once: RefCell<BTreeMap<String, Arc<Semaphore>>>,
}

impl DatabaseDriver {
    /// A driver for the databases of a data folder, with this bind.
    pub(crate) fn new(data: &Path, bound: Bound, limiter: &Arc<Limiter>, storage: &Storage) -> Self {
        let (data, limiter, storage) = (data.to_owned(), Arc::clone(limiter), storage.clone());
        Self { data, bound, limiter, storage, at_once: RefCell::default() }
    }

    fn folder(&self, app: &Address) -> Result<PathBuf, Failure> {
        let folder = below(&self.data, [FOLDER, app.as_str()]);
        folder.map_err(|error| Failure::malformed(error.to_string()).at(app))
    }
}

impl Driver for DatabaseDriver {
    fn kind(&self) -> ResourceKind {
        ResourceKind::Database
    }

    fn bound(&self) -> &Bound {
        &self.bound
    }

    fn open(&self, place: &Place) -> Result<Rc<dyn Resource>, Failure> {
        let folder = self.folder(&place.app)?;
        below(&folder, [&place.name]).map_err(|error| Failure::malformed(error.to_string()))?;
        let space = place.app.space().to_owned();
        let permits = || Arc::new(Semaphore::new(self.limiter.count(Limit::SqlAtOnce)));
        let at_once = Arc::clone(self.at_once.borrow_mut().entry(space.clone()).or_insert_with(permits));
        let database = Database::new(&folder, &place.name, &self.limiter, &at_once);
        Ok(Rc::new(Served { database, storage: self.storage.clone(), space }))
    }

    fn settle(&self, app: &Address, revision: u64) -> LocalBoxFuture<'static, Result<(), Failure>> {
        let folder = self.folder(app);
        Box::pin(async move {
            let folder = folder?;
            aside(move || {
                generations::clear(&folder, revision)
                    .map_err(|error| Failure::internal(format!("{}: {error}", folder.display())))
            })
            .await
        })
    }

    fn kept(&self) -> Option<Kept> {
        let data = self.data.clone();
        Some(Kept { name: FOLDER, backup: Arc::new(move |archive| copy::all(&data, FOLDER, archive)) })
    }
}

/// A database of an app. It refuses writes while its space or the disk is full. Reads continue.
struct Served {
    database: Database,
    storage: Storage,
    space: String,
}

impl Handler for Served {
    fn handle(&self, message: Message) -> LocalBoxFuture<'static, Outcome> {
        let (database, to) = (self.database.clone(), message.to.clone());
        let admitted = match Operation::read(&message) {
            Ok(Operation::Query) => Ok(()),
            Ok(Operation::Execute | Operation::Transaction) => self.storage.admit(&self.space, 0),
            Err(failure) => Err(failure),
        };
        Box::pin(async move {
            let answered = async {
                admitted?;
                database.answer(message).await
            };
            answered.await.map_err(|failure| failure.at(&to))
        })
    }
}

impl Resource for Served {
    fn prepare(&self, version: Version) -> LocalBoxFuture<'static, Result<Box<dyn Change>, Failure>> {
        let database = self.database.clone();
        Box::pin(async move {
            let migrations = migrations(&version).await?;
            let held = database.hold().await.stage(version.from, version.to, migrations).await?;
            Ok(Box::new(held) as Box<dyn Change>)
        })
    }

    fn remove(&self) -> LocalBoxFuture<'static, Result<(), Failure>> {
        let database = self.database.clone();
        Box::pin(async move {
            let mut writer = Arc::clone(&database.0.writer).lock_owned().await;
            let closed = writer.take();
            let readers = database.0.readers.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(closed) = &closed {
                closed.file.replaced.store(true, Relaxed);
            }
            aside(move || {
                drop((closed, readers));
                let (folder, name) = (&database.0.folder, &database.0.name);
                let removed = generations::remove_all(folder, name);
                removed.map_err(|error| Failure::internal(format!("{}: {error}", folder.display())))
            })
            .await
        })
    }
}

impl Change for Held {
    fn switch(self: Box<Self>) {
        Held::switch(*self);
    }

    fn abandon(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        Box::pin(Held::abandon(*self))
    }
}

/// The migrations in a version's bundle.
async fn migrations(version: &Version) -> Result<Vec<Migration>, Failure> {
    let Some(folder) = version.settings.get("migrations").and_then(|folder| folder.as_str()) else {
        return Ok(Vec::new());
    };
    let mut migrations = Vec::new();
    for (path, bytes) in version.files.below(folder).await?.iter().filter(|(path, _)| path.ends_with(".sql")) {
        let sql =
            std::str::from_utf8(bytes).map_err(|_| Failure::conflict(format!("migration {path} is not UTF-8")))?;
        migrations.push(Migration::new(path, sql));
    }
    Ok(migrations)
}

/// Whether an app's folder contains the file of a database for a revision. Each database has a file from its first revision.
pub(crate) fn exists(data: &Path, app: &Address, name: &str, revision: u64) -> io::Result<bool> {
    let folder = below(data, [FOLDER, app.as_str()])?;
    generations::current(&folder, name, revision).map(|file| file.is_some())
}
