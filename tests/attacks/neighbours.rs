//! Apps of several spaces under one host name. No app can answer the requests of another space's app, or install a
//! service worker for all requests.

use starlane_testkit::attack;
use tempfile::TempDir;

use crate::world::{Server, folder};

/// A bundle that routes these paths to a page.
fn site(routes: &[&str]) -> TempDir {
    let lines: String =
        routes.iter().map(|route| format!("\"GET {route}\" = {{ file = \"site/page.html\" }}\n")).collect();
    let folders = "\"GET /static/{*path}\" = { files = \"site/\" }\n";
    let lines = if routes.is_empty() { folders.to_owned() } else { lines };
    folder(&[
        (
            "bundle.toml",
            "[bundle]\nname = \"site\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"site/**\"]\n",
        ),
        ("app.toml", &format!("[app]\nname = \"site\"\n[http]\n{lines}")),
        ("site/page.html", "<p>page"),
    ])
}

#[test]
fn apps_do_not_answer_requests_of_other_spaces() {
    let server = Server::start();
    let (acme, bob) =
        (server.token_for("acme/ci", &["deploy acme:**"]), server.token_for("bob/ci", &["deploy bob:**"]));
    let mut count = 0;
    let mut create = |token: &str, space: &str, app: &str, routes: &[&str]| {
        count += 1;
        let bundle = format!("{space}:repo:{app}:1.0.{count}");
        server.publish(token, 1, site(routes).path(), &bundle);
        server.create(token, &format!("{space}:{app}"), &bundle)
    };
    assert_eq!(create(&acme, "acme", "pages", &["/people/{name}", "/about"]).status, 200);
    assert_eq!(create(&acme, "acme", "files", &[]).status, 200);
    let taken = [
        "/people/grace",
        "/people/{other}",
        "/{x}/grace",
        "/{*all}",
        "/about",
        "/{x}",
        "/ab{x}",
        "/static/a.js",
        "/static/{x}",
        "/static/deep/{*path}",
        "/{x}/{y}",
    ];
    let mut through = Vec::new();
    for route in taken {
        let answer = create(&bob, "bob", "evil", &[route]);
        if answer.status != 409 || !answer.text().contains("another space") {
            through.push(format!("{route}: {} {}", answer.status, answer.text()));
        }
    }
    attack("A1", taken.len(), through.len());
    // Free routes stay available, and the apps of one space still share routes.
    assert_eq!(create(&bob, "bob", "own", &["/bob/{page}", "/people", "/people/a/b"]).status, 200);
    assert_eq!(create(&acme, "acme", "more", &["/people/ada"]).status, 200);
    // An upgrade has the same check, and the earlier version continues.
    assert_eq!(create(&bob, "bob", "own", &["/bob/{page}", "/about"]).status, 409);
    assert_eq!((server.get("/bob/x").status, server.get("/people/ada").status), (200, 200));
    // A script that a browser requests as a service worker would receive all requests of the origin.
    let worker = server.send("GET", "/bob/sw.js", &[("service-worker", "script")], b"");
    worker.fails(403, "shared-origin");
    let alone = Server::start();
    alone.publish(&alone.token, 1, site(&["/sw.js"]).path(), "acme:repo:site:1.0.0");
    assert_eq!(alone.create(&alone.token, "acme:site", "acme:repo:site:1.0.0").status, 200);
    assert_eq!(alone.send("GET", "/sw.js", &[("service-worker", "script")], b"").status, 200);
}

#[test]
fn connections_accept_only_http_1() {
    let server = Server::start();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let answer = server.raw(preface);
    // An HTTP/2 frame begins with its length, an HTTP/1.1 answer with the protocol's name.
    let is_http_1 = answer.is_empty() || answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.1 5");
    let raw = |target: &str| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: {}\r\nconnection: close\r\n\r\n", server.address());
        server.raw(head.as_bytes())
    };
    let foreign = raw("http://evil.example/healthz");
    let own = raw(&format!("http://{}/healthz", server.address()));
    assert!(own.starts_with("HTTP/1.1 200"), "{own}");
    let through = usize::from(!is_http_1) + usize::from(!foreign.starts_with("HTTP/1.1 403"));
    println!("{} bytes of answer; {}", answer.len(), foreign.lines().next().unwrap_or_default());
    attack("B2", 2, through);
}

#[test]
fn apps_do_not_answer_below_the_servers_own_paths() {
    let server = Server::start();
    server.publish(&server.token, 1, site(&["/{*all}"]).path(), "acme:repo:site:1.0.0");
    assert_eq!(server.create(&server.token, "acme:site", "acme:repo:site:1.0.0").status, 200);
    assert_eq!(server.get("/anything").status, 200);
    let paths = ["/bundles/a/b", "/bundles/", "/mesh/x", "/metrics/x", "/blobs", "/.well-known/starlane.json/x"];
    for path in paths {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = server.send(method, path, &[], b"");
            assert_eq!((answer.status, answer.header("allow")), (404, ""), "{method} {path}: {}", answer.text());
        }
    }
}

/// The second piece of a file begins like the HTTP library's own answer to a malformed request.
#[test]
fn a_file_is_sent_unchanged_even_if_it_looks_like_a_failure() {
    let server = Server::start();
    let like_an_answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let mut different = 0;
    let lengths = [64 << 10, 128 << 10];
    for (number, length) in lengths.into_iter().enumerate() {
        let text = "x".repeat(length) + like_an_answer;
        let made = folder(&[
            (
                "bundle.toml",
                "[bundle]\nname = \"site\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"site/**\"]\n",
            ),
            ("app.toml", "[app]\nname = \"site\"\n[http]\n\"GET /p.png\" = { file = \"site/p.png\" }\n"),
            ("site/p.png", &text),
        ]);
        let bundle = format!("acme:repo:site:1.0.{number}");
        server.publish(&server.token, 1, made.path(), &bundle);
        assert_eq!(server.create(&server.token, "acme:site", &bundle).status, 200);
        different += usize::from(server.get("/p.png").body != text.as_bytes());
    }
    attack("B2", lengths.len(), different);
    // A request that the library itself refuses still gets a failure with a code.
    let refused = server.raw(b"NONSENSE\r\n\r\n");
    assert!(refused.contains("starlane-code: malformed"), "{refused}");
}
