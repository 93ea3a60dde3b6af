//! The schemas of a whole manifest.

use super::{SchemaError, normal_form};
use crate::Contents;

/// What is wrong with a schema of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestSchemaError {
    /// Hosts would refuse it.
    #[error("the schema {path} is refused {error}")]
    Refused {
        /// Its path in the manifest.
        path: String,
        /// What is wrong with it.
        error: SchemaError,
    },
    /// Hosts check bodies with schemas as they stand, and this one is not as they need it.
    #[error("the schema {0} is not in normal form: publish the bundle with `starlane publish`")]
    NotNormal(String),
}

/// Checks that each schema of a manifest is in its normal form: another tool may have made it.
pub fn check_all(contents: &Contents) -> Result<(), ManifestSchemaError> {
    for (path, schema) in &contents.schemas {
        let normal = normal_form(schema);
        let normal = normal.map_err(|error| ManifestSchemaError::Refused { path: path.clone(), error })?;
        if normal != *schema {
            return Err(ManifestSchemaError::NotNormal(path.clone()));
        }
    }
    Ok(())
}
