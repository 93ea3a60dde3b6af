//! Apps of this server: the resource `starlane:apps`, and what an app brings with it: databases, routes, mechtrons.

mod create;
mod resources;
mod start;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use serde::Deserialize;
use serde_json::json;
use starlane_bundle::AppRecord;
use starlane_host::{Host, Incoming, Operations, Served, handler, ports::Store};
use starlane_protocol::{Address, Failure, Outcome, Payload, Verb};

use crate::{
    body::{json as json_payload, read},
    http::routes::Routes,
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
}
