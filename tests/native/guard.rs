//! Tests which clients can use the server.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use starlane_protocol::frame::Frame;
use starlane_server::{BUILT_IN, Limit};
use starlane_testkit::figure;

use crate::{
    peer::Peer,
    world::{LONG, Server, raw},
};

const UPGRADE: &str = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: starlane.v1\r\n";
const CLOSE: &str = "Connection: close\r\n";

/// Every route of the server, and some paths without a route, as request lines.
fn routes() -> Vec<(String, &'static str)> {
    let filled = |path: &str| {
        let path = path.replace("{address}/{operation}", "starlane:apps/list").replace("{digest}", &"0".repeat(64));
        path.replace("{address}", "acme:repo:x:1.0.0").replace("{topic}", "acme:x%23changes")
    };
    let mut lines: Vec<(String, &'static str)> = Vec::new();
    for (method, path) in BUILT_IN {
        let path = filled(path);
        assert!(!path.contains('{'), "{path} has a name that this test does not fill");
        let methods: &[&str] = if *method == "GET" { &["GET", "HEAD", "OPTIONS"] } else { &[method, "OPTIONS"] };
        for method in methods {
            let headers = if path == "/mesh" && *method == "GET" { UPGRADE } else { CLOSE };
            lines.push((format!("{method} {path}"), headers));
        }
    }
    let nowhere = ["GET /", "GET /no/such/page", "POST /"];
    lines.extend(nowhere.map(|line| (line.to_owned(), CLOSE)));
    lines
}

#[test]
fn a_foreign_host_or_origin_gets_403_on_every_route() {
    let server = Server::start();
    let own = server.address().to_owned();
    let port = own.rsplit(':').next().unwrap().to_owned();
    let hosts = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1".to_owned(),
        format!("127.0.0.1:{port}0"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("LOCALHOST:{port}"),
        format!("localhost.:{port}"),
        format!("user@127.0.0.1:{port}"),
        format!("127.0.0.2:{port}"),
        format!("0.0.0.0:{port}"),
        format!("127.1:{port}"),
        format!("2130706433:{port}"),
        format!("0x7f000001:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("rebound.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("sub.localhost:{port}"),
        format!("xlocalhost:{port}"),
        format!("xn--localhost-9za:{port}"),
        "".to_owned(),
    ];
    let origins = [
        "null".to_owned(),
        "http://evil.example".to_owned(),
        format!("https://{own}"),
        format!("http://{own}.evil.example"),
        format!("http://{own}/"),
        format!("HTTP://{own}"),
        "http://localhost".to_owned(),
        format!("http://xn--localhost-9za:{port}"),
        format!("http://{own}0"),
        format!("http://evil.{own}"),
        format!("http://x{own}"),
        format!("http://127.0.0.1.evil.example:{port}"),
        format!("http://sub.localhost:{port}"),
        format!("http://LOCALHOST:{port}"),
        format!("http://user@{own}"),
        format!("ws://{own}"),
        format!("file://{own}"),
        format!("http://{own} http://evil.example"),
        own.clone(),
        "".to_owned(),
    ];
    assert!(hosts.len() + origins.len() >= 40);
    let (mut tried, mut accepted) = (0, Vec::new());
    for (line, headers) in routes() {
        tried += hosts.len() + origins.len();
        for host in &hosts {
            let answer = raw(&server, &format!("{line} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n"));
            // The HTTP library can refuse a text that is not a host.
            let refused = answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 400");
            if !refused {
                accepted.push(format!("{line} with Host {host}: {answer}"));
            }
        }
        for origin in &origins {
            let answer = raw(&server, &format!("{line} HTTP/1.1\r\nHost: {own}\r\nOrigin: {origin}\r\n{headers}\r\n"));
            if !answer.starts_with("HTTP/1.1 403") {
                accepted.push(format!("{line} with Origin {origin}: {answer}"));
            }
        }
    }
    figure::figure("origins.tried", tried as f64, "requests");
    figure::figure("origins.accepted-wrongly", accepted.len() as f64, "requests");
    assert!(accepted.is_empty(), "{accepted:#?}");
    let two = format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n{CLOSE}\r\n");
    assert!(!raw(&server, &two).starts_with("HTTP/1.1 2"));
    let two =
        format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\nOrigin: http://evil\r\n{CLOSE}\r\n");
    assert!(raw(&server, &two).starts_with("HTTP/1.1 403"));
}

#[test]
fn a_refusal_names_the_flag_that_would_allow_it() {
    let server = Server::start();
    let own = server.address();
    let answer = raw(&server, &format!("GET / HTTP/1.1\r\nHost: mesh.test\r\n{CLOSE}\r\n"));
    assert!(answer.contains("--allow-host mesh.test"), "{answer}");
    let answer = raw(&server, &format!("GET / HTTP/1.1\r\nHost: {own}\r\nOrigin: http://a.test\r\n{CLOSE}\r\n"));
    assert!(answer.contains("--allow-origin http://a.test"), "{answer}");
}

#[test]
fn allowed_origins_are_admitted_and_reported_to_browsers() {
    let server = Server::start_with(|config| {
        config.allow_hosts.push("mesh.test".parse().unwrap());
        config.allow_origins.push("http://localhost:5173".parse().unwrap());
    });
    let own = server.address();
    let answer = raw(&server, &format!("GET /healthz HTTP/1.1\r\nHost: mesh.test\r\n{CLOSE}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for origin in ["http://localhost:5173", &format!("http://{own}"), "http://mesh.test"] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\nOrigin: {origin}\r\n{CLOSE}\r\n");
        let answer = raw(&server, &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{origin}: {answer}");
        assert!(answer.contains(&format!("access-control-allow-origin: {origin}\r\n")), "{answer}");
        assert!(answer.contains("starlane-signature"), "a page can read the signature: {answer}");
    }
    let preflight = format!(
        "OPTIONS /messages/starlane:apps/list HTTP/1.1\r\nHost: {own}\r\nOrigin: http://localhost:5173\r\n\
         Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization, content-type\r\n{CLOSE}\r\n"
    );
    let answer = raw(&server, &preflight);
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("authorization"), "{answer}");
    let answer = raw(&server, &format!("GET /mesh HTTP/1.1\r\nHost: {own}\r\nOrigin: http://{own}\r\n{CLOSE}\r\n"));
    assert!(answer.starts_with("HTTP/1.1 4") && !answer.starts_with("HTTP/1.1 403"), "{answer}");
}

#[test]
fn an_idle_connection_outlasts_the_timeout_of_a_head() {
    let server = Server::start();
    let own = server.address();
    let mut stream = TcpStream::connect(own).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    let mut failing = 0;
    for round in 0..3 {
        // Before the second request, the connection is idle for longer than the timeout of a head. The third head
        // arrives in two parts.
        if round == 1 {
            std::thread::sleep(Duration::from_millis(5_600));
        }
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\n\r\n");
        let (one, other) = request.split_at(if round == 2 { 20 } else { 0 });
        let _ = stream.write_all(one.as_bytes()).and_then(|()| stream.write_all(other.as_bytes()));
        let mut answer = [0; 4_096];
        let length = stream.read(&mut answer).unwrap_or_default();
        failing += usize::from(!answer[..length].starts_with(b"HTTP/1.1 200"));
    }
    // The timeout of a head starts at its first byte.
    stream.write_all(b"GET ").unwrap();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    failing += usize::from(!rest.starts_with("HTTP/1.1 408"));
    starlane_testkit::field_fault("F14", 4, failing);
    assert_eq!(failing, 0, "{rest}");
}

#[test]
fn a_server_on_the_default_port_accepts_its_name_without_the_port() {
    // An address that no other test uses. Where ports below 1024 require privileges, only the guard's unit test covers
    // this.
    let listen = "127.0.0.80:80";
    if std::net::TcpListener::bind(listen).is_err() {
        return;
    }
    let server = Server::start_with(|config| {
        config.listen = listen.parse().unwrap();
        config.allow_hosts = vec!["mesh.test".parse().unwrap(), "other.test:80".parse().unwrap()];
        config.allow_origins = vec!["http://page.test:80".parse().unwrap()];
    });
    let cases = [
        ("127.0.0.80", ""),
        ("127.0.0.80:80", ""),
        ("localhost", "http://localhost"),
        ("localhost:80", "http://localhost:80"),
        ("mesh.test:80", "http://mesh.test"),
        ("other.test", "http://other.test"),
        ("localhost", "http://page.test"),
    ];
    let refused = |(host, origin): &&(&str, &str)| {
        let origin = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        let answer = raw(&server, &format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n{origin}{CLOSE}\r\n"));
        !answer.starts_with("HTTP/1.1 200")
    };
    let failing = cases.iter().filter(refused).count();
    starlane_testkit::field_fault("F16", cases.len(), failing);
    assert_eq!(failing, 0);
}

#[test]
fn the_scheme_bearer_is_accepted_in_any_case_with_extra_spaces() {
    let server = Server::start();
    let tried = ["Bearer", "bearer", "BEARER", "BeArEr"]
        .map(|scheme| [" ", "  ", "     "].map(|gap| format!("{scheme}{gap}{}", server.token)));
    let refused = |text: &&String| server.send("GET", "/bundles", &[("authorization", text)], b"").status != 200;
    let failing = tried.as_flattened().iter().filter(refused).count();
    starlane_testkit::field_fault("F8", tried.as_flattened().len(), failing);
    assert_eq!(failing, 0);
}

#[test]
fn a_server_is_ready_when_its_storage_is_ready() {
    let server = Server::start();
    assert_eq!((server.get("/readyz").status, server.get("/healthz").status), (200, 200));
    let (data, moved) = (server.config.data.clone(), server.config.data.with_extension("moved"));
    std::fs::rename(&data, &moved).unwrap();
    // The result is reused for a second.
    let begin = Instant::now();
    while server.get("/readyz").status == 200 {
        assert!(begin.elapsed() < LONG);
        std::thread::sleep(Duration::from_millis(50));
    }
    let told = server.get("/readyz").fails(503, "not-ready");
    assert!(told.contains("data folder"), "{told}");
    assert_eq!(server.get("/healthz").status, 200, "the server is alive");
    std::fs::rename(&moved, &data).unwrap();
}

/// Silent sockets: plain connections, half a request, and links without a hello.
#[test]
fn silent_sockets_are_closed_in_5_s_and_500_of_them_do_not_delay_others() {
    let server = Server::start();
    let own = server.address();
    let begin = Instant::now();
    let half = format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\n");
    let link = format!("GET /mesh HTTP/1.1\r\nHost: {own}\r\n{UPGRADE}\r\n").replace("Upgrade, close", "Upgrade");
    let mut silent: Vec<TcpStream> = (0..500)
        .map(|number| {
            let mut stream = TcpStream::connect(own).unwrap();
            match number % 5 {
                0 => stream.write_all(half.as_bytes()).unwrap(),
                1 => stream.write_all(link.as_bytes()).unwrap(),
                _ => {}
            }
            stream
        })
        .collect();
    // Meanwhile, other requests are sent one after the other.
    let healthz = format!("GET /healthz HTTP/1.1\r\nHost: {own}\r\n{CLOSE}\r\n");
    let over = AtomicBool::new(false);
    let (answered, unanswered) = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let (mut answered, mut unanswered) = (0, 0);
            while !over.load(Relaxed) {
                let is_ok = raw(&server, &healthz).starts_with("HTTP/1.1 200");
                *if is_ok { &mut answered } else { &mut unanswered } += 1;
            }
            (answered, unanswered)
        });
        for (number, stream) in silent.iter_mut().enumerate() {
            stream.set_read_timeout(Some(LONG)).unwrap();
            let mut rest = Vec::new();
            let ended = stream.read_to_end(&mut rest);
            assert!(ended.is_ok(), "socket {number} is still open after {:?}: {ended:?}", begin.elapsed());
        }
        over.store(true, Relaxed);
        others.join().unwrap()
    });
    let took = begin.elapsed();
    figure::figure("silent.closed", took.as_millis() as f64, "ms");
    assert!(took > Duration::from_secs(4), "they had enough time: {took:?}");
    assert!(answered > 0 && unanswered == 0, "{unanswered} of {} others were not answered", answered + unanswered);
}

#[test]
fn behind_a_proxy_pages_use_https_and_every_caller_needs_a_token() {
    let server = Server::start_with(|config| {
        config.behind_proxy = true;
        config.allow_hosts = vec!["mesh.test".parse().unwrap()];
    });
    let get = |origin: &str| server.send("GET", "/healthz", &[("host", "mesh.test"), ("origin", origin)], b"").status;
    assert_eq!((get("https://mesh.test"), get("http://mesh.test")), (200, 403));
    server.ask("starlane:apps", "list", &serde_json::json!({})).fails(401, "auth-refused");
    server.get("/metrics").fails(401, "auth-refused");
    assert_eq!(server.admin("GET", "/metrics", &[], b"").status, 200);
}

#[tokio::test]
async fn the_links_and_messages_of_a_principal_are_limited() {
    let server = Server::start_with(|config| {
        config.limits.set(Limit::Links, 2).unwrap();
        config.limits.set(Limit::MessagesPerSecond, 50).unwrap();
    });
    let mut links = vec![Peer::link(&server, 1, None).await, Peer::link(&server, 2, None).await];
    let mut third = Peer::dial(&server).await;
    third.hello(3, None).await;
    assert_eq!(third.closed(LONG).await.goodbye.as_deref(), Some("too-many"));
    links.pop();
    // They are sent without waiting for answers, so that their rate does not depend on the latency.
    let link = &mut links[0];
    for _ in 0..400 {
        link.ask("starlane:apps", "list", &serde_json::Value::Null).await;
    }
    let (mut answered, mut codes) = (0, Vec::new());
    while answered < 400 {
        // Refused messages are answered sooner.
        if let Frame::Response { outcome, .. } = link.next().await.unwrap() {
            answered += 1;
            codes.extend(outcome.0.err().map(|failure| failure.code));
        }
    }
    assert!(!codes.is_empty() && codes.iter().all(|code| code == "too-many"), "{codes:?}");
    let mut admin = Peer::link(&server, 4, Some(&server.token)).await;
    admin.works().await;
}

#[test]
fn metrics_count_what_happens() {
    let server = Server::start();
    server.run_app(crate::world::echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let value = |name: &str| -> f64 {
        let text = server.get("/metrics").text();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        line.unwrap_or_else(|| panic!("{name} is not in {text}")).rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (replies, crashes) = (value("starlane_replies_total"), value("starlane_crashes_total"));
    for _ in 0..3 {
        assert_eq!(server.ask("acme:echoes:echo", "echo", &serde_json::json!("hi")).status, 200);
    }
    server.ask("acme:echoes:echo", "trap", &serde_json::json!({}));
    assert_eq!(value("starlane_replies_total") - replies, 3.0);
    assert_eq!(value("starlane_crashes_total") - crashes, 1.0);
    assert!(value("starlane_guest_seconds_total") > 0.0);
    assert_eq!(value("starlane_apps"), 1.0);
    assert!(value("starlane_request_duration_seconds_bucket{le=\"+Inf\"}") >= replies + 4.0);
}
