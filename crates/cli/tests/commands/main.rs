//! Tests of the binary with its commands.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

mod documents;
mod publishing;
mod serving;
mod world;

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use serde_json::Value;

use crate::world::{APP, BUNDLE, World, starlane, text};

#[test]
fn from_a_folder_to_an_answer() {
    let world = World::start();
    world.write("notes/bundle.toml", BUNDLE);
    world.write("notes/app.toml", APP);
    world.write("notes/site/index.html", "<p>notes</p>");
    world.write("notes/site/twin.html", "<p>notes</p>");

    let published = world.run(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    let said = text(&published.stdout);
    assert!(published.status.success(), "{}", text(&published.stderr));
    assert!(said.contains("1 of 1 files") && said.contains("ed25519:"), "{said}");
    assert!(said.contains("starlane app create acme:notes --bundle acme:repo:notes:1.0.0"), "{said}");
    assert!(text(&published.stderr).contains("keep it safe"));
    assert!(!said.contains('\u{1b}'), "no colour in a pipe: {said}");
    let again = world.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    assert_eq!((again["unchanged"].as_bool(), again["uploaded"].as_u64()), (Some(true), Some(0)));
    let next = world.json(&["publish", "notes", "acme:repo:notes:1.0.1"]);
    assert_eq!((next["uploaded"].as_u64(), next["present"].as_u64()), (Some(0), Some(1)));

    let created = world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
    assert_eq!(created["revision"], 1);
    let listed = text(&world.run(&["app", "list"]).stdout);
    assert!(listed.contains("acme:notes  acme:repo:notes:1.0.0  1"), "{listed}");
    let rows = world.run(&["send", "acme:notes:db", "query", "--json", r#"{"sql": "SELECT 1 AS one"}"#]);
    assert_eq!(text(&rows.stdout), r#"{"columns":["one"],"rows":[{"one":1}]}"#);
    world.write("query.json", r#"{"sql": "SELECT 2 AS two"}"#);
    let rows = world.json(&["send", "acme:notes:db", "query", "--file", "query.json"]);
    assert_eq!(rows["body"]["rows"][0]["two"], 2);
    world.json(&["app", "delete", "acme:notes"]);
    assert_eq!(world.json(&["app", "list"])["apps"], Value::Array(Vec::new()));
}

#[test]
fn tokens_and_grants_control_access() {
    let world = World::start();
    assert_eq!(world.run(&["send", "starlane:apps", "list", "--token-file", "/dev/null"]).status.code(), Some(1));
    assert!(world.fails(1, &["token", "create", "--subject", "acme:x"]).contains("not a valid principal name"));
    assert!(world.fails(1, &["token", "create", "--subject", "ada", "--grant", "do x"]).contains("one of request"));
    world.fails(2, &["token", "revoke"]);
    let made = world.json(&["token", "create", "--subject", "ada", "--ttl", "10m"]);
    let piped = text(&world.run(&["token", "create", "--subject", "ada"]).stdout);
    let told = text(&world.run(&["token", "create", "--subject", "eve"]).stderr);
    assert!(told.contains("starlane token revoke "), "{told}");
    world.write("two.token", "one\ntwo\n");
    let told = world.fails(1, &["status", "--token-file", "two.token"]);
    assert!(told.contains("two.token") && told.contains("one token"), "{told}");
    assert!(world.fails(1, &["send", "starlane:server", "logs"]).contains("--json '{}'"));
    assert!(world.fails(1, &["app", "delete", "nope:x"]).contains("starlane app list"));
    let (first, second) = (made["token"].as_str().unwrap(), piped.trim());
    assert_eq!(second.split('.').count(), 3, "a pipe gets the token alone: {piped}");
    let told = world.fails(1, &["send", "acme:x", "go", "--token", first]);
    assert!(told.contains("403 no-grant") && told.contains("request acme:x go"), "{told}");
    world.json(&["grant", "ada", "request acme:x go", "launch acme:{sub}"]);
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", first]).contains("404 no-resource"));
    let listed = text(&world.run(&["grant"]).stdout);
    assert!(listed.contains("ada        request acme:x go") && listed.contains("launch acme:{sub}"), "{listed}");
    assert_eq!(world.json(&["grant", "ada", "request acme:x go", "--remove"])["grants"][0], "launch acme:{sub}");
    assert_eq!(world.json(&["grant", "ada", "--remove"])["grants"], Value::Array(Vec::new()));
    world.json(&["token", "revoke", made["id"].as_str().unwrap()]);
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", first]).contains("revoked"));
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", second]).contains("no-grant"));
    world.json(&["token", "revoke", "--subject", "ada"]);
    let revoke = |words: &[&str]| text(&world.run(&[&["token", "revoke"], words].concat()).stdout);
    let told = revoke(&["abc"]);
    assert!(told.contains("No token with the id abc is known; it is refused from now on"), "{told}");
    let told = revoke(&["--subject", "nobody"]);
    assert!(told.contains("No token of `nobody` is known"), "{told}");
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", second]).contains("revoked"));
}

#[test]
fn events_are_printed_as_they_arrive() {
    let world = World::start();
    world.publish_notes();
    let mut watching = starlane(world.folder.path())
        .args(["watch", "starlane:apps#changed", "--server", &world.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(watching.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("Watching starlane:apps#changed"), "{line}");
    world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
    let mut line = String::new();
    BufReader::new(watching.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("starlane:apps") && line.contains("acme:notes"), "{line}");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn errors_have_a_message_and_an_exit_code() {
    let world = World::start();
    let told = world.fails(1, &["publish", "nowhere", "acme:repo:notes:1.0.0"]);
    assert!(told.contains("nowhere") && told.contains("bundle.toml"), "{told}");
    world.write("notes/bundle.toml", "[bundle]\nname = 1\n");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.0.0"]);
    assert!(told.contains("bundle.toml:2:"), "{told}");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.0.0", "--output", "json"]);
    let error: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["line"]), (&"authoring".into(), &2.into()));
    world.write("notes/bundle.toml", BUNDLE);
    let told = world.fails(2, &["publish", "notes", "acme:repo:notes"]);
    assert!(told.contains("version"), "{told}");
    world.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    world.write("notes/site/new.html", "new");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.0.0"]);
    assert!(told.contains("use a new version"), "{told}");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.0.0", "--output", "json"]);
    assert!(told.contains("\"code\":\"conflict\""), "{told}");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:2.0.0", "--key", "other-key"]);
    assert!(told.contains("belongs to"), "{told}");

    let told = world.fails(1, &["send", "acme:nobody:here", "greet"]);
    assert!(told.contains("404 no-resource") && told.contains("acme:nobody:here"), "{told}");
    let told = world.fails(1, &["send", "acme:nobody:here", "greet", "--output", "json"]);
    let error: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((error["error"]["code"].as_str(), error["error"]["status"].as_u64()), (Some("no-resource"), Some(404)));
    let told = world.fails(1, &["app", "create", "acme:x", "--bundle", "acme:x:1.0.0", "--token", "guessed"]);
    assert!(told.contains("401 auth-refused"), "{told}");
    let told = world.fails(3, &["app", "list", "--server", "http://127.0.0.1:9"]);
    assert!(told.contains("starlane serve"), "{told}");
    let told = world.fails(3, &["app", "list", "--server", "http://127.0.0.1:9", "--output", "json"]);
    assert!(told.contains("\"code\":\"no-server\""), "{told}");
    world.fails(2, &["send", "acme:nobody:here"]);
}
