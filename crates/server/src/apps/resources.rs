//! What an app brings beside its mechtrons: its databases, with the migrations of its bundle.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use starlane_bundle::{AppConfig, AppRecord, AppResource, Manifest, Placement, ResourceKind};
use starlane_host::{Operations, Served};
use starlane_protocol::{Address, Failure};
use tokio::sync::Semaphore;

use super::Apps;
use crate::{
    data_path::below,
    database::{self, Database, Held, Migration},
    limits::Limit,
};

/// The databases of an app that runs. Dropped, their addresses are released.
pub(super) type Databases = BTreeMap<Address, (Database, Served)>;

/// The databases of a version of an app that is ready to take effect. Their writes wait meanwhile.
#[derive(Default)]
pub(super) struct Prepared {
    held: Vec<(Address, Database, Held)>,
    /// Addresses that the version before does not serve.
    new: BTreeMap<Address, Served>,
}

impl Prepared {
    pub(super) async fn abandon(self) {
        for (_, _, held) in self.held {
            held.abandon().await;
        }
    }

    /// In effect, in the place of those of the version before.
    pub(super) fn switch(mut self, before: Option<Databases>) -> Databases {
        let mut before = before.unwrap_or_default();
        let mut running = Databases::new();
        for (address, database, held) in self.held {
            held.switch();
            let known = before.remove(&address).map(|(_, served)| served);
            running.extend(known.or_else(|| self.new.remove(&address)).map(|served| (address, (database, served))));
        }
        running
    }
}

impl Apps {
    /// Works out the schemas that a version of an app needs; those of the version before are of the revision `from`.
    pub(super) async fn prepare_databases(
        &self,
        record: &AppRecord,
        manifest: &Manifest,
        config: &AppConfig,
        from: u64,
    ) -> Result<Prepared, Failure> {
        let mut wanted = Vec::new();
        for (name, resource) in config.resources.iter().filter(|(_, r)| r.placement != Placement::Browser) {
            let address = record.app.child(name).map_err(|error| Failure::malformed(error.to_string()))?;
            if resource.kind != ResourceKind::Database {
                let kind = serde_json::to_string(&resource.kind).unwrap_or_default();
                let message = format!("this server has no resources of kind {kind} yet");
                return Err(Failure::new(501, "not-supported", message).at(&address));
            }
            let migrations = self.migrations(manifest, resource).await.map_err(|failure| failure.at(&address))?;
            wanted.push((name, address, migrations));
        }
        let folder = self.databases_of(&record.app)?;
        for (name, address, _) in &wanted {
            below(&folder, [name]).map_err(|error| Failure::malformed(error.to_string()).at(address))?;
        }
        database::clear(&folder, from).await?;
        let mut prepared = Prepared::default();
        for (name, address, migrations) in wanted {
            let staged = self
                .prepare_database(&mut prepared, (name, &record.app, &address), migrations, (from, record.revision))
                .await;
            if let Err(failure) = staged {
                prepared.abandon().await;
                return Err(failure.at(&address));
            }
        }
        Ok(prepared)
    }

    async fn prepare_database(
        &self,
        prepared: &mut Prepared,
        (name, app, address): (&str, &Address, &Address),
        migrations: Vec<Migration>,
        (from, to): (u64, u64),
    ) -> Result<(), Failure> {
        let known = self
            .running
            .borrow()
            .get(app)
            .and_then(|running| running.get(address).map(|(database, _)| database.clone()));
        let database = match known {
            Some(database) => database,
            None => {
                let permits = || Arc::new(Semaphore::new(self.limiter.count(Limit::SqlAtOnce)));
                let at_once = Arc::clone(self.sql.borrow_mut().entry(app.space().to_owned()).or_insert_with(permits));
                let database = Database::new(&self.databases_of(app)?, name, &self.limiter, &at_once);
                let guarded = self.storage.guard(app.space(), database.handler());
                let names = database::OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
                let served = self.host.serve(address, Operations::Named(names), guarded)?.with_events(&[]);
                prepared.new.insert(address.clone(), served);
                database
            }
        };
        let held = database.hold().await.stage(from, to, migrations).await?;
        prepared.held.push((address.clone(), database, held));
        Ok(())
    }

    /// The folder of an app's databases.
    fn databases_of(&self, app: &Address) -> Result<PathBuf, Failure> {
        let folder = below(&self.data, ["databases", app.as_str()]);
        folder.map_err(|error| Failure::malformed(error.to_string()).at(app))
    }

    async fn migrations(&self, manifest: &Manifest, resource: &AppResource) -> Result<Vec<Migration>, Failure> {
        let Some(folder) = &resource.migrations else { return Ok(Vec::new()) };
        let mut migrations = Vec::new();
        for (path, file) in manifest.files.iter().filter(|(path, _)| path.starts_with(folder) && path.ends_with(".sql"))
        {
            let bytes = self.host.blob(&file.sha256, file.size).await;
            let bytes = bytes.map_err(|error| Failure::internal(error.to_string()))?;
            let sql = std::str::from_utf8(&bytes)
                .map_err(|_| Failure::conflict(format!("the migration {path} is not UTF-8")))?;
            migrations.push(Migration::new(path, sql));
        }
        Ok(migrations)
    }
}
