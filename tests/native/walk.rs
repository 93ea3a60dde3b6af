//! Sends hostile input to all routes. Every answer comes from this server's own code, has a type, and is bounded. The
//! routes are those of the server's own table and of an app, so that new routes are included.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use starlane_server::BUILT_IN;
use starlane_testkit::{field_fault, figure::figure};

use crate::world::{LONG, Server, echo_bundle};

const ROUTES: &str = r#"
[http]
"GET /" = { file = "site/index.html" }
"GET /assets/{*path}" = { files = "site/assets/" }
"GET /get/{name}" = { to = ".:echo", operation = "echo" }
"POST /post/{name}" = { to = ".:echo", operation = "echo", access = "public" }
"PUT /put" = { to = ".:echo", operation = "about" }
"#;
/// The expected properties of every answer.
const LONGEST: usize = 128 * 1024;

/// An answer as it came.
struct Seen {
    status: u16,
    head: String,
    body: String,
}

/// Sends bytes, and reads until the connection ends; none if nothing arrived.
fn send(server: &Server, bytes: &[u8], cut: bool) -> Option<Seen> {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let _ = stream.write_all(bytes);
    if cut {
        let _ = stream.shutdown(Shutdown::Both);
        return None;
    }
    let (mut all, mut piece) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(length) => all.extend_from_slice(&piece[..length]),
        }
        let text = String::from_utf8_lossy(&all);
        // Streams and links do not end, so only their heads are checked.
        if all.len() > LONGEST
            || (text.contains("\r\n\r\n") && (text.contains("event-stream") || text.contains(" 101 ")))
        {
            break;
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.get(9..12)?.parse().ok()?;
    Some(Seen { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// The fault of an answer, if there is one.
fn fault(seen: &Seen) -> Option<&'static str> {
    let typed = || {
        let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let code = body["code"].as_str().unwrap_or_default();
        !code.is_empty() && seen.head.contains(&format!("starlane-code: {code}"))
    };
    match seen.status {
        100..400 => None,
        500 => Some("it is an internal error"),
        _ if seen.body.len() > LONGEST => Some("it is too long"),
        405 if !seen.head.contains("\r\nallow: ") => Some("it does not say what is allowed"),
        _ if seen.head.contains("text/html") => {
            (!seen.head.contains("starlane-code: ")).then_some("the page has no code")
        }
        _ => (!typed()).then_some("it has no code"),
    }
}

/// Paths of a route, with valid, invalid and hostile parameters.
fn paths(route: &str) -> Vec<String> {
    let fills = [
        "acme:echoes:echo",
        "acme:repo:echoes:1.0.0",
        "x",
        "%FF",
        "%",
        "%zz",
        "%00",
        "..",
        "%2e%2e%2f%2e%2e%2fetc",
        "%F0%9F%98%80",
        "a%0d%0aset-cookie:b",
        "acme:echoes:echo%23said",
        "0000000000000000000000000000000000000000000000000000000000000000",
    ];
    let long = "y".repeat(8_000);
    let fills = fills.iter().copied().chain([long.as_str()]);
    let fill = |fill: &str| {
        let mut path = String::new();
        for part in route.split('/').skip(1) {
            path.push('/');
            path.push_str(if part.starts_with('{') { fill } else { part });
        }
        path
    };
    let mut all: Vec<String> = if route.contains('{') { fills.map(fill).collect() } else { vec![route.to_owned()] };
    let first = all[0].clone();
    all.extend(
        ["?take-over=maybe", "?a=%FF", "?=&&=%zz", "?take-over=true&take-over=false", "/", "//", "#x"]
            .map(|end| format!("{first}{end}")),
    );
    all
}

#[test]
fn every_answer_to_hostile_input_is_well_formed() {
    let server = Server::start();
    server.run_app(echo_bundle(ROUTES).path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let begin = Instant::now();
    let own = server.address().to_owned();
    let of_app = ROUTES.lines().filter_map(|line| line.strip_prefix('"')?.split_once('"')?.0.split_once(' '));
    let mut routes: Vec<&str> = BUILT_IN.iter().copied().chain(of_app).map(|(_, path)| path).collect();
    routes.extend(["/nowhere", "*"]);
    routes.dedup();
    let token = server.token.clone();
    let heads = [
        String::new(),
        format!("Authorization: Bearer {token}\r\n"),
        "Authorization: Basic eDp5\r\n".to_owned(),
        "Authorization: \u{fffd}\r\n".to_owned(),
        "Accept: application/problem+json\r\n".to_owned(),
        "Accept: text/html\r\n".to_owned(),
        "Content-Type: application/json\r\nContent-Type: text/plain\r\n".to_owned(),
        "Content-Type: \x01\r\n".to_owned(),
        "Range: bytes=99999999999999999999-\r\nIf-None-Match: \"\r\nIf-Match: ,,\r\n".to_owned(),
        "Accept-Encoding: identity;q=0, *;q=0\r\n".to_owned(),
        "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n".to_owned(),
        "Expect: 200-maybe\r\n".to_owned(),
        "Origin: null\r\n".to_owned(),
        "Host: other\r\n".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n".to_owned(),
        format!("Last-Event-ID: {}\r\nTraceparent: x\r\nCookie: \u{e4}\r\n", "z".repeat(2_000)),
    ];
    let bodies: [(&str, &[u8]); 7] = [
        ("", b""),
        ("Content-Length: 7\r\n", b"{\"a\":1}"),
        ("Content-Length: 3\r\n", b"\xff\xfe\x00"),
        ("Content-Length: 99999999999\r\n", b""),
        ("Content-Length: x\r\n", b""),
        ("Transfer-Encoding: chunked\r\n", b"zz\r\n"),
        ("Transfer-Encoding: chunked\r\n", b"1\r\n{\r\n0\r\n\r\n"),
    ];
    let (mut walked, mut untyped) = (0, Vec::new());
    let mut look = |what: String, request: &[u8]| {
        walked += 1;
        match send(&server, request, false) {
            Some(seen) => {
                if let Some(fault) = fault(&seen) {
                    untyped.push(format!("{what}: {fault}: {} {}", seen.head, &seen.body[..seen.body.len().min(200)]));
                }
            }
            None => untyped.push(format!("{what}: no answer")),
        }
    };
    let request = |method: &str, path: &str, more: &str, length: &str, body: &[u8]| {
        let host = if more.starts_with("Host") { String::new() } else { format!("Host: {own}\r\n") };
        let close = if more.contains("Connection") { "" } else { "Connection: close\r\n" };
        [format!("{method} {path} HTTP/1.1\r\n{host}{close}{more}{length}\r\n").as_bytes(), body].concat()
    };
    let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "FOO", "get"];
    for route in &routes {
        let all = if *route == "*" { vec!["*".to_owned()] } else { paths(route) };
        for method in methods.iter().filter(|method| **method != "HEAD") {
            look(format!("{method} {route}"), &request(method, &all[0], "", "", b""));
        }
        for path in &all {
            for method in ["GET", "POST", "PUT"] {
                look(format!("{method} {path:.80}"), &request(method, path, "", "", b""));
            }
        }
        for more in &heads {
            for method in ["GET", "POST", "PUT"] {
                look(format!("{method} {route} with {more:.60}"), &request(method, &all[0], more, "", b""));
            }
        }
        for (length, body) in bodies {
            for method in ["GET", "POST", "PUT"] {
                // The server would wait for a missing body, so the client closes its half of the connection instead.
                if length.contains("99999999999") && method == "GET" {
                    continue;
                }
                let admin = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
                let bytes = request(method, &all[0], &admin, length, body);
                look(format!("{method} {route} with {length:.40} {body:?}"), &bytes);
                // A request that is cut off at each eighth of its length leaves nothing behind.
                for eighth in 1..8 {
                    send(&server, &bytes[..bytes.len() * eighth / 8], true);
                }
            }
        }
    }
    assert_eq!(server.get("/healthz").status, 200, "the server continues");
    figure("routes.walked", walked as f64, "requests");
    figure("routes.untyped", untyped.len() as f64, "answers");
    field_fault("F13", walked, untyped.len());
    assert!(untyped.is_empty(), "{} of {walked}: {:#?}", untyped.len(), &untyped[..untyped.len().min(20)]);
    assert!(begin.elapsed() < Duration::from_secs(300));
}

#[test]
fn an_error_has_the_requested_form() {
    let server = Server::start();
    let huge = vec![b' '; 17 << 20];
    let json = ("content-type", "application/json");
    let problem = ("accept", "application/problem+json");
    let mut failing = Vec::new();
    type Headers<'a> = &'a [(&'a str, &'a str)];
    type Case<'a> = (&'a str, &'a str, Headers<'a>, &'a [u8], u16, &'a str);
    let cases: [Case<'_>; 7] = [
        ("POST", "/messages/acme:x:y/z", &[json], &huge, 413, "too-large"),
        ("POST", "/messages/%FF/x", &[json], b"{}", 400, "malformed"),
        ("PUT", "/bundles/acme:repo:x:1.0.0?take-over=maybe", &[], b"{}", 400, "malformed"),
        ("GET", "/mesh", &[], b"", 426, "upgrade-required"),
        ("DELETE", "/healthz", &[], b"", 405, "method-not-allowed"),
        ("PUT", "/events/x", &[], b"", 405, "method-not-allowed"),
        ("GET", "/nowhere", &[], b"", 404, "not-found"),
    ];
    for (method, path, headers, body, status, code) in cases {
        let answer = server.send(method, path, headers, body);
        if (answer.status, answer.header("starlane-code"), answer.json()["code"].as_str()) != (status, code, Some(code))
        {
            failing.push(format!("{method} {path}: {} {}", answer.status, answer.text()));
        }
        let asked: Vec<_> = headers.iter().copied().chain([problem]).collect();
        let answer = server.send(method, path, &asked, body);
        let body = answer.json();
        let right = answer.header("content-type") == "application/problem+json"
            && body["status"] == status
            && body["code"] == code
            && body["title"].is_string()
            && body["detail"].is_string();
        if !right {
            failing.push(format!("{method} {path}: {}", answer.text()));
        }
    }
    assert_eq!(server.send("DELETE", "/healthz", &[], b"").header("allow"), "GET, HEAD");
    let options = server.send("OPTIONS", "/healthz", &[], b"");
    assert_eq!((options.status, options.header("allow")), (204, "GET, HEAD"));
    field_fault("F13", cases.len() * 2, failing.len());
    assert!(failing.is_empty(), "{failing:#?}");
}
