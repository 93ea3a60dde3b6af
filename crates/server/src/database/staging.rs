//! Changes a database's schema. The change is made in a copy while writes wait, and takes effect completely or not at
//! all.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use rusqlite::backup::{Backup, StepResult};
use starlane_protocol::Failure;
use tokio::sync::OwnedMutexGuard;

use super::{Database, Generation, Migration, Readers, Writer, aside, connection::Guarded, generations, migrate};
use crate::{disk, limits::Limit};

/// The number of pages copied between two checks of the deadline.
const PAGES: i32 = 1_024;

/// A database whose writes wait. When this is dropped, they continue on the old file.
pub(crate) struct Held {
    database: Database,
    writer: OwnedMutexGuard<Option<Writer>>,
    staged: Option<Staged>,
}

/// The change that takes effect with `switch`.
struct Staged {
    writer: Writer,
    /// Whether its file was created for this change, and so is removed if the change fails.
    made: bool,
}

impl Held {
    pub(super) fn new(database: Database, writer: OwnedMutexGuard<Option<Writer>>) -> Self {
        Self { database, writer, staged: None }
    }

    /// Applies these migrations to the schema of the revision `from`, in a file for the revision `to`. The running app
    /// does not notice this, and a failure leaves no files. Errors name the migration.
    pub(crate) async fn stage(mut self, from: u64, to: u64, migrations: Vec<Migration>) -> Result<Self, Failure> {
        aside(move || {
            self.staged = self.prepare(from, to, &migrations)?;
            Ok(self)
        })
        .await
    }

    fn prepare(&self, from: u64, to: u64, migrations: &[Migration]) -> Result<Option<Staged>, Failure> {
        let (inner, failed) = (&self.database.0, |error: rusqlite::Error| Failure::internal(error.to_string()));
        let disk = |error: io::Error| disk_failure(&inner.folder, &error);
        let opened = match &*self.writer {
            Some(_) => None,
            // It does not run yet.
            None => match generations::current(&inner.folder, &inner.name, from).map_err(disk)? {
                Some(file) => Some(self.open(&file)?),
                None => None,
            },
        };
        let now = self.writer.as_ref().or(opened.as_ref());
        // An app that only restarts was accepted earlier.
        if let (Some(writer), true) = (now, from != to) {
            migrate::has_all(&writer.guarded.connection, migrations)?;
        }
        let pending = match now {
            Some(writer) => migrate::pending(&writer.guarded.connection, migrations)?,
            None => migrations.to_vec(),
        };
        if now.is_some() && pending.is_empty() {
            return Ok(opened.map(|writer| Staged { writer, made: false }));
        }
        let begun = Instant::now();
        let time = Duration::from_millis(inner.limiter.get(Limit::MigrationTime));
        let part = generations::unfinished(&inner.folder, &inner.name);
        let file = generations::file(&inner.folder, &inner.name, to);
        let made = (|| {
            create_private(&inner.folder, &part).map_err(disk)?;
            let mut copy = Guarded::alone(&part, &inner.limiter).map_err(failed)?;
            if let Some(writer) = now {
                self.copy(&writer.guarded, &mut copy, begun + time)?;
            }
            for (pragma, value) in [("journal_mode", "DELETE"), ("synchronous", "OFF")] {
                copy.connection.pragma_update(None, pragma, value).map_err(failed)?;
            }
            copy.bound_size("main").map_err(failed)?;
            migrate::apply(&copy, &pending, time.saturating_sub(begun.elapsed()))?;
            copy.connection.close().map_err(|(_, error)| failed(error))?;
            // The file must be complete and on disk before it gets its final name.
            File::open(&part).and_then(|part| part.sync_all()).map_err(disk)?;
            generations::remove(&file).map_err(disk)?;
            fs::rename(&part, &file).map_err(disk)?;
            disk::sync(&inner.folder).map_err(disk)?;
            self.open(&file)
        })();
        made.map(|writer| Some(Staged { writer, made: true })).inspect_err(|_| {
            for left in [&part, &file] {
                if let Err(error) = generations::remove(left) {
                    tracing::warn!(file = %left.display(), %error, "cannot remove a file that a failed migration left");
                }
            }
        })
    }

    fn open(&self, file: &Path) -> Result<Writer, Failure> {
        let guarded = Guarded::writer(file, &self.database.0.limiter);
        let guarded = guarded.map_err(|error| Failure::internal(format!("{}: {error}", file.display())))?;
        Ok(Writer { guarded, file: Arc::new(Generation { file: file.to_owned(), replaced: false.into() }) })
    }

    fn copy(&self, from: &Guarded, to: &mut Guarded, end: Instant) -> Result<(), Failure> {
        let limiter = &self.database.0.limiter;
        let told = |error: rusqlite::Error| from.told(&error);
        let copying = Backup::new(&from.connection, &mut to.connection).map_err(told)?;
        loop {
            match copying.step(PAGES).map_err(told)? {
                StepResult::Done => return Ok(()),
                _ if Instant::now() > end => {
                    return Err(limiter.refuse(Limit::MigrationTime, "copying the database took too long"));
                }
                _ => {}
            }
        }
    }

    /// Puts the staged change into effect; then writes continue.
    pub(crate) fn switch(mut self) {
        let Some(Staged { writer, .. }) = self.staged.take() else { return };
        let readers = Readers::of(&writer.file);
        let before = self.writer.replace(writer);
        let idle = self.database.0.readers.lock().unwrap_or_else(PoisonError::into_inner).replace(readers);
        if let Some(before) = &before {
            before.file.replaced.store(true, Relaxed);
        }
        // Closing a connection waits for the disk.
        drop(tokio::task::spawn_blocking(move || drop((before, idle))));
    }

    /// Discards the staged change; then writes continue on the old file.
    pub(crate) async fn abandon(self) {
        // If this fails, the next change removes the files.
        let _ = aside(move || {
            drop(self);
            Ok(())
        })
        .await;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(Staged { writer, made: true }) = &self.staged {
            writer.file.replaced.store(true, Relaxed);
        }
    }
}

fn create_private(folder: &Path, file: &Path) -> io::Result<()> {
    disk::create_folder(folder)?;
    generations::remove(file)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

fn disk_failure(folder: &Path, error: &io::Error) -> Failure {
    let message = format!("{}: {error}", folder.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::storage_full(message),
        _ => Failure::internal(message),
    }
}
