//! Apps of this server: the resource `starlane:apps`, and what an app brings with it: databases, routes, mechtrons.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::Deserialize;
use serde_json::json;
use starlane_bundle::{AppConfig, AppRecord, AppResource, Manifest, Placement, ResourceKind};
use starlane_host::{Host, Incoming, Operations, Principal, Served, Side, handler, ports::Store};
use starlane_protocol::{Address, Failure, Outcome, Payload, Verb};

use crate::{
    body::{json as json_payload, read},
    database::{self, Database, Migration},
    http::{
        routes::Routes,
        visibility::{hidden, may_read},
    },
    store::DiskStore,
};

const OPERATIONS: [&str; 4] = ["get", "list", "create", "delete"];

/// All apps of a server.
pub(crate) struct Apps {
    host: Host,
    store: DiskStore,
    data: PathBuf,
    routes: Routes,
    /// What each app serves beside its mechtrons; dropped, it is released.
    resources: RefCell<BTreeMap<Address, Vec<Served>>>,
    served: RefCell<Option<Served>>,
    /// One change at a time: a revision is never given twice.
    changing: tokio::sync::Mutex<()>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    app: Address,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    app: Address,
    bundle: Address,
}

impl Apps {
    /// Serves `starlane:apps` and starts the apps that were created before.
    pub(crate) async fn open(host: &Host, store: DiskStore, data: &Path, routes: Routes) -> Result<Rc<Self>, Failure> {
        let apps = Rc::new(Self {
            host: host.clone(),
            store,
            data: data.to_owned(),
            routes,
            resources: RefCell::default(),
            served: RefCell::default(),
            changing: tokio::sync::Mutex::default(),
        });
        let address = Address::parse("starlane:apps").map_err(|error| Failure::internal(error.to_string()))?;
        let weak = Rc::downgrade(&apps);
        let answer = handler(move |incoming: Incoming| {
            let apps = weak.upgrade();
            async move {
                let to = incoming.to.clone();
                let apps = apps.ok_or_else(|| Failure::not_running("the server is stopping"))?;
                apps.answer(incoming).await.map_err(|failure| failure.at(&to))
            }
        });
        let names = OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
        *apps.served.borrow_mut() = Some(host.serve(&address, Operations::Named(names), answer)?);
        let records = apps.store.records().await.map_err(|error| Failure::internal(error.to_string()))?;
        for record in records {
            let app = record.app.clone();
            if let Err(failure) = apps.start(record).await {
                tracing::error!(%app, %failure, "the app can't be started");
            }
        }
        Ok(apps)
    }

    async fn answer(&self, incoming: Incoming) -> Outcome {
        match incoming.operation.as_str() {
            "get" => {
                let Named { app } = read(&incoming)?;
                incoming.caller.permit(Verb::Launch, &app, "")?;
                Ok(json_payload(&self.record(&app).await?))
            }
            "list" => {
                let mut records = self.store.records().await.map_err(|error| Failure::internal(error.to_string()))?;
                let knows =
                    |app: &Address| [Verb::Launch, Verb::Deploy].iter().any(|verb| incoming.caller.may(*verb, app, ""));
                records.retain(|record| knows(&record.app));
                Ok(json_payload(&json!({ "apps": records })))
            }
            "create" => {
                let Create { app, bundle } = read(&incoming)?;
                incoming.caller.permit(Verb::Deploy, &app, "")?;
                let _alone = self.changing.lock().await;
                Ok(json_payload(&self.create(app, bundle, &incoming.caller).await?))
            }
            _ => {
                let Named { app } = read(&incoming)?;
                incoming.caller.permit(Verb::Deploy, &app, "")?;
                let _alone = self.changing.lock().await;
                self.record(&app).await?;
                self.stop(&app);
                self.store.drop_record(&app).await.map_err(|error| Failure::internal(error.to_string()))?;
                Ok(Payload::nothing())
            }
        }
    }

    async fn record(&self, app: &Address) -> Result<AppRecord, Failure> {
        let kept = self.store.record(app).await.map_err(|error| Failure::internal(error.to_string()))?;
        kept.ok_or_else(|| {
            Failure::not_found(format!("there is no app {app}: create it with `starlane app create`")).at(app)
        })
    }

    async fn create(&self, app: Address, bundle: Address, caller: &Principal) -> Result<AppRecord, Failure> {
        if app.version().is_some() || app.path().is_some() || app.host().is_some() || app.segments().count() < 2 {
            return Err(Failure::malformed(format!("{app} is no address for an app: such as acme:profiles")).at(&app));
        }
        let before = self.store.record(&app).await.map_err(|error| Failure::internal(error.to_string()))?;
        let signed = self.store.manifest(&bundle).await.map_err(|error| Failure::internal(error.to_string()))?;
        let signed = signed.ok_or_else(|| {
            Failure::not_found(format!("the bundle {bundle} is not published here: use `starlane publish`")).at(&bundle)
        })?;
        let manifest = signed.open().map_err(|error| Failure::conflict(error.to_string()).at(&bundle))?;
        // Else whoever may launch the new app could read it.
        if !manifest.public && !may_read(&self.routes, caller, &bundle) {
            return Err(hidden().at(&bundle));
        }
        let record = AppRecord {
            revision: 1 + match before {
                Some(before) => before.revision,
                None => self.store.last_revision(&app).await.map_err(|error| Failure::internal(error.to_string()))?,
            },
            app,
            bundle,
            manifest: signed.digest(),
            publisher: manifest.publisher,
            overrides: Vec::new(),
        };
        self.start(record.clone()).await?;
        self.store.put_record(record.clone()).await.map_err(|error| Failure::internal(error.to_string()))?;
        if let Some(served) = &*self.served.borrow() {
            served.emit("changed", json_payload(&json!({ "app": record.app, "revision": record.revision })))?;
        }
        tracing::info!(app = %record.app, bundle = %record.bundle, revision = record.revision, "app created");
        Ok(record)
    }

    /// Runs an app: its resources, its routes, its mechtrons.
    async fn start(&self, record: AppRecord) -> Result<(), Failure> {
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

    async fn open_resources(
        &self,
        record: &AppRecord,
        manifest: &Manifest,
        config: &AppConfig,
    ) -> Result<Vec<(Address, Database)>, Failure> {
        let mut opened = Vec::new();
        for (name, resource) in config.resources.iter().filter(|(_, r)| r.placement != Placement::Browser) {
            let address = record.app.child(name).map_err(|error| Failure::malformed(error.to_string()))?;
            if resource.kind != ResourceKind::Database {
                let kind = serde_json::to_string(&resource.kind).unwrap_or_default();
                let message = format!("this server has no resources of kind {kind} yet");
                return Err(Failure::new(501, "not-supported", message).at(&address));
            }
            let migrations = self.migrations(manifest, resource).await.map_err(|failure| failure.at(&address))?;
            let file = self.data.join("databases").join(record.app.to_string()).join(format!("{name}.sqlite"));
            let database = tokio::task::spawn_blocking(move || Database::open(&file, &migrations)).await;
            let database = database.unwrap_or_else(|error| Err(error.to_string()));
            opened.push((address.clone(), database.map_err(|error| Failure::conflict(error).at(&address))?));
        }
        Ok(opened)
    }

    async fn migrations(&self, manifest: &Manifest, resource: &AppResource) -> Result<Vec<Migration>, Failure> {
        let Some(folder) = &resource.migrations else { return Ok(Vec::new()) };
        let mut migrations = Vec::new();
        for (path, file) in manifest.files.iter().filter(|(path, _)| path.starts_with(folder) && path.ends_with(".sql"))
        {
            let bytes = self.host.blob(&file.sha256, file.size).await;
            let bytes = bytes.map_err(|error| Failure::internal(error.to_string()))?;
            let sql = String::from_utf8(bytes.to_vec())
                .map_err(|_| Failure::conflict(format!("the migration {path} is no UTF-8")))?;
            migrations.push(Migration { path: path.clone(), sql });
        }
        Ok(migrations)
    }

    fn stop(&self, app: &Address) {
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
