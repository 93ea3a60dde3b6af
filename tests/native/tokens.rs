//! Access with tokens: over links and over HTTP, with grants of the registry, until expiry or revocation.

use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use starlane_bundle::{Digest, authoring::Draft};
use starlane_protocol::{Address, Topic, frame::Frame};
use starlane_testkit::figure;

use crate::{
    peer::Peer,
    world::{LONG, Server, echo_bundle, folder, key},
};

fn create(server: &Server, subject: &str, grants: &[&str], seconds: u64) -> Value {
    let about = json!({ "subject": subject, "grants": grants, "ttlSeconds": seconds });
    let answer = server.command("starlane:tokens", "create", &about);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn token(server: &Server, subject: &str, grants: &[&str]) -> String {
    create(server, subject, grants, 600)["token"].as_str().unwrap().to_owned()
}

fn revoke(server: &Server, what: &Value) {
    assert_eq!(server.command("starlane:tokens", "revoke", what).status, 200);
}

/// Sends a request over HTTP with a token.
fn ask(server: &Server, token: &str, to: &str, operation: &str) -> u16 {
    let headers = [("authorization", &*format!("Bearer {token}")), ("content-type", "application/json")];
    server.send("POST", &format!("/messages/{to}/{operation}"), &headers, b"{}").status
}

/// Invalid tokens, each with the name of its fault.
fn bad_tokens(server: &Server) -> Vec<(&'static str, String)> {
    let good = token(server, "ada", &["admin **"]);
    let [header, claims, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("{good}") };
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let said = String::from_utf8(BASE64URL_NOPAD.decode(claims.as_bytes()).unwrap()).unwrap();
    let other_host = Server::start();
    let short = create(server, "ada", &["admin **"], 1);
    let revoked = create(server, "ada", &["admin **"], 600);
    revoke(server, &json!({ "id": revoked["id"] }));
    let of_all = create(server, "grace", &["admin **"], 600);
    revoke(server, &json!({ "subject": "grace" }));
    std::thread::sleep(Duration::from_millis(1_100));
    let text = |made: &Value| made["token"].as_str().unwrap().to_owned();
    vec![
        ("expired", text(&short)),
        ("revoked", text(&revoked)),
        ("revoked with all of its principal", text(&of_all)),
        ("of another key and for another host", token(&other_host, "ada", &["admin **"])),
        ("for another host", format!("{header}.{}.{signature}", encode(&said.replace('~', "~x")))),
        ("of another subject", format!("{header}.{}.{signature}", encode(&said.replace("ada", "eve")))),
        ("without a signature", format!("{}.{claims}.", encode(r#"{"alg":"none","typ":"JWT"}"#))),
        ("alg none, its signature kept", format!("{}.{claims}.{signature}", encode(r#"{"alg":"none"}"#))),
        ("alg HS256", format!("{}.{claims}.{signature}", encode(r#"{"alg":"HS256","typ":"JWT"}"#))),
        ("cut", good[..good.len() - 8].to_owned()),
        ("empty", String::new()),
        ("guessed", "0".repeat(43)),
    ]
}

#[tokio::test]
async fn an_invalid_token_is_refused_at_every_entry() {
    let server = Server::start();
    let (mut tried, mut accepted) = (0, Vec::new());
    for (what, bad) in bad_tokens(&server) {
        let bearer = format!("Bearer {bad}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        for (method, path) in [
            ("POST", "/messages/starlane:apps/list"),
            ("GET", "/events/starlane:apps%23changed"),
            ("PUT", "/bundles/acme:repo:x:1.0.0"),
            ("PUT", "/blobs/sha256/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ] {
            tried += 1;
            let answer = server.send(method, path, &headers, b"{}");
            if answer.status != 401 {
                accepted.push(format!("{what}: {method} {path} gave {}", answer.status));
            }
        }
        tried += 1;
        let mut hello = Peer::dial(&server).await;
        hello.hello(1, Some(&bad)).await;
        // A host asks for a fresh token when it hears this, and keeps its link until then.
        let code = if what == "expired" { "expired" } else { "auth-refused" };
        if hello.closed(LONG).await.goodbye.as_deref() != Some(code) {
            accepted.push(format!("{what}: hello"));
        }
        tried += 1;
        let mut renewing = Peer::link(&server, 2, Some(&token(&server, "ada", &["admin **"]))).await;
        renewing.send(&Frame::Renew { token: bad }).await;
        if renewing.closed(LONG).await.goodbye.as_deref() != Some(code) {
            accepted.push(format!("{what}: renew"));
        }
    }
    figure::figure("tokens.tried", f64::from(tried), "attempts");
    figure::figure("tokens.accepted-wrongly", accepted.len() as f64, "attempts");
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[tokio::test]
async fn a_revoked_token_closes_its_links_and_streams_within_a_second() {
    let server = Server::start();
    let made = create(&server, "ada", &["subscribe **#*"], 600);
    let text = made["token"].as_str().unwrap().to_owned();
    let mut live = Peer::link(&server, 1, Some(&text)).await;
    let mut other = Peer::link(&server, 2, Some(&server.token)).await;
    let stream = format!(
        "GET /events/starlane:apps%23changed HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {text}\r\nConnection: close\r\n\r\n",
        server.address()
    );
    let address = server.address().to_owned();
    let (opened, is_open) = std::sync::mpsc::channel();
    let streaming = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader, Read, Write};
        let mut stream_to = BufReader::new(std::net::TcpStream::connect(address).unwrap());
        stream_to.get_mut().write_all(stream.as_bytes()).unwrap();
        let (mut status, mut all) = (String::new(), String::new());
        stream_to.read_line(&mut status).unwrap();
        opened.send(status).unwrap();
        stream_to.read_to_string(&mut all).unwrap();
        (all, Instant::now())
    });
    let status = is_open.recv_timeout(LONG).unwrap();
    assert!(status.contains("200"), "{status}");
    let before = Instant::now();
    revoke(&server, &json!({ "id": made["id"] }));
    assert_eq!(live.closed(LONG).await.goodbye.as_deref(), Some("auth-refused"));
    figure::figure("revoke.closed", before.elapsed().as_millis() as f64, "ms");
    assert!(before.elapsed() < Duration::from_secs(1));
    let (streamed, ended) = streaming.join().unwrap();
    assert!(streamed.contains("event: refused") && streamed.contains("revoked"), "{streamed}");
    assert!(ended.duration_since(before) < Duration::from_secs(1));
    other.works().await;
}

#[tokio::test]
async fn creating_the_first_token_ends_anonymous_access() {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let mut anonymous = Peer::link(&server, 1, None).await;
    anonymous.works().await;
    server.ask("starlane:apps", "create", &json!({ "app": "a:b", "bundle": "a:b:1.0.0" })).fails(403, "no-grant");
    server.ask("starlane:tokens", "create", &json!({ "subject": "eve" })).fails(403, "no-grant");
    server.ask("starlane:grants", "list", &json!({})).fails(403, "no-grant");
    assert_eq!(server.ask("acme:echoes:echo", "echo", &json!("hi")).status, 200);
    token(&server, "ada", &[]);
    assert_eq!(anonymous.closed(LONG).await.goodbye.as_deref(), Some("auth-refused"));
    let told = server.ask("acme:echoes:echo", "echo", &json!("hi")).fails(401, "auth-refused");
    assert!(told.contains("starlane token create"), "{told}");
    assert_eq!(server.get("/healthz").status, 200);
}

#[tokio::test]
async fn only_admins_can_inspect_the_server() {
    let server = Server::start();
    let mut peer = Peer::dial(&server).await;
    peer.hello(1, None).await;
    let Ok(Frame::Welcome { host, .. }) = peer.next().await else { panic!("no welcome") };
    for topic in ["starlane:server#logs".to_owned(), format!("{host}::starlane:server#logs")] {
        let seq = peer.sequence();
        peer.send(&Frame::Subscribe { seq, topic: Topic::parse(&topic).unwrap() }).await;
        assert!(
            matches!(peer.next().await, Ok(Frame::Refused { failure, .. }) if failure.code == "no-grant"),
            "{topic}"
        );
        server.get(&format!("/events/{}", topic.replace('#', "%23"))).fails(403, "no-grant");
    }
    server.ask("starlane:server", "logs", &json!({})).fails(403, "no-grant");
    server.ask("starlane:server", "status", &json!({})).fails(403, "no-grant");
    peer.subscribe("starlane:apps#changed").await;
}

#[tokio::test]
async fn grants_of_token_and_registry_add_up_and_apply_at_once() {
    let server = Server::start();
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let text = token(&server, "ada@mesh.test", &["request acme:echoes:echo about"]);
    let mut ada = Peer::link(&server, 1, Some(&text)).await;
    let about = ada.request("acme:echoes:echo", "about", &Value::Null).await.unwrap();
    let about: Value = serde_json::from_slice(&about.body).unwrap();
    assert_eq!(about["caller"], "ada@mesh.test");
    let failure = ada.request("acme:echoes:echo", "echo", &Value::Null).await.unwrap_err();
    assert_eq!((failure.status, failure.code.as_str()), (403, "no-grant"));
    let line = "request acme:echoes:** echo";
    let of_ada = json!({ "principal": "ada@mesh.test", "grants": [line, "launch acme:{sub}"] });
    let granted = server.command("starlane:grants", "add", &of_ada).json();
    assert_eq!(granted["grants"], json!([line, "launch acme:{sub}"]));
    assert!(ada.request("acme:echoes:echo", "echo", &Value::Null).await.is_ok());
    assert_eq!(ask(&server, &text, "acme:echoes:echo", "echo"), 200);
    server.command("starlane:grants", "remove", &json!({ "principal": "ada@mesh.test", "grants": [line] }));
    assert!(ada.request("acme:echoes:echo", "echo", &Value::Null).await.is_err());
    assert_eq!(ask(&server, &text, "acme:echoes:echo", "echo"), 403);
    let listed = server.command("starlane:grants", "list", &json!({})).json();
    assert_eq!(listed["principals"], json!({ "ada@mesh.test": ["launch acme:{sub}"] }));
}

#[tokio::test]
async fn a_live_link_is_renewed_by_a_fresh_token_of_the_same_principal() {
    let server = Server::start();
    let short = create(&server, "ada", &["request **"], 5);
    let mut ada = Peer::link(&server, 1, short["token"].as_str()).await;
    let Ok(Frame::Expires { remaining_ms: Some(remaining) }) = ada.next().await else {
        panic!("no expiry was reported")
    };
    assert!((500..=5_000).contains(&remaining), "{remaining}");
    let fresh = token(&server, "ada", &["request **"]);
    ada.send(&Frame::Renew { token: fresh }).await;
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    ada.works().await;
    let mut late = Peer::link(&server, 2, create(&server, "ada", &[], 4)["token"].as_str()).await;
    assert_eq!(late.closed(LONG).await.goodbye.as_deref(), Some("expired"));
}

#[test]
fn a_grant_to_deploy_a_space_covers_only_that_space() {
    let server = Server::start();
    let text = token(&server, "ci", &["deploy acme:**"]);
    let put = |path: &str| {
        let bearer = format!("Bearer {text}");
        server.send("PUT", path, &[("authorization", &*bearer)], b"{}")
    };
    put("/bundles/other:repo:x:1.0.0").fails(403, "no-grant");
    put("/bundles/acme:repo:x:1.0.0").fails(400, "malformed");
    assert_eq!(ask(&server, &text, "starlane:apps", "list"), 200);
    let headers = [("authorization", &*format!("Bearer {text}")), ("content-type", "application/json")];
    let create = |app: &str| {
        let about = json!({ "app": app, "bundle": "acme:repo:x:1.0.0" }).to_string();
        server.send("POST", "/messages/starlane:apps/create", &headers, about.as_bytes())
    };
    create("other:x").fails(403, "no-grant");
    create("acme:x").fails(404, "not-found");
}

#[test]
fn an_admin_of_a_space_gives_only_grants_within_it() {
    let server = Server::start();
    let text = token(&server, "lead", &["admin acme:**"]);
    let headers = [("authorization", &*format!("Bearer {text}")), ("content-type", "application/json")];
    let create = |grant: &str| {
        let about = json!({ "subject": "acme/ada", "grants": [grant] }).to_string();
        server.send("POST", "/messages/starlane:tokens/create", &headers, about.as_bytes())
    };
    assert_eq!(create("request acme:profiles:**").status, 200);
    assert_eq!(create("admin acme:profiles:**").status, 200);
    for grant in ["request **", "request ~*::acme:profiles", "deploy other:**", "admin starlane:**"] {
        assert!(create(grant).fails(403, "no-grant").contains("admin "), "{grant}");
    }
    create("request other").fails(403, "no-grant");
    create("nonsense").fails(400, "malformed");
    let of_boss = json!({ "principal": "acme/boss", "grants": ["admin other:**", "launch acme:x"] });
    server.command("starlane:grants", "add", &of_boss);
    server.command("starlane:grants", "add", &json!({ "principal": "bob/bo", "grants": ["launch acme:x"] }));
    let listed = server.send("POST", "/messages/starlane:grants/list", &headers, b"{}").json();
    assert_eq!(listed["principals"], json!({ "acme/boss": ["launch acme:x"] }), "the grants that it can give");
    let about = |path: &str, body: &[u8]| server.send("POST", path, &headers, body);
    about("/messages/starlane:tokens/create", br#"{"subject": "acme/boss"}"#).fails(403, "no-grant");
    about("/messages/starlane:grants/remove", br#"{"principal": "acme/boss"}"#).fails(403, "no-grant");
    about("/messages/starlane:grants/remove", br#"{"principal": "acme/boss", "grants": ["admin other:**"]}"#)
        .fails(403, "no-grant");
    server.send("GET", "/backup", &headers, b"").fails(403, "no-grant");
    let revoke = server.send("POST", "/messages/starlane:tokens/revoke", &headers, br#"{"subject":"ada"}"#);
    revoke.fails(403, "no-grant");
}

#[test]
fn an_admin_of_a_space_revokes_only_tokens_of_its_namespace() {
    let mut server = Server::start();
    let lead = token(&server, "lead", &["admin acme:**"]);
    let (bo, ada) = (create(&server, "bob/bo", &[], 600), create(&server, "acme/ada", &[], 600));
    server.restart();
    let bearer = format!("Bearer {lead}");
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    let revoke =
        |what: &Value| server.send("POST", "/messages/starlane:tokens/revoke", &headers, what.to_string().as_bytes());
    let works = |made: &Value| ask(&server, made["token"].as_str().unwrap(), "starlane:apps", "list") == 200;
    assert!(revoke(&json!({ "id": bo["id"] })).fails(403, "no-grant").contains("namespace"));
    revoke(&json!({ "subject": "bob/bo" })).fails(403, "no-grant");
    assert!(revoke(&json!({ "id": "abc" })).fails(404, "not-found").contains("--subject"));
    assert!(works(&bo) && works(&ada));
    let revoked = json!({ "known": 1, "subject": "acme/ada" });
    assert_eq!(revoke(&json!({ "id": ada["id"] })).json(), revoked);
    assert!(works(&bo) && !works(&ada));
    // An admin of the whole server can revoke an unknown token, because an earlier version can have created it.
    let by_admin = |what: &Value| server.command("starlane:tokens", "revoke", what).json()["known"].clone();
    assert_eq!(by_admin(&json!({ "id": "abc" })), 0);
    assert_eq!(by_admin(&json!({ "subject": "nobody" })), 0);
    assert_eq!(by_admin(&json!({ "subject": "bob/bo" })), 1);
    assert!(!works(&bo));
}

#[test]
fn a_private_bundle_is_readable_for_principals_that_can_launch_its_app() {
    let server = Server::start();
    let bundle = |public: bool, text: &str| {
        let about = format!(
            "[bundle]\nname = \"x\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = {public}\ninclude = [\"site/**\"]\n"
        );
        folder(&[("bundle.toml", &about), ("app.toml", "[app]\nname = \"x\"\n"), ("site/x.txt", text)])
    };
    server.run_app(bundle(false, "hidden").path(), "acme:repo:hidden:1.0.0", "acme:hidden");
    server.publish(bundle(false, "unused").path(), "acme:repo:unused:1.0.0");
    server.publish(bundle(true, "open").path(), "acme:repo:open:1.0.0");
    let blob = |text: &str| format!("/blobs/sha256/{}", Digest::of(text.as_bytes()));
    let (hidden, unused) = ("/bundles/acme:repo:hidden:1.0.0", "/bundles/acme:repo:unused:1.0.0");
    assert_eq!(
        (server.get(hidden).status, server.get(unused).status),
        (200, 403),
        "anonymous callers can launch, but nothing else"
    );
    let grace = token(&server, "grace", &["request acme:**"]);
    let ada = token(&server, "ada", &["launch acme:hidden"]);
    let get = |token: Option<&str>, path: &str| {
        let bearer = format!("Bearer {}", token.unwrap_or_default());
        let headers: &[(&str, &str)] = if token.is_some() { &[("authorization", &bearer)] } else { &[] };
        server.send("GET", path, headers, b"").status
    };
    for path in [hidden.to_owned(), blob("hidden")] {
        assert_eq!([get(None, &path), get(Some(&grace), &path), get(Some(&ada), &path)], [401, 403, 200], "{path}");
    }
    assert_eq!([get(Some(&ada), unused), get(Some(&ada), &blob("unused"))], [403, 403]);
    for path in ["/bundles/acme:repo:open:1.0.0".to_owned(), blob("open")] {
        assert_eq!(get(None, &path), 200, "{path}");
    }
    // Shared caches must not store private content.
    let kept = |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        server.send("GET", path, &[("authorization", &bearer)], b"").header("cache-control").to_owned()
    };
    for (path, scope) in [(blob("hidden"), "private, "), (hidden.to_owned(), "private, "), (blob("open"), "public, ")] {
        assert!(kept(&path, &ada).starts_with(scope), "{path}: {}", kept(&path, &ada));
    }
    let mut server = server;
    server.restart();
    let bearer = format!("Bearer {ada}");
    assert_eq!(server.send("GET", hidden, &[("authorization", &bearer)], b"").status, 200, "after a restart too");
    assert_eq!(server.get(&blob("hidden")).status, 401);
}

#[test]
fn knowing_a_digest_allows_neither_reading_nor_publishing_the_blob() {
    let server = Server::start();
    let bundle = |public: bool| {
        let about = format!("[bundle]\nname = \"x\"\npublic = {public}\ninclude = [\"*.txt\"]\n");
        folder(&[("bundle.toml", &about), ("x.txt", "hidden")])
    };
    server.publish(bundle(false).path(), "acme:repo:hidden:1.0.0");
    let bearer = format!("Bearer {}", token(&server, "bob", &["deploy bob:**", "request starlane:apps"]));
    let digest = Digest::of(b"hidden").to_string();
    let blob = format!("/blobs/sha256/{digest}");
    let bob = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        server.send(method, path, &[headers, &[("authorization", &bearer)]].concat(), body)
    };
    bob("GET", &blob, &[], b"").fails(403, "no-grant");
    let asked = bob("POST", "/blobs/missing", &[], serde_json::json!({ "sha256": [digest] }).to_string().as_bytes());
    assert_eq!(asked.json()["missing"][0].as_str(), Some(digest.as_str()), "like a missing file");
    let name = "bob:repo:open:1.0.0";
    let signed = Draft::read(bundle(true).path()).unwrap().sign(&Address::parse(name).unwrap(), &key(2), 1_700_000_000);
    let signature = signed.signature.to_string();
    let publish = || bob("PUT", &format!("/bundles/{name}"), &[("starlane-signature", &signature)], &signed.bytes);
    assert!(publish().fails(409, "conflict").contains("/x.txt"));
    assert_eq!(server.get(&blob).status, 401);
    // A principal cannot read a private bundle by creating an app from it, either.
    let create = serde_json::json!({ "app": "bob:hidden", "bundle": "acme:repo:hidden:1.0.0" }).to_string();
    let json = [("content-type", "application/json")];
    let told = bob("POST", "/messages/starlane:apps/create", &json, create.as_bytes()).fails(403, "no-grant");
    assert!(told.contains("public bundle"), "{told}");
    // A publisher that has the bytes can publish them.
    assert_eq!(bob("PUT", &blob, &[], b"hidden").status, 204);
    assert_eq!(publish().status, 204);
    assert_eq!(server.get(&blob).text(), "hidden");
}
