//! The server's own resources and those of apps: binds are enforced, and a resource without a driver is an error.

use std::fs;

use serde_json::{Value, json};
use starlane_bundle::{
    Bind, Contents, ResourceKind, SignedManifest,
    authoring::{Draft, built_in_bind},
};
use starlane_protocol::Address;
use starlane_server::{OWN, own_bind};

use crate::world::{Answer, Server, echo_bundle, key};

const APP: &str = "acme:notes";
const BUNDLE: &str = "acme:repo:notes:1.0.0";
const DB: &str = "acme:notes:db";
const TABLE: &str = "CREATE TABLE notes (text TEXT NOT NULL);";

/// The echo app with a database.
fn notes() -> tempfile::TempDir {
    let folder = echo_bundle("[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n");
    fs::create_dir_all(folder.path().join("migrations")).unwrap();
    fs::write(folder.path().join("migrations/1.sql"), TABLE).unwrap();
    folder
}

fn note(server: &Server, text: &str) {
    let insert = json!({ "sql": "INSERT INTO notes VALUES (?)", "params": [text] });
    assert_eq!(server.command(DB, "execute", &insert).status, 200);
}

fn all_notes(server: &Server) -> Value {
    server.ask(DB, "query", &json!({ "sql": "SELECT text FROM notes" })).json()["rows"].clone()
}

/// Every built-in resource of a server, with its bind.
fn built_in() -> Vec<(String, Bind)> {
    let own = OWN.map(|name| (format!("starlane:{name}"), own_bind(name).unwrap().bind));
    let database = (DB.to_owned(), built_in_bind("database").unwrap().bind);
    let bundle = (BUNDLE.to_owned(), built_in_bind("bundle").unwrap().bind);
    own.into_iter().chain([database, bundle]).collect()
}

#[test]
fn every_operation_of_built_in_resources_is_checked_against_its_bind() {
    let server = Server::start();
    server.run_app(notes().path(), BUNDLE, APP);
    let mut tried = 0;
    for (at, bind) in built_in() {
        for name in bind.operations.keys() {
            tried += 1;
            for (body, places) in [
                (json!({ "no-such-field": 1 }), ["at /no-such-field: ", "at its root: "]),
                (json!([1]), ["at its root: ", "at its root: "]),
                (json!("text"), ["at its root: ", "at its root: "]),
            ] {
                let told = server.command(&at, name, &body).fails(422, "schema-mismatch");
                let start = format!("the request `{name}` does not fit its schema: ");
                assert!(told.starts_with(&start) && places.iter().any(|place| told.contains(place)), "{at}: {told}");
            }
            let text = [("content-type", "text/plain")];
            let path = format!("/messages/{at}/{name}");
            let told = server.admin("POST", &path, &text, b"{}").fails(422, "schema-mismatch");
            assert!(told.contains("takes application/json, but got text/plain"), "{at}: {told}");
            server.admin("POST", &path, &[("content-type", "application/json")], b"{").fails(422, "schema-mismatch");
        }
        let told = server.command(&at, "no-such-operation", &json!({})).fails(404, "no-operation");
        assert!(bind.operations.keys().all(|name| told.contains(name.as_str())), "{at}: {told}");
    }
    assert_eq!(tried, 20);
    assert_eq!(server.command("starlane:apps", "list", &json!({})).json()["apps"].as_array().unwrap().len(), 1);
}

#[test]
fn a_fault_deep_in_a_body_is_reported_with_its_pointer() {
    let server = Server::start();
    server.run_app(notes().path(), BUNDLE, APP);
    for (at, operation, body, place) in [
        ("starlane:apps", "create", json!({ "app": 1, "bundle": BUNDLE }), "at /app: "),
        ("starlane:apps", "delete", json!({ "app": APP, "data": "yes" }), "at /data: "),
        ("starlane:apps", "restart", json!({ "address": [] }), "at /address: "),
        ("starlane:grants", "add", json!({ "principal": "ada", "grants": ["launch acme:x", 2] }), "at /grants/1: "),
        ("starlane:grants", "remove", json!({ "principal": null }), "at /principal: "),
        ("starlane:tokens", "create", json!({ "subject": "ada", "ttlSeconds": -1 }), "at /ttlSeconds: "),
        ("starlane:tokens", "revoke", json!({ "id": "a", "subject": "ada" }), "at its root: "),
        ("starlane:tokens", "revoke", json!({}), "at its root: "),
        ("starlane:server", "logs", json!({ "last": 0.5 }), "at /last: "),
        ("starlane:server", "audit", json!({ "last": "all" }), "at /last: "),
        ("starlane:server", "check", json!({ "join": 1 }), "at /join: "),
        (BUNDLE, "read", json!({ "path": "/site/index.html", "from": -1 }), "at /from: "),
        (BUNDLE, "stat", json!({ "path": 1 }), "at /path: "),
        (DB, "query", json!({ "sql": 1 }), "at /sql: "),
        (DB, "execute", json!({ "sql": "SELECT 1", "params": "x" }), "at /params: "),
        (DB, "transaction", json!({ "statements": [{ "sql": "SELECT 1" }, { "sq": "" }] }), "at /statements/1"),
    ] {
        let told = server.command(at, operation, &body).fails(422, "schema-mismatch");
        assert!(told.contains(place), "{at} {operation}: {told}");
    }
    assert_eq!(server.command("starlane:apps", "get", &json!({ "app": APP })).status, 200, "nothing was deleted");
}

#[test]
fn an_empty_body_and_null_are_the_same_for_a_built_in_resource() {
    let server = Server::start();
    server.run_app(notes().path(), BUNDLE, APP);
    for (at, operation) in [("starlane:apps", "list"), ("starlane:server", "status"), (BUNDLE, "list")] {
        for body in [&b""[..], b"null", b"{}"] {
            let json = [("content-type", "application/json")];
            let answer = server.admin("POST", &format!("/messages/{at}/{operation}"), &json, body);
            assert_eq!(answer.status, 200, "{at}: {}", answer.text());
        }
    }
    // The address alone can name a file.
    let file = format!("/messages/{BUNDLE}:/site/assets/plain.txt/read");
    let file = file.replace(":/site/assets/plain.txt/", ":%2Fsite%2Fassets%2Fplain.txt/");
    assert_eq!(server.admin("POST", &file, &[], b"").text(), "plain\n");
}

/// The signed manifest of the bundle `notes`, with another table of resources.
fn with_resources(bundle: &str, resources: &Value) -> SignedManifest {
    let draft = Draft::read(notes().path()).unwrap();
    let contents = draft.contents(&Address::parse(bundle).unwrap(), key(1).public(), 1_700_000_000);
    let mut value = serde_json::to_value(contents).unwrap();
    value["app"]["resources"] = resources.clone();
    match serde_json::from_value::<Contents>(value.clone()) {
        Ok(contents) => contents.sign(&key(1)),
        // Manifests that no host accepts, as another tool could sign them.
        Err(_) => {
            let bytes = value.to_string().into_bytes();
            SignedManifest { signature: key(1).sign(&bytes), bytes }
        }
    }
}

fn publish(server: &Server, bundle: &str, resources: &Value) -> Answer {
    server.publish_manifest(bundle, &with_resources(bundle, resources))
}

#[test]
fn invalid_resources_are_refused_at_publish() {
    let server = Server::start();
    server.upload(&Draft::read(notes().path()).unwrap());
    for (resource, told) in [
        (json!({ "kind": "data" }), "kind"),
        (json!({ "placement": "server" }), "kind"),
        (json!({ "kind": "database", "placement": "moon" }), "placement"),
        (json!({ "kind": "database", "migration": "/migrations/" }), "/app/resources/own/migration"),
        (json!({ "kind": "database", "migrations": 1 }), "/app/resources/own/migrations"),
        (json!({ "kind": "database", "migrations": "/none/" }), "no files in none/"),
        (json!({ "kind": "queue", "migrations": "/migrations/" }), "only `database` has"),
        (json!({ "kind": "service" }), "needs `url`"),
        (json!({ "kind": "service", "url": "ftp://x" }), "/app/resources/own/url"),
    ] {
        let answer = publish(&server, BUNDLE, &json!({ "own": resource }));
        assert!(answer.fails(422, "malformed").contains(told), "{resource}: {}", answer.text());
    }
    for kind in ResourceKind::ALL {
        for placement in ["browser", "both"] {
            let mut resource = json!({ "kind": kind, "placement": placement });
            if kind == ResourceKind::Service {
                resource["url"] = json!("http://127.0.0.1:9");
            }
            let told = publish(&server, BUNDLE, &json!({ "own": resource })).fails(422, "malformed");
            for word in ["/app/resources/own/placement", placement, kind.name(), "pages cannot serve"] {
                assert!(told.contains(word), "{word}: {told}");
            }
        }
    }
    assert_eq!(publish(&server, BUNDLE, &json!({})).status, 204);
}

/// A bundle that an earlier version accepted: its manifest is written into the repository of a stopped server.
fn publish_unchecked(server: &mut Server, bundle: &str, resources: &Value) {
    server.run_app(echo_bundle("").path(), bundle, "acme:other");
    server.command("starlane:apps", "delete", &json!({ "app": "acme:other" }));
    server.stop();
    let folder = server.config.data.join("bundles").join(bundle.replace(':', "/"));
    let draft = Draft::read(echo_bundle("").path()).unwrap();
    let contents = draft.contents(&Address::parse(bundle).unwrap(), key(1).public(), 1_700_000_000);
    let mut value = serde_json::to_value(contents).unwrap();
    value["app"]["resources"] = resources.clone();
    let signed = serde_json::from_value::<Contents>(value).unwrap().sign(&key(1));
    fs::write(folder.join("manifest.json"), &signed.bytes).unwrap();
    fs::write(folder.join("manifest.signature"), signed.signature.to_string()).unwrap();
    server.restart();
}

#[test]
fn kinds_without_a_driver_are_refused_at_create_and_upgrade() {
    let mut server = Server::start();
    server.run_app(notes().path(), BUNDLE, APP);
    note(&server, "first");
    let others = ResourceKind::ALL.into_iter().filter(|kind| *kind != ResourceKind::Database);
    for (number, kind) in others.enumerate() {
        for (placement, version) in [("server", 1), ("both", 2)] {
            let bundle = format!("acme:repo:other{number}:{version}.0.0");
            let mut resource = json!({ "kind": kind, "placement": placement });
            if kind == ResourceKind::Service {
                resource["url"] = json!("http://127.0.0.1:9");
            }
            let resources = json!({ "jobs": resource });
            publish_unchecked(&mut server, &bundle, &resources);
            for app in ["acme:jobs", APP] {
                let told = server.create(app, &bundle).fails(501, "not-supported");
                for word in ["`jobs`", kind.name(), "this server can't serve", "it serves: database;"] {
                    assert!(told.contains(word), "{word}: {told}");
                }
            }
            server.ask("starlane:apps", "get", &json!({ "app": "acme:jobs" })).fails(404, "not-found");
        }
    }
    let record = server.ask("starlane:apps", "get", &json!({ "app": APP })).json();
    assert_eq!((&record["revision"], &record["bundle"]), (&json!(1), &json!(BUNDLE)));
    assert_eq!(all_notes(&server), json!([{ "text": "first" }]));
}

/// A server does not refuse the kinds of resources in pages, but it refuses invalid settings of all resources.
#[test]
fn invalid_settings_are_refused_at_create_too() {
    let mut server = Server::start();
    publish_unchecked(
        &mut server,
        "acme:repo:a:1.0.0",
        &json!({ "db": { "kind": "database", "migrations": "/none/" } }),
    );
    let told = server.create("acme:a", "acme:repo:a:1.0.0").fails(409, "conflict");
    assert!(told.contains("/app/resources/db/migrations") && told.contains("no files in none/"), "{told}");
    publish_unchecked(
        &mut server,
        "acme:repo:b:1.0.0",
        &json!({ "drafts": { "kind": "keyvalue", "placement": "browser" } }),
    );
    assert_eq!(server.create("acme:b", "acme:repo:b:1.0.0").status, 200);
}

#[test]
fn deleting_an_app_keeps_its_data_unless_requested_otherwise() {
    let mut server = Server::start();
    server.run_app(notes().path(), BUNDLE, APP);
    note(&server, "kept");
    assert_eq!(server.command("starlane:apps", "delete", &json!({ "app": APP })).status, 204);
    assert_eq!(server.create(APP, BUNDLE).status, 200);
    assert_eq!(all_notes(&server), json!([{ "text": "kept" }]));
    let folder = server.config.data.join("databases").join(APP);
    assert!(folder.exists());
    assert_eq!(server.command("starlane:apps", "delete", &json!({ "app": APP, "data": true })).status, 204);
    assert!(!folder.exists(), "its databases are gone");
    assert_eq!(server.create(APP, BUNDLE).status, 200);
    assert_eq!(all_notes(&server), json!([]));
    // The revision number continues, because hosts refuse a number that they have already seen.
    assert_eq!(server.ask("starlane:apps", "get", &json!({ "app": APP })).json()["revision"], 3);
    note(&server, "new");
    server.restart();
    assert_eq!(all_notes(&server), json!([{ "text": "new" }]));
    let nobody = server.ask("starlane:apps", "delete", &json!({ "app": APP, "data": true }));
    nobody.fails(403, "no-grant");
    assert_eq!(all_notes(&server), json!([{ "text": "new" }]));
}
