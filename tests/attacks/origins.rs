//! Requests that other pages and proxies cause a browser or a server to send.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;
use starlane_testkit::{attack, field_fault};

use crate::world::{LONG, Server, echo_bundle, folder, starlane};

const ROUTES: &str = r#"
[resources.db]
kind = "database"
[http]
"GET /" = { file = "site/index.html" }
"GET /count" = { to = ".:echo", operation = "count" }
"POST /say" = { to = ".:echo", operation = "echo", access = "public" }
"DELETE /say" = { to = ".:echo", operation = "echo", access = "public" }
"#;

fn site() -> Server {
    let server = Server::start();
    server.publish(&server.token, 1, echo_bundle(ROUTES).path(), "acme:repo:echoes:1.0.0");
    let made = server.create(&server.token, "acme:echoes", "acme:repo:echoes:1.0.0");
    assert_eq!(made.status, 200, "{}", made.text());
    server
}

#[test]
fn other_sites_cannot_run_routes_or_read_answers() {
    let server = site();
    let paths = [
        "/",
        "/count",
        "/healthz",
        "/metrics",
        "/bundles/acme:repo:echoes:1.0.0",
        "/events/acme:echoes:echo%23said",
        "/.well-known/starlane.json",
    ];
    let (mut tried, mut through) = (0, Vec::new());
    for path in paths {
        for site in ["cross-site", "same-site"] {
            for (mode, dest) in
                [("no-cors", "script"), ("no-cors", "image"), ("no-cors", "empty"), ("navigate", "iframe")]
            {
                tried += 1;
                let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)];
                let answer = server.send("GET", path, &headers, b"");
                if answer.status != 403 || answer.header("starlane-code") != "origin-refused" {
                    through.push(format!("{path} {site} {mode} {dest}: {}", answer.status));
                }
            }
        }
    }
    // Following a link works, and no other site can embed an answer.
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(server.send("GET", "/", &link, b"").status, 200);
    for path in ["/", "/healthz", "/nothing", "/bundles/acme:repo:echoes:1.0.0"] {
        tried += 1;
        if server.get(path).header("cross-origin-resource-policy") != "same-origin" {
            through.push(format!("{path} may be embedded"));
        }
    }
    let number = server.get("/count").text();
    assert_eq!(number, "1", "no attack has run the route");
    attack("A7", tried, through.len());
    assert!(through.is_empty(), "{through:#?}");
}

#[test]
fn forwarded_requests_are_never_anonymous() {
    let server = site();
    let own = server.address().to_owned();
    let body = "{}";
    let post = |version: &str, more: &str| {
        server.raw(
            format!(
                "POST /messages/acme:echoes:echo/echo HTTP/{version}\r\nHost: {own}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n{more}\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    };
    assert!(post("1.1", "").starts_with("HTTP/1.1 200"), "{}", post("1.1", ""));
    let proxied = [
        "Forwarded: for=192.0.2.1\r\n",
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Host: mesh.example\r\n",
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Real-IP: 192.0.2.1\r\n",
        "Via: 1.1 cache\r\n",
        "CF-Connecting-IP: 192.0.2.1\r\n",
        "X-Original-URL: /\r\n",
    ];
    let mut answers: Vec<String> = proxied.iter().map(|more| post("1.1", more)).collect();
    // nginx with its default settings: the configured host, HTTP/1.0, and no additional header.
    answers.push(post("1.0", ""));
    answers
        .push(server.raw(
            format!("GET /metrics HTTP/1.1\r\nHost: {own}\r\nVia: 1.1 x\r\nConnection: close\r\n\r\n").as_bytes(),
        ));
    let link = format!(
        "GET /mesh HTTP/1.1\r\nHost: {own}\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: starlane.v1\r\n\r\n"
    );
    answers.push(server.raw(link.as_bytes()));
    let through: Vec<&String> = answers.iter().filter(|answer| !answer.contains(" 401 ")).collect();
    attack("A7", answers.len(), through.len());
    assert!(through.is_empty(), "{through:#?}");
    let bearer = format!("Authorization: Bearer {}\r\nVia: 1.1 x\r\n", server.token);
    assert!(post("1.1", &bearer).starts_with("HTTP/1.1 200"), "with a token it may come from anywhere");
}

#[test]
fn writing_to_a_database_requires_a_token() {
    let server = site();
    let create = json!({ "sql": "CREATE TABLE t (n)" });
    assert_eq!(server.command("acme:echoes:db", "execute", &create).status, 200);
    let json = [("content-type", "application/json")];
    let ask = |operation: &str, body: serde_json::Value| {
        server.send("POST", &format!("/messages/acme:echoes:db/{operation}"), &json, body.to_string().as_bytes())
    };
    let insert = json!({ "sql": "INSERT INTO t VALUES (1)" });
    let answers = [ask("execute", insert.clone()), ask("transaction", json!({ "statements": [insert] }))];
    let through = answers.iter().filter(|answer| answer.status != 403).count();
    attack("A7", answers.len(), through);
    assert_eq!(through, 0, "{answers:?}");
    assert_eq!(ask("query", json!({ "sql": "SELECT n FROM t" })).status, 200);
}

#[test]
fn a_page_of_another_origin_reads_only_the_reason_of_its_refusal() {
    let server = site();
    let origin = "http://page.test:9999";
    let get = |path: &str| server.send("GET", path, &[("origin", origin)], b"");
    let mut failing = Vec::new();
    let paths = ["/", "/.well-known/starlane.json", "/mesh", "/metrics", "/nothing", "/count"];
    for path in paths {
        let answer = get(path);
        let message = answer.json()["message"].as_str().unwrap_or_default().to_owned();
        let told = message.contains(&format!("--allow-origin {origin}")) && answer.status == 403;
        if !told || answer.header("access-control-allow-origin") != origin || answer.headers.contains_key("set-cookie")
        {
            failing.push(format!("{path}: {} {message}", answer.status));
        }
    }
    let asked = [
        ("origin", origin),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    // The browser sends a preflight first; without an answer to it, the page would only see a network error.
    let preflight = server.send("OPTIONS", "/say", &asked, b"");
    if preflight.status >= 300 || preflight.header("access-control-allow-origin") != origin {
        failing.push(format!("preflight: {}", preflight.status));
    }
    let post = server.send("POST", "/say", &[("origin", origin), ("content-type", "application/json")], b"{}");
    if post.status != 403 || post.header("access-control-allow-origin") != origin {
        failing.push(format!("post: {}", post.status));
    }
    let host = server.send("GET", "/", &[("host", "evil.test"), ("origin", "http://evil.test")], b"");
    assert!(host.status == 403 && host.header("access-control-allow-origin").is_empty(), "{host:?}");
    let lines = server.log().lines().filter(|line| line.contains(origin)).count();
    field_fault("F32", paths.len() + 3, failing.len() + usize::from(lines != 1));
    assert!(failing.is_empty() && lines == 1, "{failing:#?} {}", server.log());
}

#[test]
fn a_preflight_lists_the_methods_and_allows_the_requested_headers() {
    let server = site();
    let origin = server.url.clone();
    let ask = |path: &str, method: &str, headers: &str| {
        let asked = [
            ("origin", origin.as_str()),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ];
        let answer = server.send("OPTIONS", path, &asked, b"");
        let methods = answer.header("access-control-allow-methods").to_owned();
        let taken = answer.header("access-control-allow-headers").to_owned();
        (answer.status, methods, taken, answer.header("access-control-allow-origin").to_owned())
    };
    let cases = [
        ("/say", "DELETE", "DELETE, POST", "traceparent, x-own"),
        ("/count", "GET", "GET, HEAD", "authorization"),
        ("/bundles/acme:repo:x:1.0.0", "PUT", "GET, HEAD, PUT", "authorization, starlane-signature"),
        ("/messages/acme:x/y", "POST", "POST", "content-type, traceparent"),
        ("/nothing", "PATCH", "PATCH", "x-own"),
    ];
    let failing: Vec<String> = cases
        .iter()
        .filter_map(|(path, method, methods, headers)| {
            let seen = ask(path, method, headers);
            let right = (204, (*methods).to_owned(), (*headers).to_owned(), origin.clone());
            (seen != right).then(|| format!("{path}: {seen:?}"))
        })
        .collect();
    field_fault("F12", cases.len(), failing.len());
    assert!(failing.is_empty(), "{failing:#?}");
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn pages_of_development_servers_can_use_starlane_dev() {
    let bundle = folder(&[
        ("t/bundle.toml", "[bundle]\nname = \"t\"\ndescription = \"t\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n"),
        ("t/app.toml", "[app]\nname = \"t\"\n[http]\n\"GET /\" = { file = \"site/index.html\" }\n"),
        ("t/site/index.html", "<p>t</p>"),
    ]);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = starlane(bundle.path());
    command.args(["dev", "t", "--listen", &free, "--allow-origin", "http://own.test:1"]);
    let _running = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let get = |origin: &str| {
        let mut stream = TcpStream::connect(&free).ok()?;
        stream.set_read_timeout(Some(LONG)).ok()?;
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {free}\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.get(9..12)?.parse::<u16>().ok()
    };
    let begin = Instant::now();
    while get("http://own.test:1") != Some(200) {
        assert!(begin.elapsed() < LONG, "it does not answer");
        std::thread::sleep(Duration::from_millis(50));
    }
    let usual = [
        "http://localhost:5173",
        "http://127.0.0.1:5173",
        "http://localhost:3000",
        "http://localhost:8080",
        "http://localhost:4200",
    ];
    let failing = usual.iter().filter(|origin| get(origin) != Some(200)).count();
    assert_eq!(get("http://localhost:9999"), Some(403));
    field_fault("F32", usual.len() + 1, failing);
    assert_eq!(failing, 0);
}
