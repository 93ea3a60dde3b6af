//! The layout of the database, and the steps to it.
//!
//! Each step is a file that is never changed again; data of any older version goes through all steps behind it, in one
//! transaction. Data of a *newer* version is left alone: a newer page of this origin wrote it and may want it back. This
//! host then keeps nothing (`IndexedDbStore` goes on in memory and says so), which a reload of the newer page ends.

mod v0_to_v1;

use indexed_db_futures::{Result, database::Database};

/// The version that this code reads and writes.
pub(super) const VERSION: u32 = 1;

/// `Digest` in hex → `Uint8Array`.
pub(super) const BLOBS: &str = "blobs";
/// `Address` of a bundle → `{ bytes: Uint8Array, signature: string }`.
pub(super) const MANIFESTS: &str = "manifests";
/// `Address` of an app → JSON of its record, as a string: its numbers need 64 bits.
pub(super) const RECORDS: &str = "records";
/// [`SECRET`] → `Uint8Array`.
pub(super) const SETTINGS: &str = "settings";
/// The key of the host's secret in the settings.
pub(super) const SECRET: &str = "secret";

/// Brings a database from version `from` (0: it is new) to [`VERSION`].
pub(super) fn upgrade(database: &Database, from: u32) -> Result<()> {
    if from < 1 {
        v0_to_v1::step(database)?;
    }
    Ok(())
}
