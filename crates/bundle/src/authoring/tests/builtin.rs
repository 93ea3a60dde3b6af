//! Tests of built-in binds.

use super::super::builtin::{FILES, bind_of, built_in, built_in_bind};
use crate::{Contract, ResourceKind};

#[test]
fn every_built_in_bind_has_its_schemas() {
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
fn every_built_in_schema_is_used_by_a_bind() {
    let schemas = FILES.get_dir("schemas").unwrap().files().map(|file| format!("/{}", file.path().display()));
    let all: Vec<Contract> = ["bundle", "database"].map(|name| built_in_bind(name).unwrap()).to_vec();
    for schema in schemas {
        assert!(all.iter().any(|contract| contract.schemas.contains_key(&schema)), "{schema}");
    }
}

#[test]
fn errors_of_built_in_binds_have_a_place() {
    let text = |path: &str| match path {
        "binds/a.toml" => Some(
            "[bind]\nname = \"a\"\n[operations.get]\nrequest = { content-type = \"application/json\", schema = \"s.json\" }\n",
        ),
        "s.json" => Some("{ \"type\": \"objekt\" }"),
        "binds/b.toml" => Some(
            "[bind]\nname = \"b\"\n[operations.get]\nrequest = { content-type = \"application/json\", schema = \"x.json\" }\n",
        ),
        _ => None,
    };
    let told = |path: &str| built_in(path, text).unwrap_err().to_string();
    assert!(
        told("binds/a.toml").starts_with("s.json:1:11: this schema of binds/a.toml is refused"),
        "{}",
        told("binds/a.toml")
    );
    assert!(told("binds/b.toml").starts_with("x.json: there is no such file"), "{}", told("binds/b.toml"));
    assert!(told("binds/c.toml").starts_with("binds/c.toml: there is no such file"));
}
