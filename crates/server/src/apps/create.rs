//! Creating an app, and moving it to another bundle.

use std::{rc::Rc, time::Duration};

use serde_json::json;
use starlane_bundle::AppRecord;
use starlane_host::{
    Principal,
    ports::{BundleStore, RecordStore},
    resource::Resource,
};
use starlane_protocol::{Address, Failure, OWN_SPACE};
use tokio::time::timeout;

use super::{Apps, ceilings, change::Change, stored};
use crate::{
    body::json as json_payload,
    http::visibility::{hidden, may_read},
};

/// The spaces that apps cannot use: callers are named `http:APP` and `override:ADDRESS`.
const RESERVED_SPACES: [&str; 3] = [OWN_SPACE, "http", "override"];
/// The maximum length of an app's address, in bytes. It becomes a file name, and the app's resources have longer addresses.
const MAX_APP: usize = 200;
/// The time for the resources of a deleted app to finish their current requests.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

impl Apps {
    pub(super) async fn create(&self, app: Address, bundle: Address, caller: &Principal) -> Result<AppRecord, Failure> {
        check_address(&app).map_err(|failure| failure.at(&app))?;
        self.rights.check_place(&app)?;
        let before = self.store.record(&app).await.map_err(stored)?;
        let signed = self.store.manifest(&bundle).await.map_err(stored)?;
        let signed = signed.ok_or_else(|| {
            Failure::not_found(format!(
                "bundle {bundle} is not published on this server; publish it with `starlane publish`"
            ))
            .at(&bundle)
        })?;
        let manifest = signed.open().map_err(|error| Failure::conflict(error.to_string()).at(&bundle))?;
        // Otherwise every principal that can launch the new app could read the bundle.
        if !manifest.public && !may_read(&self.routes, caller, &bundle) {
            return Err(hidden().at(&bundle));
        }
        let is_new = before.is_none();
        let from = match before {
            Some(before) => before.revision,
            None => self.store.last_revision(&app).await.map_err(stored)?,
        };
        ceilings::check(&manifest, &self.limiter).map_err(|failure| failure.at(&bundle))?;
        let maker = self.rights.maker(&manifest, &app, caller)?;
        let record = AppRecord {
            revision: from + 1,
            app,
            bundle,
            manifest: signed.digest(),
            publisher: manifest.publisher,
            overrides: Vec::new(),
            maker: Some(maker),
        };
        let change = self.prepare(&record, from).await?;
        let _one = self.committing.lock().await;
        if let Err(failure) = self.commit(&change).await {
            change.abandon().await;
            return Err(failure);
        }
        self.switch(change)?;
        let served = self.served.borrow().clone();
        if let Some(served) = served {
            let changed = json!({ "app": record.app, "revision": record.revision });
            self.bound.emit(&served, "changed", json_payload(&changed)).await?;
        }
        let done = if is_new { "app created" } else { "app upgraded" };
        tracing::info!(app = %record.app, bundle = %record.bundle, revision = record.revision, "{done}");
        Ok(record)
    }

    /// Writes the record, which defines the app from now on, also after a restart. All checks come earlier.
    async fn commit(&self, change: &Change) -> Result<(), Failure> {
        self.check(change)?;
        self.rights.check_place(&change.record.app)?;
        let record = &change.record;
        let written = match self.store.put_record(record.clone()).await {
            Ok(kept) => kept,
            // The record can exist all the same: a disk can report an error after it has written the file.
            Err(error) => match self.store.record(&record.app).await {
                Ok(Some(kept)) if kept == *record => kept,
                _ => return Err(stored(error)),
            },
        };
        match written == *record {
            true => Ok(()),
            false => {
                let message = format!("revision {} of the app already exists", written.revision);
                Err(Failure::conflict(message).at(&record.app))
            }
        }
    }

    /// Ends an app. With `data` it also deletes the data of its resources and actors. The number of the last revision stays.
    pub(super) async fn delete(&self, app: &Address, data: bool) -> Result<(), Failure> {
        let record = self.record(app).await?;
        // Report data that cannot be removed before removing anything.
        let resources = if data { self.resources_of(&record).await? } else { Vec::new() };
        // Requests that end in time are answered; the outcome of longer ones is unknown.
        let _ = timeout(LAST_ANSWERS, self.host.answered(app)).await;
        let _one = self.committing.lock().await;
        self.store.drop_record(app).await.map_err(stored)?;
        self.stop(app);
        for resource in resources {
            resource.remove().await?;
        }
        if data {
            self.host.forget_state(app).await?;
        }
        Ok(())
    }

    /// The resources of a record's app on this server.
    async fn resources_of(&self, record: &AppRecord) -> Result<Vec<Rc<dyn Resource>>, Failure> {
        let signed = self.store.manifest(&record.bundle).await.map_err(stored)?;
        let signed = signed.ok_or_else(|| {
            Failure::not_found("the app's bundle is not in the repository; publish it again").at(&record.bundle)
        })?;
        let manifest = signed.open().map_err(|error| Failure::conflict(error.to_string()).at(&record.bundle))?;
        self.host.resources_of(&self.verified(&manifest, &record.app)?)
    }
}

/// Checks the address of an app. Errors with 400 `malformed`.
fn check_address(app: &Address) -> Result<(), Failure> {
    let is_plain = app.version().is_none() && app.path().is_none() && app.host().is_none();
    if !is_plain || app.segments().count() < 2 {
        return Err(Failure::malformed(format!(
            "{app} is not an app address; expected an address such as acme:profiles"
        )));
    }
    if RESERVED_SPACES.contains(&app.space()) {
        return Err(Failure::malformed(format!(
            "space `{}` is reserved for the server; choose another space",
            app.space()
        )));
    }
    let length = app.as_str().len();
    if length > MAX_APP {
        return Err(Failure::malformed(format!("the app address is {length} bytes; the maximum is {MAX_APP} bytes")));
    }
    Ok(())
}
