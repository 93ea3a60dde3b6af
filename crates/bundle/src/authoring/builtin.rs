//! Binds that a program has in itself: written, read and checked as those of bundles are.

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

/// The binds of kinds of resources, and of what every bundle is.
static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/builtin");

/// Reads a bind of a program, and the schemas that it names: `binds/database.toml`. `text` gives the text of a file. Errors as
/// [`read_bind`](super::read_bind) does.
pub fn built_in(path: &str, text: impl Fn(&str) -> Option<&'static str>) -> Result<Contract, AuthoringError> {
    let read = |path: &str| {
        let missing = || AuthoringError::whole(path.as_ref(), "there is no such file", "build the program with it");
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

/// The bind of a kind of resource, by its name, or `bundle` for the files of a bundle.
pub fn built_in_bind(name: &str) -> Result<Contract, AuthoringError> {
    built_in(&format!("binds/{name}.toml"), |path| FILES.get_file(path)?.contents_utf8())
}

/// The bind that resources of a kind answer by; none for a kind that no host serves yet.
pub fn bind_of(kind: ResourceKind) -> Option<Result<Contract, AuthoringError>> {
    FILES.contains(format!("binds/{kind}.toml")).then(|| built_in_bind(kind.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bind_of_the_program_is_whole() {
        let folder = FILES.get_dir("binds").unwrap();
        let names: Vec<_> = folder.files().map(|file| file.path().file_stem().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["bundle", "database"]);
        for name in names {
            let Contract { bind, schemas } = built_in_bind(name).unwrap();
            assert_eq!(bind.name, name);
            assert!(bind.schemas().all(|schema| schemas.contains_key(schema)), "{name}");
        }
        assert!(bind_of(ResourceKind::Queue).is_none());
        assert_eq!(bind_of(ResourceKind::Database).unwrap().unwrap().bind.operations.len(), 3);
    }

    #[test]
    fn every_schema_of_the_program_is_named_by_a_bind() {
        let schemas = FILES.get_dir("schemas").unwrap().files().map(|file| format!("/{}", file.path().display()));
        let all: Vec<Contract> = ["bundle", "database"].map(|name| built_in_bind(name).unwrap()).to_vec();
        for schema in schemas {
            assert!(all.iter().any(|contract| contract.schemas.contains_key(&schema)), "{schema}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let text = |path: &str| match path {
            "binds/a.toml" => Some("[bind]\nname = \"a\"\n[operations.get]\nrequest = { content-type = \"application/json\", schema = \"s.json\" }\n"),
            "s.json" => Some("{ \"type\": \"objekt\" }"),
            "binds/b.toml" => Some("[bind]\nname = \"b\"\n[operations.get]\nrequest = { content-type = \"application/json\", schema = \"x.json\" }\n"),
            _ => None,
        };
        let told = |path: &str| built_in(path, text).unwrap_err().to_string();
        assert!(told("binds/a.toml").starts_with("s.json:1:11: this schema of binds/a.toml is refused"), "{}", told("binds/a.toml"));
        assert!(told("binds/b.toml").starts_with("x.json: there is no such file"), "{}", told("binds/b.toml"));
        assert!(told("binds/c.toml").starts_with("binds/c.toml: there is no such file"));
    }
}
