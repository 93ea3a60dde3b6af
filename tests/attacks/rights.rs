//! Attacks of a tenant that can deploy in its own space. An app never has more rights than its maker, and does not keep
//! them longer.

use std::fs;

use serde_json::{Value, json};
use starlane_testkit::attack;

use crate::world::{Answer, LONG, Server, echo_bundle, folder};

const OWN: &[&str] = &["deploy acme:**"];
/// Another owner's app with a database, from a private bundle.
const BOBS: &str = "bob:n";
const PRIVATE: &str = "bob:repo:n:1.0.0";

/// A server with bob's app, whose table has one row.
pub(crate) fn with_bobs() -> Server {
    let server = Server::start();
    let bobs = folder(&[
        ("bundle.toml", "[bundle]\nname = \"n\"\ninclude = [\"migrations/**\", \"secret.txt\"]\n"),
        ("app.toml", "[app]\nname = \"n\"\n[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n"),
        ("migrations/1.sql", "CREATE TABLE t (x); INSERT INTO t VALUES ('bobs row');"),
        ("secret.txt", "bobs file"),
    ]);
    server.publish(&server.token, 1, bobs.path(), PRIVATE);
    assert_eq!(server.create(&server.token, BOBS, PRIVATE).status, 200);
    server
}

/// Publishes the echo guest with lines of `allow`, as mallory, and creates an app from it with a token.
fn app_with(server: &Server, publisher: &str, maker: &str, allow: &[&str], app: &str) -> Answer {
    let bundle = echo_bundle(&format!("allow = {}\n", json!(allow)));
    let place = format!("acme:repo:{}:1.0.0", app.replace(':', "-"));
    server.publish(publisher, 7, bundle.path(), &place);
    server.create(maker, app, &place)
}

/// Lets the mechtron of an app query bob's table.
fn steal(server: &Server, app: &str) -> Answer {
    let body = json!({ "target": "bob:n:db", "operation": "query", "body": { "sql": "SELECT x FROM t" } });
    server.command(&format!("{app}:echo"), "call", &body)
}

/// Whether a condition becomes true in time: revocations take effect at once, but on another thread.
fn comes_to(holds: impl Fn() -> bool) -> bool {
    let start = std::time::Instant::now();
    while start.elapsed() < LONG {
        if holds() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

#[test]
fn an_app_has_no_more_rights_than_its_maker() {
    let server = with_bobs();
    let tenant = server.token_for("mallory", OWN);
    let beyond = [
        "request bob:n:db query",
        "request bob:**",
        "request **",
        "request ~*::**",
        "notify bob:n:db execute",
        "request bob:repo:n",
        "request bob:*:db",
        "subscribe bob:n:db#changes",
        "subscribe **#*",
        "serve bob:n:other",
        "serve **",
        "request acme",
        "request acme:**",
    ];
    let mut through = Vec::new();
    for (at, line) in beyond.iter().enumerate() {
        let answer = app_with(&server, &tenant, &tenant, &["request .:echo echo", line], &format!("acme:x{at}"));
        let told = if answer.status == 403 { answer.fails(403, "no-grant") } else { String::new() };
        if !told.contains(&format!("\"{line}\" of `echo`")) || told.contains(".:echo") {
            through.push(format!("{line}: {} {}", answer.status, answer.text()));
        }
    }
    // A line within the app needs no grant.
    assert_eq!(
        app_with(&server, &tenant, &tenant, &["request .:** echo", "subscribe .:echo#said"], "acme:own").status,
        200
    );
    // No app can be inside another, whose addresses it would use, or in a space that is used for the names of callers.
    for app in ["acme:own:echo", "acme:own:x:y", "starlane:x", "http:acme:own", "override:acme:own"] {
        let answer = server.create(&server.token, app, "acme:repo:acme-own:1.0.0");
        if ![409, 400].contains(&answer.status) {
            through.push(format!("{app}: {}", answer.text()));
        }
    }
    // An upgrade has the same check.
    let answer = server.create(&tenant, "acme:own", "acme:repo:acme-x0:1.0.0");
    if answer.status != 403 {
        through.push(format!("upgrade: {}", answer.text()));
    }
    // A narrower grant does not cover the line.
    let more = server.token_for("eve", &["deploy acme:**", "request bob:n:db query", "subscribe bob:n:db#changes"]);
    assert_eq!(app_with(&server, &more, &more, &["request bob:n:db query"], "acme:eve").status, 200);
    for (at, line) in ["request bob:n:db", "request bob:n:db query execute", "subscribe bob:n:db#*"].iter().enumerate()
    {
        if app_with(&server, &more, &more, &[line], &format!("acme:eve{at}")).status != 403 {
            through.push(format!("eve: {line}"));
        }
    }
    println!("{through:#?}");
    attack("A2", beyond.len() + 9, through.len());
}

#[test]
fn the_rights_of_an_app_end_with_those_of_its_maker() {
    let mut server = with_bobs();
    let line = "request bob:n:db query";
    let mut tried = 0;
    let stops = |server: &Server, app: &str| comes_to(|| steal(server, app).status == 403);

    // A grant of the registry, until it is removed.
    let tenant = server.token_for("mallory", OWN);
    assert_eq!(
        server.command("starlane:grants", "add", &json!({ "principal": "mallory", "grants": [line] })).status,
        200
    );
    assert_eq!(app_with(&server, &tenant, &tenant, &[line], "acme:a").status, 200);
    assert!(steal(&server, "acme:a").text().contains("bobs row"), "{}", steal(&server, "acme:a").text());
    server.start_again();
    assert_eq!(steal(&server, "acme:a").status, 200, "after a restart too");
    server.command("starlane:grants", "remove", &json!({ "principal": "mallory", "grants": [line] }));
    assert!(stops(&server, "acme:a"), "its maker's grant was removed");
    server.start_again();
    assert_eq!(steal(&server, "acme:a").status, 403);
    server.command("starlane:grants", "add", &json!({ "principal": "mallory", "grants": [line] }));
    assert!(comes_to(|| steal(&server, "acme:a").status == 200), "the right returns with the grant");
    tried += 2;

    // A revoked token, with the grant in the token or in the registry.
    let eve = server.token_for("eve", &["deploy acme:**", line]);
    assert_eq!(app_with(&server, &eve, &eve, &[line], "acme:b").status, 200);
    assert_eq!(steal(&server, "acme:b").status, 200);
    for (subject, app) in [("eve", "acme:b"), ("mallory", "acme:a")] {
        assert_eq!(server.command("starlane:tokens", "revoke", &json!({ "subject": subject })).status, 200);
        assert!(stops(&server, app), "{subject} was revoked");
        server.start_again();
        assert_eq!(steal(&server, app).status, 403, "after a restart too");
        tried += 2;
    }

    // A subscription ends with the grant that it needs, but its actor continues.
    let bobs = echo_bundle("");
    server.publish(&server.token, 1, bobs.path(), "bob:repo:e:1.0.0");
    assert_eq!(server.create(&server.token, "bob:e", "bob:repo:e:1.0.0").status, 200);
    let topic = "subscribe bob:e:echo#said";
    let dora = server.token_for("dora", OWN);
    server.command("starlane:grants", "add", &json!({ "principal": "dora", "grants": [topic, line] }));
    assert_eq!(app_with(&server, &dora, &dora, &[topic, line], "acme:d").status, 200);
    server.command("acme:d:echo", "subscribe", &json!("bob:e:echo#said"));
    let say = |text: &str| server.command("bob:e:echo", "emit", &json!({ "event": "said", "body": text })).status;
    let heard = || server.command("acme:d:echo", "last-event", &json!(null)).text();
    say("before");
    assert!(comes_to(|| heard().contains("before")), "{}", heard());
    server.command("starlane:grants", "remove", &json!({ "principal": "dora", "grants": [topic, line] }));
    assert!(stops(&server, "acme:d"));
    say("after");
    assert_eq!(server.command("acme:d:echo", "echo", &json!(1)).json(), json!(1));
    assert!(heard().contains("before"), "the actor has its state, and gets no more events: {}", heard());
    tried += 1;

    // A line that an admin confirmed stays until another principal makes the next revision.
    let maker = server.token_for("carol", OWN);
    let admin = server.token.clone();
    assert_eq!(app_with(&server, &maker, &admin, &[line], "acme:c").status, 200);
    assert_eq!(steal(&server, "acme:c").status, 200);
    server.create(&maker, "acme:c", "acme:repo:acme-c:1.0.0").fails(403, "no-grant");
    assert_eq!(steal(&server, "acme:c").status, 200, "refused changes had no effect");
    let told = server.command("starlane:apps", "get", &json!({ "app": "acme:c" })).json();
    assert!(told.get("maker").is_none(), "other hosts do not see it: {told}");

    // A record of an older server has no maker, so it allows nothing beyond the app.
    let file = server.data.join("apps/acme:c.json");
    server.kill();
    let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(record["maker"]["confirmed"], json!([line]));
    record.as_object_mut().unwrap().remove("maker");
    fs::write(&file, record.to_string()).unwrap();
    server.start_again();
    assert_eq!(steal(&server, "acme:c").status, 403);
    assert_eq!(server.command("acme:c:echo", "echo", &json!(1)).json(), json!(1), "the app itself runs");
    attack("A2", tried + 2, 0);
}

#[test]
fn the_servers_own_space_is_closed_to_mechtrons() {
    let server = with_bobs();
    let admin = server.token.clone();
    let allow = ["request **", "request ~*::**", "notify **", "subscribe **#*", "subscribe ~*::**#*"];
    assert_eq!(app_with(&server, &admin, &admin, &allow, "acme:all").status, 200);
    let mut through = Vec::new();
    let asks = [
        ("starlane:apps", "list", json!(null)),
        ("starlane:apps", "get", json!({ "app": BOBS })),
        ("starlane:grants", "add", json!({ "principal": "mallory", "grants": ["admin **"] })),
        ("starlane:tokens", "create", json!({ "subject": "mallory", "grants": ["admin **"] })),
        ("starlane:server", "logs", json!({})),
        ("starlane:server", "status", json!({})),
    ];
    for (target, operation, body) in &asks {
        let body = json!({ "target": target, "operation": operation, "body": body });
        let answer = server.command("acme:all:echo", "call", &body);
        if answer.status != 403 {
            through.push(format!("{target} {operation}: {}", answer.text()));
        }
    }
    let topics = ["starlane:server#logs", "starlane:apps#changed"];
    for topic in topics {
        server.command("acme:all:echo", "subscribe", &json!(topic));
        // The operations that change an app and are logged.
        assert_eq!(
            app_with(&server, &admin, &admin, &[], &format!("acme:{}", topic.replace([':', '#'], "-"))).status,
            200
        );
        let seen = server.command("acme:all:echo", "last-event", &json!(null));
        if seen.json() != json!(null) {
            through.push(format!("{topic}: {}", seen.text()));
        }
    }
    println!("{through:#?}");
    attack("A2", asks.len() + topics.len(), through.len());
}

#[test]
fn reading_a_private_bundle_needs_the_same_rights_by_message_and_over_http() {
    let server = with_bobs();
    let read = json!({ "path": "/secret.txt" });
    let mut through = Vec::new();
    let readers: [(&[&str], bool); 6] = [
        (&["request **"], false),
        (&["request bob:**"], false),
        (&["request bob:repo:n", "launch acme:**"], false),
        (&["request bob:repo:n", "launch bob:n"], true),
        (&["request bob:repo:n", "deploy bob:**"], true),
        (&["admin bob:**"], true),
    ];
    for (at, (grants, may)) in readers.iter().enumerate() {
        let token = server.token_for(&format!("reader{at}"), grants);
        let by_message = server.ask(&token, PRIVATE, "read", &read).text().contains("bobs file");
        let listed = server.ask(&token, PRIVATE, "list", &json!(null)).text().contains("secret.txt");
        let by_http = server.with_token(&token, "GET", &format!("/bundles/{PRIVATE}"), b"").status == 200;
        if (by_message, listed, by_http) != (*may, *may, *may) {
            through.push(format!("{grants:?}: {by_message} {listed} {by_http}"));
        }
    }
    // A mechtron can read the bundles that its app's maker can read.
    let line = "request bob:repo:n";
    let through_mechtron = |app: &str| {
        let body = json!({ "target": PRIVATE, "operation": "read", "body": read });
        server.command(&format!("{app}:echo"), "call", &body).text().contains("bobs file")
    };
    let mallory = server.token_for("mallory", &["deploy acme:**", line]);
    assert_eq!(app_with(&server, &mallory, &mallory, &[line], "acme:a").status, 200);
    let eve = server.token_for("eve", &["deploy acme:**", line, "launch bob:n"]);
    assert_eq!(app_with(&server, &eve, &eve, &[line], "acme:b").status, 200);
    if through_mechtron("acme:a") || !through_mechtron("acme:b") {
        through.push("by a mechtron".to_owned());
    }
    println!("{through:#?}");
    attack("A2", readers.len() + 2, through.len());
}

/// A forbidden request causes no check of its body. Bodies to the server itself have a small maximum size.
#[test]
fn bodies_to_the_server_itself_are_short_and_checked_last() {
    let server = Server::start();
    let eve = server.token_for("eve", &[]);
    let body = |bytes: usize| format!("[{}]", vec!["[]"; bytes / 3].join(",")).into_bytes();
    let post = |token: &str, to: &str, bytes: usize| {
        server.with_token(token, "POST", &format!("/messages/starlane:{to}"), &body(bytes))
    };
    for to in [
        "apps/get",
        "apps/create",
        "apps/delete",
        "apps/restart",
        "grants/add",
        "grants/list",
        "tokens/create",
        "tokens/revoke",
        "server/status",
        "server/audit",
    ] {
        post(&eve, to, 60_000).fails(403, "no-grant");
    }
    post(&eve, "apps/list", 60_000).fails(422, "schema-mismatch");
    for to in ["apps/get", "apps/list", "tokens/create", "server/audit"] {
        for token in [&eve, &server.token] {
            let message = post(token, to, 70_000).fails(413, "too-large");
            assert!(message.contains("own-body"), "{message}");
        }
    }
    let raw = format!(
        "POST /messages/starlane:apps/get HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {eve}\r\n\
         content-type: application/json\r\ncontent-length: 16000000\r\nconnection: close\r\n\r\n",
        server.address()
    );
    assert!(server.raw(raw.as_bytes()).starts_with("HTTP/1.1 413 "), "a long one is not read");
    assert_eq!(server.command("starlane:apps", "list", &serde_json::Value::Null).status, 200);
}
