//! Checks all schemas of a manifest.

use super::{SchemaError, normal_form};
use crate::Contents;

/// An error in a schema of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestSchemaError {
    /// Hosts would refuse the schema.
    #[error("the schema {path} is refused {error}")]
    Refused {
        /// Its path in the manifest.
        path: String,
        /// The error.
        error: SchemaError,
    },
    /// The schema is not in normal form. Hosts check bodies with schemas as they are in the manifest.
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
