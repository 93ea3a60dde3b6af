//! A change of what an app is: everything is checked and prepared while the version before it runs, then takes effect in one turn.

use starlane_bundle::{AppConfig, AppRecord, Manifest};
use starlane_host::{LoadedModules, Side, VerifiedApp, ports::BundleStore};
use starlane_protocol::{Address, Failure};

use super::{Apps, ceilings, resources::Prepared, stored};

/// A version of an app that is ready to take effect.
pub(super) struct Change {
    pub(super) record: AppRecord,
    manifest: Manifest,
    config: AppConfig,
    databases: Prepared,
    /// Those of its mechtrons, if they were compiled already.
    modules: Option<LoadedModules>,
}

impl Change {
    /// Takes back what was prepared; the app goes on as it was.
    pub(super) async fn abandon(self) {
        self.databases.abandon().await;
    }
}

impl Apps {
    /// Runs an app that was created before, as its record says.
    pub(super) async fn start(&self, record: AppRecord) -> Result<(), Failure> {
        let change = self.prepare(&record, record.revision).await?;
        if let Err(failure) = self.check(&change) {
            change.abandon().await;
            return Err(failure);
        }
        self.switch(change)
    }

    /// Everything that can fail, and nothing that anybody notices. The schemas of databases begin at those of the revision `from`,
    /// which is the record's own for an app that only starts again: its modules are compiled when they are used.
    pub(super) async fn prepare(&self, record: &AppRecord, from: u64) -> Result<Change, Failure> {
        let signed = self.store.manifest(&record.bundle).await.map_err(stored)?;
        let signed =
            signed.ok_or_else(|| Failure::not_found("its bundle is not in the repository").at(&record.bundle))?;
        let now = crate::time::unix_seconds();
        let manifest = Manifest::verify(&signed, &record.bundle, &record.manifest, &[record.publisher], now)
            .map_err(|error| Failure::conflict(error.to_string()).at(&record.bundle))?;
        let Some(config) = manifest.app.clone() else {
            let message = "the bundle makes no app: it has no app.toml";
            return Err(Failure::conflict(message).at(&record.bundle));
        };
        self.routes.check(&record.app, &config, &manifest, record.publisher)?;
        let verified = VerifiedApp::of(&manifest, &record.app, Side::Server)?;
        self.host.check_install(&verified)?;
        let modules = match from == record.revision {
            true => None,
            false => Some(self.host.load_modules(&verified).await?),
        };
        let databases = self.prepare_databases(record, &manifest, &config, from).await?;
        Ok(Change { record: record.clone(), manifest, config, databases, modules })
    }

    /// Whether a change can take effect beside the apps that run now.
    pub(super) fn check(&self, change: &Change) -> Result<(), Failure> {
        let Change { record, manifest, config, .. } = change;
        self.routes.check(&record.app, config, manifest, record.publisher)?;
        self.host.check_install(&VerifiedApp::of(manifest, &record.app, Side::Server)?)
    }

    /// Puts a change in effect, in one turn: no message sees half of it.
    pub(super) fn switch(&self, change: Change) -> Result<(), Failure> {
        // Its modules are kept until the app is installed, which uses them from then on.
        let Change { record, manifest, config, databases, modules: _modules } = change;
        let app = record.app.clone();
        let told = |failure: Failure| {
            tracing::error!(%app, %failure, "the app's record was written, but it does not run");
            failure
        };
        self.routes.install(&app, &config, &manifest, record.publisher).map_err(told)?;
        let before = self.running.borrow_mut().remove(&app);
        let running = databases.switch(before);
        self.running.borrow_mut().insert(app.clone(), running);
        let manifest = ceilings::hold(self.rights.take_up(manifest, &record), &self.limiter);
        let verified = VerifiedApp::of(&manifest, &app, Side::Server).map_err(told)?;
        self.host.install(verified, record, false).map_err(told)
    }

    pub(super) fn stop(&self, app: &Address) {
        self.rights.forget(app);
        self.routes.remove(app);
        // Taken out first: dropping releases addresses, which is the host's turn.
        let released = self.running.borrow_mut().remove(app);
        drop(released);
        self.host.uninstall(app);
    }
}
