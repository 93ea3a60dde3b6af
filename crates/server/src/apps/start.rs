//! Running an app of its record, and ending it.

use starlane_bundle::{AppRecord, Manifest};
use starlane_host::{Operations, Side, ports::Store};
use starlane_protocol::{Address, Failure};

use super::Apps;
use crate::database;

impl Apps {
    /// Runs an app: its resources, its routes, its mechtrons.
    pub(super) async fn start(&self, record: AppRecord) -> Result<(), Failure> {
        let signed = self.store.manifest(&record.bundle).await.map_err(|error| Failure::internal(error.to_string()))?;
        let signed =
            signed.ok_or_else(|| Failure::not_found("its bundle is not in the repository").at(&record.bundle))?;
        let manifest = Manifest::verify(
            &signed,
            &record.bundle,
            &record.manifest,
            &[record.publisher],
            crate::time::unix_seconds(),
        )
        .map_err(|error| Failure::conflict(error.to_string()).at(&record.bundle))?;
        let Some(config) = manifest.app.clone() else {
            let message = "the bundle makes no app: it has no app.toml";
            return Err(Failure::conflict(message).at(&record.bundle));
        };
        let resources = self.open_resources(&record, &manifest, &config).await?;
        self.routes.install(&record.app, &config, &manifest, record.publisher)?;
        self.stop_resources(&record.app);
        let mut served = Vec::new();
        for (address, database) in resources {
            let names = database::OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
            served.push(self.host.serve(&address, Operations::Named(names), database.handler())?);
        }
        let app = record.app.clone();
        self.host.install(manifest, record, Side::Server, false)?;
        self.resources.borrow_mut().insert(app, served);
        Ok(())
    }

    pub(super) fn stop(&self, app: &Address) {
        self.routes.remove(app);
        self.stop_resources(app);
        self.host.uninstall(app);
    }

    fn stop_resources(&self, app: &Address) {
        // Taken out first: dropping releases addresses, which is the host's turn.
        let released = self.resources.borrow_mut().remove(app);
        drop(released);
    }
}
