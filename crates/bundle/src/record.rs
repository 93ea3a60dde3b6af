//! App records: which version of an app a server says is current.

use serde::{Deserialize, Serialize};
use starlane_protocol::Address;

use crate::{Digest, PublicKey};

/// What `get` of `starlane:apps` answers. A revision never goes down: a rollback is a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppRecord {
    /// The app.
    pub app: Address,
    /// Grows with every change.
    pub revision: u64,
    /// The bundle.
    pub bundle: Address,
    /// The digest of its manifest's exact bytes.
    pub manifest: Digest,
    /// Who signed that.
    pub publisher: PublicKey,
    /// Mechtrons that tenants put at their own keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
}

/// A tenant's own mechtron at its own key. It counts only where the app's manifest says `override = true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The actor, relative to the app: `profile:ada`.
    pub key: String,
    /// The mechtron's config in the tenant's bundle.
    pub bundle: Address,
    /// The digest of that bundle's manifest.
    pub manifest: Digest,
    /// Who must have signed that.
    pub publisher: PublicKey,
    /// What it may do, within what its maker held.
    #[serde(default)]
    pub allow: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::SecretKey;

    #[test]
    fn a_record_reads_back_and_a_key_from_a_newer_server_does_not_stop_it() {
        let publisher = SecretKey::from_seed([1; 32]).public();
        let digest = Digest::of(b"manifest");
        let written = json!({
            "app": "acme:profiles", "revision": 3, "bundle": "acme:repo:profiles:1.0.0",
            "manifest": digest, "publisher": publisher,
        });
        let record: AppRecord = serde_json::from_value(written.clone()).unwrap();
        assert_eq!((record.revision, record.manifest, record.publisher), (3, digest, publisher));
        assert_eq!(serde_json::to_value(&record).unwrap(), written);
        let mut newer = written;
        newer["since"] = json!(5);
        newer["overrides"] = json!([{ "key": "profile:ada", "bundle": "ada:card:1.0.0:/mechtrons/card.toml",
            "manifest": digest, "publisher": publisher }]);
        let record: AppRecord = serde_json::from_value(newer).unwrap();
        assert_eq!(record.overrides[0].key, "profile:ada");
    }
}
