//! Binds that are built into a program. They have the same form and the same checks as binds of bundles.

use std::collections::BTreeMap;

use include_dir::{Dir, include_dir};

use super::{
    AuthoringError,
    folder::bundle_path,
    resolve::{check_bind, read_schema},
    source::Source,
    tables::BindFile,
};
use crate::{Contract, ResourceKind};

/// The binds of the kinds of resources, and of the files of a bundle.
pub(super) static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/builtin");

/// Reads a built-in bind and its schemas, for example `binds/database.toml`. `text` returns the text of a file. Returns
/// the same errors as [`read_bind`](super::read_bind).
pub fn built_in(path: &str, text: impl Fn(&str) -> Option<&'static str>) -> Result<Contract, AuthoringError> {
    let read = |path: &str| {
        let missing = || {
            AuthoringError::whole(path.as_ref(), "there is no such file", "add the file to the build of the program")
        };
        text(path).map(|text| Source::of(path, text)).ok_or_else(missing)
    };
    let source = read(path)?;
    let file: BindFile = source.parse()?;
    check_bind(&source, &file)?;
    let mut schemas = BTreeMap::new();
    for schema in file.bodies().filter_map(|body| body.schema.as_ref()) {
        let normal = read_schema(&read(schema.get_ref())?, path)?;
        schemas.insert(bundle_path(schema.get_ref()), normal);
    }
    Ok(Contract { bind: file.resolved(), schemas: schemas.into_iter().collect() })
}

/// Returns a built-in bind by name: that of a kind of resource, or `bundle`, the bind of bundle files.
pub fn built_in_bind(name: &str) -> Result<Contract, AuthoringError> {
    built_in(&format!("binds/{name}.toml"), |path| FILES.get_file(path)?.contents_utf8())
}

/// Returns the bind of resources of a kind; `None` for a kind that no host serves yet.
pub fn bind_of(kind: ResourceKind) -> Option<Result<Contract, AuthoringError>> {
    FILES.contains(format!("binds/{kind}.toml")).then(|| built_in_bind(kind.name()))
}
