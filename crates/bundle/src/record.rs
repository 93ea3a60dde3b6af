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
}
