//! Binds are enforced: a mismatch is reported with its place, in requests, in responses, and when a bundle is
//! published.

use serde_json::{Value, json};
use starlane_bundle::SignedManifest;

use crate::{
    peer::Peer,
    world::{Server, echo_bundle, key},
};

const BUNDLE: &str = "acme:repo:echoes:1.0.0";
const ECHO: &str = "acme:echoes:echo";

/// The echo app with a bind of these operations and events, and one schema.
fn bound(bind: &str, schema: &Value) -> tempfile::TempDir {
    let folder = echo_bundle("");
    std::fs::create_dir_all(folder.path().join("schemas")).unwrap();
    std::fs::write(folder.path().join("schemas/person.json"), schema.to_string()).unwrap();
    std::fs::write(folder.path().join("binds/echo.toml"), format!("[bind]\nname = \"echo\"\n{bind}")).unwrap();
    folder
}

fn person() -> Value {
    json!({ "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A person", "type": "object",
            "required": ["name"], "properties": { "name": { "type": "string", "maxLength": 20, "pattern": r"^\w+$" },
            "email": { "type": "string", "format": "email" } }, "additionalProperties": false })
}

const BIND: &str = r#"
[operations.echo]
request = { content-type = "application/json", schema = "schemas/person.json" }
response = {}
[operations.read]
request = {}
response = { content-type = "application/json", schema = "schemas/person.json" }
[operations.about]
request = {}
response = { content-type = "text/html" }
[operations.emit]
request = {}
response = {}
[events.said]
payload = { content-type = "application/json", schema = "schemas/person.json" }
"#;

#[test]
fn a_body_that_does_not_match_its_bind_is_422_with_a_pointer() {
    let server = Server::start();
    server.run_app(bound(BIND, &person()).path(), BUNDLE, "acme:echoes");
    assert_eq!(server.ask(ECHO, "echo", &json!({ "name": "Ada" })).status, 200);
    // The keyword `format` is accepted, but not checked.
    assert_eq!(server.ask(ECHO, "echo", &json!({ "name": "Ada", "email": "no" })).status, 200);
    for (body, pointer) in [
        (json!({ "name": "Ada L" }), "at /name: "),
        (json!({ "name": 1 }), "at /name: "),
        (json!({}), "at its root: "),
        (json!([]), "at its root: "),
    ] {
        let told = server.ask(ECHO, "echo", &body).fails(422, "schema-mismatch");
        assert!(told.starts_with("the request `echo` does not fit its schema: ") && told.contains(pointer), "{told}");
    }
    let broken = [("content-type", "application/json")];
    let answer = server.admin("POST", &format!("/messages/{ECHO}/echo"), &broken, b"{");
    assert!(answer.fails(422, "schema-mismatch").contains("not valid JSON"));
    let other = [("content-type", "text/html")];
    let answer = server.admin("POST", &format!("/messages/{ECHO}/echo"), &other, b"<p>");
    assert!(answer.fails(422, "schema-mismatch").contains("takes application/json"));
    // Its responses are checked too.
    let told = server.ask(ECHO, "read", &json!("/site/index.html")).fails(422, "schema-mismatch");
    assert!(told.starts_with("the response `read` does not fit its schema: "), "{told}");
    let told = server.ask(ECHO, "about", &Value::Null).fails(422, "schema-mismatch");
    assert!(told.contains("`about` answers with text/html, but the mechtron returned application/json"), "{told}");
}

#[tokio::test]
async fn an_event_that_does_not_match_is_dropped() {
    let server = Server::start();
    server.run_app(bound(BIND, &person()).path(), BUNDLE, "acme:echoes");
    let mut peer = Peer::link(&server, 1, None).await;
    peer.subscribe("acme:echoes:echo#said").await;
    for body in [json!({ "name": 7 }), json!({ "name": "Ada" })] {
        let emit = json!({ "event": "said", "body": body });
        assert!(server.ask(ECHO, "emit", &emit).status < 300, "the operation itself succeeded");
    }
    assert_eq!(peer.event().await, json!({ "name": "Ada" }));
}

/// The signed manifest of a folder, with one schema replaced as another tool could do it.
fn with_schema(schema: &Value) -> SignedManifest {
    let folder = bound(BIND, &person());
    let draft = starlane_bundle::authoring::Draft::read(folder.path()).unwrap();
    let bundle = starlane_protocol::Address::parse(BUNDLE).unwrap();
    let mut manifest = draft.contents(&bundle, key(1).public(), 1_700_000_000);
    manifest.schemas.insert("/schemas/person.json".into(), schema.clone());
    manifest.sign(&key(1))
}

#[test]
fn hostile_schemas_are_refused_at_publish() {
    let server = Server::start();
    let doubling = json!({ "anyOf": [{ "items": { "$ref": "#" } }, { "items": { "$ref": "#" } }] });
    for (schema, told) in [
        (json!({ "maxLength": 20, "pattern": "^(a+)+$" }), "is refused"),
        (json!({ "pattern": "^a$" }), "needs a `maxLength`"),
        (json!({ "$ref": "https://example.com/x" }), "outside of this document"),
        (json!({ "$ref": "#" }), "never end"),
        (doubling, "double the work"),
        (json!({ "unevaluatedProperties": false }), "unevaluatedProperties"),
        // Valid, but not in normal form: the pattern is tried before its length limit is checked.
        (json!({ "maxLength": 20, "pattern": "^a$" }), "not in normal form"),
        (json!({ "title": "said, not checked" }), "not in normal form"),
    ] {
        let answer = server.publish_manifest(BUNDLE, &with_schema(&schema));
        let message = answer.fails(422, "schema-mismatch");
        assert!(message.contains(told) && message.contains("/schemas/person.json"), "{schema}: {message}");
    }
}
