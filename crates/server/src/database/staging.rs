//! A change of a database's schema: worked out in a copy while writes wait, in effect at once or not at all.

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

/// Pages that are copied between two looks at the clock.
const PAGES: i32 = 1_024;

/// A database whose writes wait. Dropped, they go on where they were.
pub(crate) struct Held {
    database: Database,
    writer: OwnedMutexGuard<Option<Writer>>,
    staged: Option<Staged>,
}

/// What takes effect with `switch`.
struct Staged {
    writer: Writer,
    /// Whether its file was made for this change, so that it goes when the change fails.
    made: bool,
}

impl Held {
    pub(super) fn new(database: Database, writer: OwnedMutexGuard<Option<Writer>>) -> Self {
        Self { database, writer, staged: None }
    }

    /// Brings the schema of the revision `from` to what these migrations say, in a file for the revision `to`. Nothing that runs
    /// notices, and nothing is left behind when this fails. Errors name the migration.
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
        // An app that only starts again has been accepted before.
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
            // Whole and on disk before its name says that it can be used.
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

    /// Puts in effect what was staged; then writes go on.
    pub(crate) fn switch(mut self) {
        let Some(Staged { writer, .. }) = self.staged.take() else { return };
        let readers = Readers::of(&writer.file);
        let before = self.writer.replace(writer);
        let idle = self.database.0.readers.lock().unwrap_or_else(PoisonError::into_inner).replace(readers);
        if let Some(before) = &before {
            before.file.replaced.store(true, Relaxed);
        }
        // Closing waits for the disk.
        drop(tokio::task::spawn_blocking(move || drop((before, idle))));
    }

    /// Takes back what was staged; then writes go on as before.
    pub(crate) async fn abandon(self) {
        // What is left in spite of an error here is removed before the next change.
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
