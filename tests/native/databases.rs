//! Databases: migrations from the bundle, durable rows, and the restrictions of messages.

use std::{fs, path::Path};

use serde_json::json;

use crate::world::{Server, echo_bundle};

const APP: &str = "acme:notes";
const DB: &str = "acme:notes:db";

fn notes(migrations: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = echo_bundle("[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n");
    write(folder.path(), migrations);
    folder
}

fn write(folder: &Path, migrations: &[(&str, &str)]) {
    fs::create_dir_all(folder.join("migrations")).unwrap();
    for (name, sql) in migrations {
        fs::write(folder.join("migrations").join(name), sql).unwrap();
    }
}

const FIRST: (&str, &str) = ("0001.sql", "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);");
const SECOND: (&str, &str) = ("0002.sql", "ALTER TABLE notes ADD COLUMN stars INTEGER NOT NULL DEFAULT 3;");

#[test]
fn rows_survive_restarts_and_new_migrations() {
    let mut server = Server::start();
    server.run_app(notes(&[FIRST]).path(), "acme:repo:notes:1.0.0", APP);
    let insert = json!({ "sql": "INSERT INTO notes (text) VALUES (:text)", "params": { "text": "ada" } });
    let answer = server.command(DB, "execute", &insert);
    assert_eq!(answer.json(), json!({ "changed": 1, "last_id": 1 }));
    server.command(DB, "execute", &insert).fails(409, "conflict");
    server.restart();
    let all = json!({ "sql": "SELECT * FROM notes" });
    assert_eq!(server.ask(DB, "query", &all).json()["rows"], json!([{ "id": 1, "text": "ada" }]));
    server.run_app(notes(&[FIRST, SECOND]).path(), "acme:repo:notes:1.1.0", APP);
    assert_eq!(server.ask(DB, "query", &all).json()["rows"], json!([{ "id": 1, "text": "ada", "stars": 3 }]));
    // The same database is used by a mechtron of the app.
    let forward = json!({ "target": ".:db", "operation": "query", "body": { "sql": "SELECT text FROM notes" } });
    let answer = server.ask("acme:notes:echo", "call", &forward);
    assert_eq!(answer.json()["rows"], json!([{ "text": "ada" }]));
}

#[test]
fn a_changed_or_failing_migration_keeps_the_old_version() {
    let server = Server::start();
    server.run_app(notes(&[FIRST]).path(), "acme:repo:notes:1.0.0", APP);
    let changed = (FIRST.0, "CREATE TABLE notes (id INTEGER PRIMARY KEY);");
    server.publish(notes(&[changed]).path(), "acme:repo:notes:1.1.0");
    let told = server.create(APP, "acme:repo:notes:1.1.0").fails(409, "conflict");
    assert!(told.contains("0001.sql") && told.contains("changed"), "{told}");
    server.publish(notes(&[FIRST, ("0002.sql", "ALTER TABLE nowhere ADD x;")]).path(), "acme:repo:notes:1.2.0");
    let told = server.create(APP, "acme:repo:notes:1.2.0").fails(409, "conflict");
    assert!(told.contains("0002.sql") && told.contains("nowhere"), "{told}");
    let record = server.ask("starlane:apps", "get", &json!({ "app": APP })).json();
    assert_eq!((record["revision"].as_u64(), record["bundle"].as_str()), (Some(1), Some("acme:repo:notes:1.0.0")));
    assert_eq!(server.ask(DB, "query", &json!({ "sql": "SELECT count(*) AS n FROM notes" })).status, 200);
}

#[test]
fn what_reaches_beyond_the_database_is_refused() {
    let server = Server::start();
    server.run_app(notes(&[FIRST]).path(), "acme:repo:notes:1.0.0", APP);
    let other = server.config.data.join("other.sqlite");
    for sql in [
        format!("ATTACH '{}' AS other", other.display()),
        format!("VACUUM INTO '{}'", other.display()),
        "PRAGMA writable_schema = ON".to_owned(),
        "SELECT * FROM pragma_database_list".to_owned(),
        "SELECT load_extension('/lib/x.so')".to_owned(),
        "BEGIN".to_owned(),
    ] {
        let answer = server.command(DB, "execute", &json!({ "sql": sql }));
        assert!(answer.status == 403 || answer.status == 400, "{sql}: {}", answer.text());
    }
    assert!(!other.exists());
    server.command(DB, "execute", &json!({ "sql": "SELECT 1; SELECT 2" })).fails(400, "malformed");
    assert!(server.ask(DB, "query", &json!({ "sql": "SELEC 1" })).fails(400, "malformed").contains("SELEC"));
    server.ask(DB, "backup", &json!({})).fails(404, "no-operation");
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c";
    server.ask(DB, "query", &json!({ "sql": endless })).fails(408, "too-slow");
    assert_eq!(server.ask(DB, "query", &json!({ "sql": "SELECT 1 AS one" })).json()["rows"], json!([{ "one": 1 }]));
}

#[test]
fn all_concurrent_writes_succeed() {
    let server = Server::start();
    server.run_app(notes(&[FIRST]).path(), "acme:repo:notes:1.0.0", APP);
    let tried = 40;
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for note in 0..tried / 4 {
                    let params = json!([format!("{writer}.{note}")]);
                    let insert = json!({ "sql": "INSERT INTO notes (text) VALUES (?)", "params": params });
                    assert_eq!(server.command(DB, "execute", &insert).status, 200);
                }
            });
        }
    });
    let count = server.ask(DB, "query", &json!({ "sql": "SELECT count(*) AS n FROM notes" })).json();
    assert_eq!(count["rows"][0]["n"], tried);
}
