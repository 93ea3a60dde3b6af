//! Version 1: a cache of bundles, app records, the host's secret.

use indexed_db_futures::{Build, Result, database::Database};

pub(super) fn step(database: &Database) -> Result<()> {
    for name in ["blobs", "manifests", "records", "settings"] {
        database.create_object_store(name).build()?;
    }
    Ok(())
}
