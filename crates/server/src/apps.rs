//! The apps of this server: the resource `starlane:apps`, and the resources, routes and mechtrons of each app.

pub(crate) mod ceilings;
mod change;
mod create;
pub(crate) mod rights;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    rc::{Rc, Weak},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::json;
use starlane_bundle::AppRecord;
use starlane_host::{
    Bound, Entry, Host, Principal, Served, handler,
    ports::{RecordStore, StoreError},
};
use starlane_protocol::{Address, Failure, Message, Outcome, Payload, Verb};

use tokio::sync::{Mutex, OwnedMutexGuard};

use self::rights::Rights;
use crate::{
    audit::Audit,
    body::{json as json_payload, read, unknown},
    http::routes::Routes,
    limits::Limiter,
    readiness::Readiness,
    storage::{self, Storage},
    store::DiskStore,
};

/// All apps of a server.
pub(crate) struct Apps {
    host: Host,
    store: DiskStore,
    routes: Routes,
    rights: Rc<Rights>,
    limiter: Arc<Limiter>,
    storage: Storage,
    readiness: Readiness,
    bound: Bound,
    served: RefCell<Option<Rc<Served>>>,
    /// One change of an app at a time, so that a revision number is never used twice. A slow change does not delay other apps.
    changing: RefCell<BTreeMap<Address, Arc<Mutex<()>>>>,
    /// One app at a time takes effect, so that its checks against other apps remain valid until then.
    committing: Mutex<()>,
    own: Weak<Self>,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    app: Address,
    /// Whether to delete the data of its resources and actors too.
    #[serde(default)]
    data: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Restart {
    /// A mechtron, or an app: all of its mechtrons.
    address: Address,
}

/// A request to `starlane:apps`.
enum Operation {
    Get(Named),
    List,
    Create(Create),
    Restart(Restart),
    Delete(Delete),
}

impl Operation {
    fn read(incoming: &Message) -> Result<Self, Failure> {
        Ok(match incoming.operation.as_str() {
            "get" => Self::Get(read(incoming)?),
            "list" => Self::List,
            "create" => Self::Create(read(incoming)?),
            "restart" => Self::Restart(read(incoming)?),
            "delete" => Self::Delete(read(incoming)?),
            _ => return unknown(incoming),
        })
    }
}

/// Checks, before reading the body, whether the caller can use an operation on at least one app.
fn may_ask(caller: &Principal, operation: &str) -> Result<(), Failure> {
    let (verb, example) = match operation {
        "get" => (Verb::Launch, "launch acme:shop"),
        "create" | "delete" | "restart" => (Verb::Deploy, "deploy acme:shop"),
        _ => return Ok(()),
    };
    if caller.grants().iter().any(|grant| grant.verb() == verb || grant.verb() == Verb::Admin) {
        return Ok(());
    }
    Err(Failure::no_grant(format!("operation `{operation}` requires a grant such as \"{example}\"")))
}

/// The target of a change, for the audit log: the app, and the bundle if the request names one.
fn target(body: &[u8]) -> String {
    let about: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let named = ["app", "bundle", "address"].iter().filter_map(|field| about.get(field)?.as_str());
    named.collect::<Vec<_>>().join(" ")
}

impl Apps {
    /// Serves `starlane:apps` and starts the existing apps.
    pub(crate) async fn open(
        host: &Host,
        store: DiskStore,
        (routes, rights): (Routes, Rc<Rights>),
        limiter: &Arc<Limiter>,
        (audit, storage): (&Audit, &Storage),
        readiness: Readiness,
        bound: Bound,
    ) -> Result<Rc<Self>, Failure> {
        let reading = Rc::clone(&rights);
        host.guard_bundles(Rc::new(move |caller, bundle| reading.may_read(caller, bundle)));
        tokio::task::spawn_local(Rc::clone(&rights).watch(host.clone(), store.clone()));
        let apps = Rc::new_cyclic(|own| Self {
            host: host.clone(),
            store,
            routes,
            rights,
            limiter: Arc::clone(limiter),
            storage: storage.clone(),
            readiness,
            bound,
            served: RefCell::default(),
            changing: RefCell::default(),
            committing: Mutex::default(),
            own: Weak::clone(own),
        });
        let address = Address::parse("starlane:apps").map_err(|error| Failure::internal(error.to_string()))?;
        let weak = Rc::downgrade(&apps);
        let (audit, audit_of_entry) = (audit.clone(), audit.clone());
        let answer = handler(move |incoming: Message| {
            let (apps, audit) = (weak.upgrade(), audit.clone());
            async move {
                let to = incoming.to.clone();
                let answered = async {
                    let apps = apps.ok_or_else(|| Failure::not_running("the server is stopping"))?;
                    let operation = Operation::read(&incoming);
                    let before = match &operation {
                        Ok(Operation::Create(Create { app, .. })) => apps.known(app).await,
                        _ => None,
                    };
                    let change = match &operation {
                        Ok(Operation::Get(_) | Operation::List) => None,
                        Ok(Operation::Create(_)) if before.is_some() => Some("app.upgrade".to_owned()),
                        Ok(_) | Err(_) => Some(format!("app.{}", incoming.operation)),
                    };
                    let answered = match operation {
                        Ok(operation) => apps.answer(operation, incoming.caller.clone()).await,
                        Err(failure) => Err(failure),
                    };
                    // The version that it has already is a revision of its own, and changes nothing.
                    let is_same = match &before {
                        Some(before) if answered.is_ok() => apps.is_still(before).await,
                        _ => false,
                    };
                    if let Some(action) = change.filter(|_| !is_same) {
                        audit.note(incoming.caller.name(), &action, &target(&incoming.payload.body), &answered);
                    }
                    answered
                };
                answered.await.map_err(|failure| failure.at(&to))
            }
        });
        let audit = audit_of_entry;
        let entry: Entry = Rc::new(move |incoming| {
            let may = may_ask(&incoming.caller, &incoming.operation);
            if may.is_err() && incoming.operation != "get" {
                let action = format!("app.{}", incoming.operation);
                audit.note(incoming.caller.name(), &action, &target(&incoming.payload.body), &may);
            }
            may
        });
        *apps.served.borrow_mut() = Some(Rc::new(apps.bound.clone().entered_by(entry).serve(host, &address, answer)?));
        let records = apps.store.records().await.map_err(stored)?;
        for record in records {
            let app = record.app.clone();
            if let Err(failure) = apps.start(record).await {
                tracing::error!(%app, %failure, "cannot start the app");
                apps.readiness.app_failed(&app);
            }
        }
        Ok(apps)
    }

    async fn answer(&self, operation: Operation, caller: Principal) -> Outcome {
        match operation {
            Operation::Get(Named { app }) => {
                caller.permit(Verb::Launch, &app, "")?;
                Ok(json_payload(&self.record(&app).await?.told()))
            }
            Operation::List => {
                let mut records = self.store.records().await.map_err(stored)?;
                let knows = |app: &Address| [Verb::Launch, Verb::Deploy].iter().any(|verb| caller.may(*verb, app, ""));
                records.retain(|record| knows(&record.app));
                let records: Vec<AppRecord> = records.into_iter().map(AppRecord::told).collect();
                Ok(json_payload(&json!({ "apps": records })))
            }
            Operation::Restart(Restart { address }) => {
                let restarted = self.restart(&address, &caller).await?;
                Ok(json_payload(&json!({ "restarted": restarted })))
            }
            Operation::Create(Create { app, bundle }) => {
                caller.permit(Verb::Deploy, &app, "")?;
                // A full space cannot create an app; its existing apps continue, and can be deleted.
                self.storage.admit(app.space(), storage::MIN_FILE_BYTES)?;
                let apps = self.own()?;
                let record = to_its_end(async move {
                    let _alone = apps.alone(&app).await;
                    let created = apps.create(app, bundle, &caller).await?;
                    apps.readiness.app_settled(&created.app);
                    Ok(created)
                });
                Ok(json_payload(&record.await?.told()))
            }
            Operation::Delete(Delete { app, data }) => {
                caller.permit(Verb::Deploy, &app, "")?;
                let apps = self.own()?;
                to_its_end(async move {
                    let _alone = apps.alone(&app).await;
                    apps.delete(&app, data).await?;
                    apps.readiness.app_settled(&app);
                    Ok(())
                })
                .await?;
                Ok(Payload::nothing())
            }
        }
    }

    /// The record of an existing app; creating that app again is an upgrade.
    async fn known(&self, app: &Address) -> Option<AppRecord> {
        self.store.record(app).await.ok().flatten()
    }

    /// Whether two records differ only in their revision.
    async fn is_still(&self, before: &AppRecord) -> bool {
        let now = self.known(&before.app).await;
        now.is_some_and(|now| AppRecord { revision: before.revision, ..now } == *before)
    }

    fn own(&self) -> Result<Rc<Self>, Failure> {
        self.own.upgrade().ok_or_else(|| Failure::not_running("the server is stopping"))
    }

    /// Waits for a running change of an app to end. No change begins while the guard is held.
    async fn alone(&self, app: &Address) -> OwnedMutexGuard<()> {
        let lock = {
            let mut changing = self.changing.borrow_mut();
            changing.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(changing.entry(app.clone()).or_default())
        };
        lock.lock_owned().await
    }

    /// Restarts the actors of an app, or one of them, from their last states, and ends their quarantine. Returns the number of
    /// actors. Requires `deploy` on the app.
    async fn restart(&self, address: &Address, caller: &Principal) -> Result<usize, Failure> {
        let records = self.store.records().await.map_err(stored)?;
        let of_apps = records.iter().map(|record| &record.app).filter(|app| address.is_within(app));
        let app = of_apps.max_by_key(|app| app.segments().count());
        caller.permit(Verb::Deploy, app.unwrap_or(address), "")?;
        match self.host.restart(address) {
            0 => Err(Failure::not_found(format!(
                "nothing to restart: no actor at {address} has been used since the server started"
            ))
            .at(address)),
            restarted => {
                tracing::info!(%address, restarted, caller = caller.name(), "actors restarted");
                Ok(restarted)
            }
        }
    }

    async fn record(&self, app: &Address) -> Result<AppRecord, Failure> {
        let kept = self.store.record(app).await.map_err(stored)?;
        kept.ok_or_else(|| {
            Failure::not_found(format!(
                "app {app} does not exist or you cannot use it; `starlane app list` shows your apps"
            ))
            .at(app)
        })
    }
}

/// Completes a change even if the caller disconnects, so that it is never half made.
async fn to_its_end<T: 'static>(work: impl Future<Output = Result<T, Failure>> + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_local(work).await;
    done.unwrap_or_else(|error| Err(Failure::internal(error.to_string())))
}

/// A store's error, as a failure.
fn stored(error: StoreError) -> Failure {
    match error {
        StoreError::Full(reason) => Failure::storage_full(reason),
        error => Failure::internal(error.to_string()),
    }
}
