//! Attacks of guests and visitors on the answers of the server.

use serde_json::json;
use starlane_testkit::attack;

use crate::world::{Server, echo_bundle};

const ROUTES: &str = r#"
[http]
"POST /fail" = { to = ".:echo", operation = "fail", access = "public" }
"POST /page" = { to = ".:echo", operation = "page", access = "public" }
"POST /echo" = { to = ".:echo", operation = "echo", access = "public" }
"GET /count" = { to = ".:echo", operation = "count" }
"#;

fn site(limits: &str) -> Server {
    let server = Server::start_with(limits);
    server.publish(&server.token, 1, echo_bundle(ROUTES).path(), "acme:repo:echoes:1.0.0");
    let made = server.create(&server.token, "acme:echoes", "acme:repo:echoes:1.0.0");
    assert_eq!(made.status, 200, "{}", made.text());
    server
}

#[test]
fn a_guests_failure_is_always_a_failure_from_the_server() {
    let server = site("");
    let json = [("content-type", "application/json")];
    let (mut tried, mut through) = (0, Vec::new());
    for path in ["/fail", "/messages/acme:echoes:echo/fail"] {
        for status in [0, 1, 100, 101, 103, 199, 200, 204, 206, 299, 300, 304, 399, 600, 999, 65_535] {
            for code in ["x", "a\nb: c", "", "ä", "\0"] {
                tried += 1;
                let body = json!({ "status": status, "code": code, "message": "m" }).to_string();
                let answer = server.send("POST", path, &json, body.as_bytes());
                let header = answer.header("starlane-code");
                let same = answer.json()["code"].as_str() == Some(header) && !header.is_empty();
                if answer.status != 500 || !same {
                    through.push(format!("{path} {status} {code:?}: {} {header:?} {}", answer.status, answer.text()));
                }
            }
        }
    }
    let mut check = |what: String, answer: crate::world::Answer| {
        tried += 1;
        if answer.status != 500 || answer.header("starlane-code").is_empty() || answer.json()["code"].is_null() {
            through.push(format!("{what}: {} {}", answer.status, answer.text()));
        }
    };
    for (name, value) in [
        ("starlane-status", "101"),
        ("starlane-status", "404"),
        ("starlane-status", "204"),
        ("starlane-status", "304"),
        ("a b", "c"),
        ("x", "a\r\nset-cookie: b"),
        ("x", "a\0b"),
        ("", "x"),
        ("x", &"y".repeat(70_000)),
    ] {
        let body = json!({ "headers": [[name, value]], "body": "text" }).to_string();
        check(format!("{name:.20}: {value:.20}"), server.send("POST", "/page", &json, body.as_bytes()));
    }
    let many: Vec<_> = (0..500).map(|n| [format!("x-{n}"), "y".to_owned()]).collect();
    let body = json!({ "headers": many, "body": "text" }).to_string();
    check("500 headers".to_owned(), server.send("POST", "/page", &json, body.as_bytes()));
    attack("B12", tried, through.len());
    assert!(through.is_empty(), "{through:#?}");
    // A header that makes a proxy send another file is not passed on.
    let body = json!({ "headers": [["x-accel-redirect", "/etc/passwd"], ["x-own", "1"]], "body": "text" }).to_string();
    let answer = server.send("POST", "/page", &json, body.as_bytes());
    assert_eq!((answer.status, answer.header("x-own"), answer.header("x-accel-redirect")), (200, "1", ""));
}

#[test]
fn one_visitor_of_a_public_route_does_not_delay_others() {
    let server = site("[limits]\nmessages-per-second = 20\n");
    let own = server.address().to_owned();
    let get = |from: &str| {
        let request = format!("GET /count HTTP/1.1\r\nHost: {own}\r\nConnection: close\r\n\r\n");
        crate::http::ask_from(&format!("{from}:0"), &own, &request)
    };
    let refused = (0..100).filter(|_| get("127.0.0.2").starts_with("HTTP/1.1 429")).count();
    assert!(refused > 0, "the visitor has a limit");
    let others: Vec<String> = (3..13).map(|n| get(&format!("127.0.0.{n}"))).collect();
    let through = others.iter().filter(|answer| !answer.starts_with("HTTP/1.1 200")).count();
    attack("B8", others.len(), through);
    assert_eq!(through, 0, "{others:?}");
}
