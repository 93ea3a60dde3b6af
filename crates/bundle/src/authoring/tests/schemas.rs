//! Tests of the JSON Schemas for editors: the files in the repository are up to date, valid files match, and invalid
//! files don't.

use std::path::PathBuf;

use jsonschema::Validator;
use serde_json::Value;

use super::*;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn validator(kind: FileKind) -> Validator {
    jsonschema::draft202012::new(&kind.schema()).unwrap()
}

/// Returns the errors of a schema for a file.
fn complaints(validator: &Validator, text: &str) -> Vec<String> {
    let file: Value = toml::from_str(text).unwrap();
    validator.iter_errors(&file).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The kind of a file, by its place in a bundle.
fn kind(file: &str) -> FileKind {
    match file.split('/').next() {
        Some("bundle.toml") => FileKind::Bundle,
        Some("app.toml") => FileKind::App,
        Some("binds") => FileKind::Bind,
        _ => FileKind::Mechtron,
    }
}

/// After a change of the tables, `BLESS=1 cargo test -p starlane-bundle schemas` writes the files again.
#[test]
fn shipped_schemas_are_up_to_date() {
    for kind in FileKind::ALL {
        let path = repository().join("crates/cli/schemas").join(kind.schema_file());
        let made = format!("{:#}\n", kind.schema());
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &made).unwrap();
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(kept == made, "{} is not what the tables make: run this test with BLESS=1", path.display());
    }
}

#[test]
fn schemas_are_valid_json_schemas() {
    for kind in FileKind::ALL {
        jsonschema::draft202012::meta::validate(&kind.schema()).unwrap();
    }
}

#[test]
fn the_files_of_this_repository_match_the_schemas() {
    let validators = FileKind::ALL.map(validator);
    let fits = |file: &str, text: &str| {
        let at = FileKind::ALL.iter().position(|known| *known == kind(file)).unwrap();
        assert_eq!(complaints(&validators[at], text), Vec::<String>::new(), "{file}");
    };
    for (file, text) in FILES.iter().filter(|(file, _)| file.ends_with(".toml")) {
        fits(file, text);
    }
    let mut kinds = Vec::new();
    for bundle in ["www/bundle", "crates/cli/template"] {
        for pattern in ["", "binds", "mechtrons"] {
            for entry in fs::read_dir(repository().join(bundle).join(pattern)).unwrap().map(Result::unwrap) {
                let name = entry.file_name().into_string().unwrap();
                if name.ends_with(".toml") && name != "Cargo.toml" {
                    let text = fs::read_to_string(entry.path()).unwrap();
                    let file = if pattern.is_empty() { name } else { format!("{pattern}/{name}") };
                    // The first line leads an editor to the schema; the output of `starlane new` contains its schemas.
                    let schema = text.lines().next().unwrap().strip_prefix("#:schema ").unwrap();
                    assert!(schema.ends_with(&kind(&file).schema_file()), "{file}");
                    let kept = entry.path().parent().unwrap().join(schema);
                    assert!(bundle != "www/bundle" || kept.exists(), "{}", kept.display());
                    fits(&file, &text.replace("{{name}}", "my-book").replace("{{crate}}", "my_book"));
                    kinds.push(kind(&file).name());
                }
            }
        }
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["app", "app", "bind", "bind", "bind", "bundle", "bundle", "mechtron", "mechtron", "mechtron"]);
}

/// A file, a replacement in it (from, to), and the error of the schema.
const WRONG: &[(&str, &str, &str, &str)] = &[
    ("bundle.toml", "public = true", "pubic = true", "/bundle: Additional properties are not allowed"),
    ("bundle.toml", "public = true", "public = \"yes\"", "/bundle/public: \"yes\" is not of type \"boolean\""),
    ("bundle.toml", "name = \"demo\"\n", "", "/bundle: \"name\" is a required property"),
    ("bundle.toml", "\"site/**\"", "1", "/bundle/include/0: 1 is not of type \"string\""),
    ("bundle.toml", "[bundle]", "[build]\ncommand = \" \"\n[bundle]", "/build/command: \" \" does not match"),
    (
        "bundle.toml",
        "[bundle]",
        "[build]\ncommand = \"make\"\noutput = { \"a b\" = \"y\" }\n[bundle]",
        "/build/output: Additional properties are not allowed",
    ),
    ("binds/page.toml", "[operations.touch]", "[operation.touch]", ": Additional properties are not allowed"),
    ("binds/page.toml", "operations.render", "operations.Render", "/operations: Additional properties"),
    ("binds/page.toml", "text/html", "html", "/operations/render/response/content-type: \"html\" does not match"),
    ("binds/page.toml", "payload = {}", "", "/events/changes: \"payload\" is a required property"),
    (
        "binds/page.toml",
        "content-type = \"application/json\", schema",
        "schema",
        "/operations/render/request: \"content-type\" is a required property",
    ),
    ("binds/page.toml", "payload = {}", "payload = { stream = true }", "/events/changes/payload: {"),
    ("binds/page.toml", "payload = {}", "payload = { stream = 1 }", "/events/changes/payload/stream: 1 is not of type"),
    ("mechtrons/page.toml", "name = \"page\"\n", "", "/mechtron: \"name\" is a required property"),
    ("mechtrons/page.toml", "\"2 MiB\"", "2", "/limits/memory: 2 is not of type \"string\""),
    ("mechtrons/page.toml", "2 MiB", "2 cows", "/limits/memory: \"2 cows\" does not match"),
    ("mechtrons/page.toml", "1 s", "soon", "/limits/call: \"soon\" does not match"),
    ("mechtrons/page.toml", "call = \"1 s\"", "mailbox = 0", "/limits/mailbox: 0 is less than the minimum of 1"),
    (
        "mechtrons/page.toml",
        "call = \"1 s\"",
        "restart = { intensity = 3 }",
        "/limits/restart: \"within\" is a required",
    ),
    ("app.toml", "name = \"demo\"", "name = \"My shop\"", "/app/name: \"My shop\" does not match"),
    ("app.toml", "placement =", "placment =", "/mechtrons/page:{key}: Additional properties are not allowed"),
    ("app.toml", "\"both\"", "\"moon\"", "/mechtrons/page:{key}/placement: \"moon\" is not valid"),
    ("app.toml", "page:{key}", "page:{name}", "/mechtrons: Additional properties are not allowed"),
    ("app.toml", "request .:db", "deploy .:db", "/mechtrons/page:{key}/allow/0: \"deploy .:db query\" does not match"),
    ("app.toml", "\"database\"", "\"data\"", "/resources/db/kind: \"data\" is not valid"),
    ("app.toml", "\"database\"", "\"keyvalue\"", "/resources/db/migrations: False schema does not allow"),
    (
        "app.toml",
        "migrations = \"migrations/\"",
        "url = \"http://x\"",
        "/resources/db/url: False schema does not allow",
    ),
    (
        "app.toml",
        "kind = \"database\"\nmigrations = \"migrations/\"",
        "kind = \"service\"",
        "/resources/db: \"url\" is a required property",
    ),
    (
        "app.toml",
        "kind = \"database\"\nmigrations = \"migrations/\"",
        "kind = \"service\"\nurl = \"ftp://x\"",
        "/resources/db/url: \"ftp://x\" does not match",
    ),
    ("app.toml", "GET /people", "people", "/http: Additional properties are not allowed"),
    ("app.toml", ".:page:{name}", "acme:page", "/http/GET ~1people~1{name}/to: \"acme:page\" does not match"),
    ("app.toml", ", operation = \"render\"", "", "/http/GET ~1people~1{name}: \"operation\" is a required property"),
    ("app.toml", "file = \"site/index.html\"", "", "/http/GET ~1: {} is not valid under any of the schemas"),
    (
        "app.toml",
        "file = \"site/index.html\"",
        "file = \"site/index.html\", files = \"site/\"",
        "is valid under more than one of the schemas",
    ),
];

#[test]
fn the_reader_refuses_every_file_that_a_schema_refuses() {
    for (file, from, to, expected) in WRONG {
        let folder = bundle(file, from, to);
        let told = complaints(&validator(kind(file)), &fs::read_to_string(folder.path().join(file)).unwrap());
        assert!(told.iter().any(|complaint| complaint.contains(expected)), "{file}: {to}\n{told:?}");
        assert!(Draft::read(folder.path()).is_err(), "{file}: {to}");
    }
}

/// Patterns in the schemas accept every value that the reader accepts.
#[test]
fn the_schemas_accept_every_file_that_the_reader_accepts() {
    for (file, from, to) in [
        (
            "bundle.toml",
            "[bundle]",
            "[build]\ncommand = \"make\"\noutput = { \"./wasm/page-2.wasm\" = \"x\" }\n[bundle]",
        ),
        ("binds/page.toml", "text/html", " Text/HTML ; charset=utf-8"),
        ("binds/page.toml", "text/html", "*/*"),
        ("binds/page.toml", "application/json", "application/LD+JSON"),
        ("binds/page.toml", "text/html", "application/vnd.a+b;x"),
        ("binds/page.toml", "operations.touch", "operations._0-touch"),
        ("binds/page.toml", "\"text/html\"", "\"text/html\", stream = true"),
        ("binds/page.toml", "\"application/json\", schema", "\"Application/X-NDJSON;a=b\", stream = true, schema"),
        ("binds/page.toml", "[operations.touch]", "[operations.touch]\nrequest = { stream = true }"),
        ("binds/page.toml", "payload = {}", "payload = { stream = false }"),
        ("mechtrons/page.toml", "2 MiB", "65536"),
        ("mechtrons/page.toml", "2 MiB", "0.5gib"),
        ("mechtrons/page.toml", "2 MiB", "64 Ki"),
        ("mechtrons/page.toml", "2 MiB", "2000KB"),
        ("mechtrons/page.toml", "1 s", " 1s 500ms "),
        ("mechtrons/page.toml", "1 s", "1.5 seconds"),
        ("mechtrons/page.toml", "1 s", "37min"),
        ("mechtrons/page.toml", "1 s", "2000000µs"),
        ("mechtrons/page.toml", "call = \"1 s\"", "mailbox = 1048576"),
        ("mechtrons/page.toml", "call = \"1 s\"", "restart = { intensity = 0, within = \"1 ms\" }"),
        ("mechtrons/page.toml", "size = 1", "since = 2026-01-02\nlist = [{ a = 1 }]"),
        ("app.toml", "request .:db", "  notify   ~*::.:db"),
        ("app.toml", "kind = \"database\"\nmigrations = \"migrations/\"", "kind = \"service\"\nurl = \"https://x\""),
        ("app.toml", "render\" }", "render\", access = \"token\" }"),
    ] {
        let folder = bundle(file, from, to);
        Draft::read(folder.path()).unwrap();
        let told = complaints(&validator(kind(file)), &fs::read_to_string(folder.path().join(file)).unwrap());
        assert_eq!(told, Vec::<String>::new(), "{file}: {to}");
    }
}

#[test]
fn defaults_in_schemas_are_the_defaults_of_the_reader() {
    let schema = FileKind::Mechtron.schema();
    let limits = schema["properties"]["limits"]["properties"].as_object().unwrap();
    let shown: toml::Table =
        limits.iter().map(|(name, key)| (name.clone(), toml::Value::try_from(&key["default"]).unwrap())).collect();
    let written = format!("limits = {}\n[mechtron]", toml::Value::Table(shown));
    let folder = bundle("mechtrons/page.toml", "[limits]\nmemory = \"2 MiB\"\ncall = \"1 s\"\n", "");
    let path = folder.path().join("mechtrons/page.toml");
    fs::write(&path, fs::read_to_string(&path).unwrap().replace("[mechtron]", &written)).unwrap();
    let draft = Draft::read(folder.path()).unwrap();
    assert_eq!(
        draft.mechtrons.get("/mechtrons/page.toml").unwrap().limits,
        crate::MechtronLimits::default(),
        "{written}"
    );
    assert_eq!(limits.len(), 5, "every limit shows its default");
}

/// An editor shows the description when the user points at a key.
#[test]
fn every_key_has_a_description() {
    fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
        for group in ["properties", "patternProperties"] {
            for (key, below) in schema[group].as_object().into_iter().flatten() {
                let at = format!("{at}/{key}");
                if group == "properties" && below["description"].as_str().is_none_or(str::is_empty) {
                    found.push(at.clone());
                }
                undescribed(below, &at, found);
            }
        }
    }
    let mut found = Vec::new();
    for kind in FileKind::ALL {
        undescribed(&kind.schema(), kind.name(), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}
