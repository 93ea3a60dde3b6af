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
    /// Who made this revision. Only the server's own record has it, and hosts are not told. Without it, as in the records of
    /// older servers, nothing that reaches beyond the app is allowed to its mechtrons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maker: Option<Maker>,
}

/// Who made a revision of an app, and what that rests on which the app allows beyond itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Maker {
    /// The principal.
    pub principal: String,
    /// What it showed, as the server noted it; empty for the admin token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proof: String,
    /// The lines of `allow` that an admin confirmed, by making the app: they stay when the admin's own token ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirmed: Vec<String>,
    /// Whether what it showed was revoked: from then on nothing rests on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoked: bool,
}

impl AppRecord {
    /// The record as other hosts see it, without the fields that only the server uses.
    #[must_use]
    pub fn told(self) -> Self {
        Self { maker: None, ..self }
    }
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
