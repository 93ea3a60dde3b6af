//! Apps: created from bundles, kept across restarts, talked to over plain HTTP.

use serde_json::{Value, json};

use crate::{
    peer::Peer,
    world::{Server, echo_bundle, folder},
};

const BUNDLE: &str = "acme:repo:echoes:1.0.0";
const APP: &str = "acme:echoes";
const ECHO: &str = "acme:echoes:echo";

fn echoes() -> Server {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), BUNDLE, APP);
    server
}

#[test]
fn a_mechtron_answers_over_plain_http() {
    let server = echoes();
    let answer = server.ask(ECHO, "echo", &json!({ "said": "hello" }));
    assert_eq!((answer.status, answer.json()), (200, json!({ "said": "hello" })));
    assert_eq!(answer.header("content-type"), "application/json");
    let png = [0x89, 0x50, 0, 255];
    let answer = server.admin("POST", &format!("/messages/{ECHO}/echo"), &[("content-type", "image/png")], &png);
    assert_eq!(
        (answer.status, answer.header("content-type"), answer.body.as_slice()),
        (200, "image/png", png.as_slice())
    );
    assert_eq!(server.ask(ECHO, "count", &Value::Null).json(), json!(1));
    assert_eq!(server.ask(ECHO, "count", &Value::Null).json(), json!(2));
    assert!(server.ask(ECHO, "read", &json!("/site/index.html")).text().contains("<title>Echoes</title>"));
}

#[test]
fn the_caller_is_the_principal_of_the_token() {
    let server = echoes();
    assert_eq!(server.ask(ECHO, "about", &Value::Null).json()["caller"], "");
    let hostile = [("starlane-caller", "admin"), ("starlane-id", "1"), ("starlane-from", "starlane:server")];
    let about = server.admin("POST", &format!("/messages/{ECHO}/about"), &hostile, b"null").json();
    assert_eq!(about["caller"], "admin");
    assert!(!about["headers"].to_string().contains("starlane-"), "{about}");
    let path = format!("/messages/{ECHO}/about");
    server.send("POST", &path, &[("authorization", "Bearer guessed")], b"null").fails(401, "auth-refused");
    // Without a token, a content type that a form can send is refused.
    server.send("POST", &path, &[("content-type", "text/plain")], b"{}").fails(415, "unsupported-media-type");
}

#[test]
fn failures_have_their_status_code_and_address() {
    let server = echoes();
    let teapot = server.ask(ECHO, "fail", &json!({ "status": 418, "code": "teapot", "message": "short and stout" }));
    assert_eq!(teapot.fails(418, "teapot"), "short and stout");
    assert!(server.ask(ECHO, "shout", &Value::Null).fails(404, "no-operation").contains("echo"));
    server.ask("acme:echoes:nobody", "echo", &Value::Null).fails(404, "no-resource");
    server.ask("Not-An:Address", "echo", &Value::Null).fails(400, "malformed");
    let trapped = server.ask(ECHO, "trap", &Value::Null);
    trapped.fails(500, "guest-failed");
    assert_eq!(trapped.json()["address"], ECHO);
    assert_eq!(server.ask(ECHO, "echo", &json!("still there")).json(), json!("still there"));
}

#[test]
fn a_mechtron_that_never_returns_is_stopped_and_others_continue() {
    let server = echoes();
    std::thread::scope(|scope| {
        let spin = scope.spawn(|| server.ask(ECHO, "spin", &Value::Null));
        for _ in 0..20 {
            assert_eq!(server.get("/healthz").status, 200);
        }
        spin.join().unwrap().fails(500, "guest-failed");
    });
    assert_eq!(server.ask(ECHO, "echo", &json!(1)).json(), json!(1));
}

#[test]
fn only_the_admin_creates_apps_and_only_from_published_bundles() {
    let server = Server::start();
    let wish = json!({ "app": APP, "bundle": BUNDLE });
    server.ask("starlane:apps", "create", &wish).fails(403, "no-grant");
    assert!(server.create(APP, BUNDLE).fails(404, "not-found").contains("starlane publish"));
    server.publish(echo_bundle("").path(), BUNDLE);
    server.create("acme", BUNDLE).fails(400, "malformed");
    server.create("acme:echoes:1.0.0", BUNDLE).fails(400, "malformed");
    server.command("starlane:apps", "create", &json!({ "app": APP })).fails(422, "schema-mismatch");
    server.command("starlane:apps", "create", &json!({ "app": "A", "bundle": BUNDLE })).fails(400, "malformed");
    let plain =
        folder(&[("bundle.toml", "[bundle]\nname = \"p\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = []\n")]);
    server.publish(plain.path(), "acme:repo:plain:1.0.0");
    assert!(server.create("acme:plain", "acme:repo:plain:1.0.0").fails(409, "conflict").contains("app.toml"));
    let queue = echo_bundle("[resources.jobs]\nkind = \"queue\"\n");
    server.publish(queue.path(), "acme:repo:jobs:1.0.0");
    assert!(server.create("acme:jobs", "acme:repo:jobs:1.0.0").fails(501, "not-supported").contains("queue"));
    assert_eq!(server.ask("starlane:apps", "list", &Value::Null).json(), json!({ "apps": [] }));
}

#[tokio::test]
async fn a_new_version_has_a_new_revision_and_is_announced() {
    let server = echoes();
    let first = server.ask("starlane:apps", "get", &json!({ "app": APP })).json();
    assert_eq!((first["revision"].as_u64(), first["bundle"].as_str()), (Some(1), Some(BUNDLE)));
    let mut peer = Peer::link(&server, 1, None).await;
    peer.subscribe("starlane:apps#changed").await;
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.1.0", APP);
    assert_eq!(peer.event().await, json!({ "app": APP, "revision": 2 }));
    let second = server.ask("starlane:apps", "get", &json!({ "app": APP })).json();
    assert_eq!((second["revision"].as_u64(), second["bundle"].as_str()), (Some(2), Some("acme:repo:echoes:1.1.0")));
    assert_eq!(server.ask(ECHO, "echo", &json!(1)).json(), json!(1));
}

#[test]
fn apps_survive_a_restart_and_deleted_ones_do_not() {
    let mut server = echoes();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.1.0", "acme:others");
    assert_eq!(server.command("starlane:apps", "delete", &json!({ "app": "acme:others" })).status, 204);
    server.ask("acme:others:echo", "echo", &Value::Null).fails(404, "no-resource");
    server.command("starlane:apps", "delete", &json!({ "app": "acme:others" })).fails(404, "not-found");
    server.restart();
    assert_eq!(server.ask(ECHO, "echo", &json!(1)).json(), json!(1));
    let apps = server.ask("starlane:apps", "list", &Value::Null).json();
    assert_eq!(apps["apps"].as_array().unwrap().len(), 1, "{apps}");
    server.ask("acme:others:echo", "echo", &Value::Null).fails(404, "no-resource");
    // Hosts that have seen revision 1 would refuse another revision 1.
    let again = server.create("acme:others", "acme:repo:echoes:1.1.0").json();
    assert_eq!(again["revision"], 2, "{again}");
}
