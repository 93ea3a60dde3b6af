//! Creating an app, and moving it to another bundle.

use serde_json::json;
use starlane_bundle::AppRecord;
use starlane_host::{Principal, ports::Store};
use starlane_protocol::{Address, Failure};

use super::Apps;
use crate::{
    body::json as json_payload,
    http::visibility::{hidden, may_read},
};

impl Apps {
    pub(super) async fn create(&self, app: Address, bundle: Address, caller: &Principal) -> Result<AppRecord, Failure> {
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
}
