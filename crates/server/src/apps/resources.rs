//! What an app brings beside its mechtrons: its databases, with the migrations of its bundle.

use starlane_bundle::{AppConfig, AppRecord, AppResource, Manifest, Placement, ResourceKind};
use starlane_protocol::{Address, Failure};

use super::Apps;
use crate::database::{Database, Migration};

impl Apps {
    pub(super) async fn open_resources(
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
}
