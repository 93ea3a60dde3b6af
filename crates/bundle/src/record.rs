//! App records: the current version of an app on a server.

use serde::{Deserialize, Serialize};
use starlane_protocol::Address;

use crate::{Digest, PublicKey};

/// The reply of `get` of `starlane:apps`. A revision number never decreases: a rollback makes a new revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppRecord {
    /// The app.
    pub app: Address,
    /// The revision number, which grows with every change.
    pub revision: u64,
    /// The bundle.
    pub bundle: Address,
    /// The digest of its manifest's exact bytes.
    pub manifest: Digest,
    /// The key that signed that manifest.
    pub publisher: PublicKey,
    /// The mechtrons with which tenants replaced the app's own, each at the tenant's own key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// The maker of this revision. Only the server's own record has it; other hosts do not get it. Without it, as in
    /// records of older servers, the app's mechtrons have no grants beyond the app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
}

/// The maker of a revision. The grants of the app beyond itself depend on the maker's own rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maker {
    /// The principal.
    pub principal: String,
    /// The token that the maker used, as the server recorded it; empty for the admin token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proof: String,
    /// The lines of `allow` that an admin confirmed by making the app. They remain when the admin's own token expires.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirmed: Vec<String>,
    /// Whether that token was revoked. Then it gives no more rights.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl AppRecord {
    /// Returns the record for other hosts, without the fields that only the server uses.
    #[must_use]
    pub fn told(self) -> Self {
        Self { maker: None, ..self }
    }
}

/// A tenant's own mechtron at the tenant's own key. It takes effect only where the app's manifest has `override =
/// true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The actor, relative to the app: `profile:ada`.
    pub key: String,
    /// The mechtron's config in the tenant's bundle.
    pub bundle: Address,
    /// The digest of that bundle's manifest.
    pub manifest: Digest,
    /// The key that must have signed that manifest.
    pub publisher: PublicKey,
    /// Its grants, which are limited to the rights of its maker.
    #[serde(default)]
    pub allow: Vec<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::SecretKey;

    #[test]
    fn a_record_reads_back_and_ignores_keys_of_newer_servers() {
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
