//! A change of an app: it is checked and prepared while the current version runs, then takes effect in one turn.

use starlane_bundle::{AppConfig, AppRecord, Manifest, settings};
use starlane_host::{LoadedModules, Side, VerifiedApp, ports::BundleStore, resource::Prepared};
use starlane_protocol::{Address, Failure};

use super::{Apps, ceilings, stored};

/// A version of an app that is ready to take effect.
pub(super) struct Change {
    pub(super) record: AppRecord,
    manifest: Manifest,
    config: AppConfig,
    resources: Option<Box<dyn Prepared>>,
    /// The contracts of its mechtrons, if they are already compiled.
    modules: Option<LoadedModules>,
}

impl Change {
    /// Discards the prepared change; the app continues unchanged.
    pub(super) async fn abandon(self) {
        if let Some(resources) = self.resources {
            resources.abandon().await;
        }
    }
}

impl Apps {
    /// Runs an existing app, as its record says.
    pub(super) async fn start(&self, record: AppRecord) -> Result<(), Failure> {
        let change = self.prepare(&record, record.revision).await?;
        if let Err(failure) = self.check(&change) {
            change.abandon().await;
            return Err(failure);
        }
        self.switch(change)
    }

    /// Does every step that can fail, without a visible effect. Resources start from their state at the revision
    /// `from`. For an app that only restarts, that is the record's own revision, and its modules are compiled on first
    /// use.
    pub(super) async fn prepare(&self, record: &AppRecord, from: u64) -> Result<Change, Failure> {
        let signed = self.store.manifest(&record.bundle).await.map_err(stored)?;
        let signed = signed.ok_or_else(|| {
            Failure::not_found("the app's bundle is not in the repository; publish it again").at(&record.bundle)
        })?;
        let now = crate::time::unix_seconds();
        let manifest = Manifest::verify(&signed, &record.bundle, &record.manifest, &[record.publisher], now)
            .map_err(|error| Failure::conflict(error.to_string()).at(&record.bundle))?;
        let Some(config) = manifest.app.clone() else {
            let message = "the bundle has no app.toml, so it cannot be created as an app";
            return Err(Failure::conflict(message).at(&record.bundle));
        };
        self.routes.check(&record.app, &config, &manifest, record.publisher)?;
        settings::check_settings(&manifest).map_err(|error| Failure::conflict(error.to_string()).at(&record.bundle))?;
        let verified = self.verified(&manifest, &record.app)?;
        self.host.check_install(&verified)?;
        let modules = match from == record.revision {
            true => None,
            false => Some(self.host.load_modules(&verified).await?),
        };
        let resources = self.host.prepare(&verified, (from, record.revision)).await?;
        Ok(Change { record: record.clone(), manifest, config, resources, modules })
    }

    /// Checks that a change does not conflict with the running apps.
    pub(super) fn check(&self, change: &Change) -> Result<(), Failure> {
        let Change { record, manifest, config, .. } = change;
        self.routes.check(&record.app, config, manifest, record.publisher)?;
        self.host.check_install(&self.verified(manifest, &record.app)?)
    }

    /// The part of a manifest that this server runs. Errors with 501 when it has no driver for a resource that is placed here.
    pub(super) fn verified(&self, manifest: &Manifest, app: &Address) -> Result<VerifiedApp, Failure> {
        VerifiedApp::of(manifest, app, Side::Server, self.host.kinds())
    }

    /// Puts a change into effect in one turn, so that no message sees a part of it.
    pub(super) fn switch(&self, change: Change) -> Result<(), Failure> {
        // Its modules stay in memory until the installed app holds them.
        let Change { record, manifest, config, resources, modules: _modules } = change;
        let app = record.app.clone();
        let told = |failure: Failure| {
            tracing::error!(%app, %failure, "the app's record was written, but the app did not start");
            failure
        };
        self.routes.install(&app, &config, &manifest, record.publisher).map_err(told)?;
        let manifest = ceilings::hold(self.rights.take_up(manifest, &record), &self.limiter);
        let verified = self.verified(&manifest, &app).map_err(told)?;
        self.host.install(verified, record, false, resources).map_err(told)
    }

    pub(super) fn stop(&self, app: &Address) {
        self.rights.forget(app);
        self.routes.remove(app);
        self.host.uninstall(app);
    }
}
