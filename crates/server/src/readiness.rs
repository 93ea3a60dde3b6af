//! The readiness of a server.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use starlane_protocol::{Address, Failure};
use tokio::time::Instant;

/// The time for which the result of a disk check is reused.
const AGAIN: Duration = Duration::from_secs(1);
/// The size of the test file, in bytes.
const PROBE: usize = 4 * 1024;

/// Checks whether this server can do its work. Clones share it.
#[derive(Clone)]
pub(crate) struct Readiness(Arc<Inner>);

struct Inner {
    data: PathBuf,
    /// Apps that could not be started.
    failed: Mutex<BTreeSet<Address>>,
    /// The time and the result of the last disk check.
    probed: tokio::sync::Mutex<Option<(Instant, Result<(), String>)>>,
}

impl Readiness {
    pub(crate) fn new(data: &Path) -> Self {
        Self(Arc::new(Inner { data: data.to_owned(), failed: Mutex::default(), probed: tokio::sync::Mutex::default() }))
    }

    /// Reports that an app runs, or was removed.
    pub(crate) fn app_settled(&self, app: &Address) {
        self.failed().remove(app);
    }

    /// Reports that an app could not be started.
    pub(crate) fn app_failed(&self, app: &Address) {
        self.failed().insert(app.clone());
    }

    /// Errors with 503 `not-ready` and the reasons. It does not name apps, because everybody can call it.
    pub(crate) async fn look(&self) -> Result<(), Failure> {
        let failed = self.failed().len();
        let mut missing = Vec::new();
        if let Err(reason) = self.storage().await {
            missing.push(format!("cannot write to the data folder: {reason}"));
        }
        if failed > 0 {
            missing.push(format!("{failed} of the apps did not start: see the log"));
        }
        if missing.is_empty() { Ok(()) } else { Err(Failure::new(503, "not-ready", missing.join("; "))) }
    }

    async fn storage(&self) -> Result<(), String> {
        let mut probed = self.0.probed.lock().await;
        if let Some((when, found)) = &*probed
            && when.elapsed() < AGAIN
        {
            return found.clone();
        }
        let data = self.0.data.clone();
        let found = tokio::task::spawn_blocking(move || probe(&data)).await;
        let found = found.map_err(|error| error.to_string()).and_then(|found| found.map_err(|error| error.to_string()));
        *probed = Some((Instant::now(), found.clone()));
        found
    }

    fn failed(&self) -> MutexGuard<'_, BTreeSet<Address>> {
        self.0.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn probe(data: &Path) -> io::Result<()> {
    // The next start removes a file with this name, if this process is killed now.
    let file = data.join(format!(".{}.ready.part", std::process::id()));
    let written = fs::write(&file, [0; PROBE]);
    let _ = fs::remove_file(&file);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_is_ready_when_its_disk_is_writable_and_all_apps_run() {
        let folder = tempfile::tempdir().unwrap();
        let readiness = Readiness::new(folder.path());
        let app = Address::parse("acme:profiles").unwrap();
        readiness.look().await.unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        readiness.app_failed(&app);
        let failure = readiness.look().await.unwrap_err();
        assert_eq!((failure.status, failure.code.as_str()), (503, "not-ready"));
        assert!(failure.message.contains("1 of the apps") && !failure.message.contains("acme"), "{failure}");
        readiness.app_settled(&app);
        readiness.look().await.unwrap();
        let gone = Readiness::new(&folder.path().join("gone"));
        assert!(gone.look().await.unwrap_err().message.contains("data folder"));
    }
}
