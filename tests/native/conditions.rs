//! Conditional and range requests (RFC 9110, 13 and 14), content codings and cache headers, on every route with a tag.

use starlane_testkit::field_fault;

use crate::world::{Answer, Server, folder};

const BUNDLE: &str =
    "[bundle]\nname = \"x\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"site/**\"]\n";
const APP: &str = "[app]\nname = \"x\"\n[http]\n\"GET /page\" = { file = \"site/index.html\" }\n\"GET /s/{*path}\" = { files = \"site/\" }\n";
const NAME: &str = "acme:repo:x:1.0.0";

/// A server, and all its routes with a tag.
fn site() -> (Server, Vec<String>) {
    let page = format!("<!doctype html><title>t</title><p>{}</p>\n", "0".repeat(400));
    let files = folder(&[
        ("bundle.toml", BUNDLE),
        ("app.toml", APP),
        ("site/index.html", &page),
        ("site/web-component.js", "export const a = 1;\n"),
        ("site/app-settings.json", "{\"v\":1}\n"),
        ("site/app-0a1b2c3d.js", "export const b = 1;\n"),
    ]);
    let server = Server::start();
    server.run_app(files.path(), NAME, "acme:x");
    let blob = server.get("/page").header("etag").trim_matches('"').to_owned();
    let routes = ["/page", "/s/index.html", "/s/web-component.js"].map(str::to_owned);
    let routes = routes.into_iter().chain([format!("/blobs/sha256/{blob}"), format!("/bundles/{NAME}")]);
    (server, routes.collect())
}

#[test]
fn every_route_with_a_tag_follows_the_rfc_for_conditions() {
    let (server, routes) = site();
    let (mut tried, mut failing) = (0, Vec::new());
    for path in &routes {
        let tag = server.get(path).header("etag").to_owned();
        assert!(tag.starts_with('"'), "{path} has the tag {tag}");
        let (weak, other) = (format!("W/{tag}"), "\"other\"".to_owned());
        let listed = format!("\"a,b\" , W/\"c\",{tag}");
        type Headers<'a> = Vec<(&'a str, &'a str)>;
        let cases: Vec<(&str, Headers<'_>, u16)> = vec![
            ("HEAD", vec![("range", "bytes=0-1")], 200),
            ("HEAD", vec![("range", "bytes=999999-")], 200),
            ("HEAD", vec![("if-none-match", &tag)], 304),
            ("HEAD", vec![("if-none-match", &other)], 200),
            ("HEAD", vec![("if-match", &other)], 412),
            ("GET", vec![("if-none-match", &tag)], 304),
            ("GET", vec![("if-none-match", &weak)], 304),
            ("GET", vec![("if-none-match", "*")], 304),
            ("GET", vec![("if-none-match", &listed)], 304),
            ("GET", vec![("if-none-match", &other), ("if-none-match", &tag)], 304),
            ("GET", vec![("if-none-match", &other)], 200),
            ("GET", vec![("if-none-match", tag.trim_matches('"'))], 200),
            ("GET", vec![("if-match", &tag)], 200),
            ("GET", vec![("if-match", "*")], 200),
            ("GET", vec![("if-match", &other), ("if-match", &tag)], 200),
            ("GET", vec![("if-match", &weak)], 412),
            ("GET", vec![("if-match", &other)], 412),
            ("GET", vec![("if-match", &other), ("if-none-match", &tag)], 412),
            ("GET", vec![("if-match", &tag), ("if-none-match", &tag)], 304),
            // The content has no dates, so conditions on dates are ignored.
            ("GET", vec![("if-modified-since", "Fri, 31 Dec 2100 00:00:00 GMT")], 200),
            ("GET", vec![("if-unmodified-since", "Sat, 01 Jan 2000 00:00:00 GMT")], 200),
            ("GET", vec![("range", "bytes=0-1")], 206),
            ("GET", vec![("range", "bytes=0-1"), ("if-range", &tag)], 206),
            ("GET", vec![("range", "bytes=0-1"), ("if-range", &weak)], 200),
            ("GET", vec![("range", "bytes=0-1"), ("if-range", &other)], 200),
            ("GET", vec![("range", "bytes=0-1"), ("if-range", &tag), ("if-range", &other)], 200),
            ("GET", vec![("range", "bytes=0-1"), ("if-range", "Fri, 31 Dec 2100 00:00:00 GMT")], 200),
            ("GET", vec![("range", "bytes=0-1"), ("range", "bytes=2-3")], 200),
            ("GET", vec![("range", "bytes=0-1"), ("if-none-match", &tag)], 304),
            ("GET", vec![("range", "bytes=0-1"), ("if-match", &other)], 412),
            ("GET", vec![("range", "bytes=999999-")], 416),
            ("GET", vec![("range", "bytes=5-1")], 200),
            ("GET", vec![("range", "bytes=-2")], 206),
            ("GET", vec![("range", "bytes=0-1,0-1")], 200),
        ];
        for (method, headers, status) in cases {
            tried += 1;
            let answer = server.send(method, path, &headers, b"");
            let whole = answer.status != 206 || answer.body.len() == 2;
            let typed = answer.status < 400 || !answer.header("starlane-code").is_empty();
            if answer.status != status || !whole || !typed || (answer.status == 304 && answer.header("etag") != tag) {
                failing.push(format!("{method} {path} {headers:?}: {}, not {status}", answer.status));
            }
        }
    }
    println!("{failing:#?}");
    field_fault("F9", tried, failing.len());
}

/// The headers that a 200 and its 304 have in common (RFC 9110, 15.4.5).
fn shared(answer: &Answer) -> Vec<(&'static str, String)> {
    let all = |name| {
        let lines = answer.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_lowercase());
        let mut parts: Vec<String> =
            lines.flat_map(|line| line.split(", ").map(str::to_owned).collect::<Vec<_>>()).collect();
        parts.sort();
        parts.dedup();
        parts.join(", ")
    };
    ["vary", "etag", "cache-control", "content-security-policy"].map(|name| (name, all(name))).to_vec()
}

#[test]
fn encoded_bytes_have_their_own_tag_and_a_304_repeats_the_headers_of_its_200() {
    let (server, routes) = site();
    let (mut tried, mut failing) = (0, Vec::new());
    for path in &routes {
        let plain = server.send("GET", path, &[("accept-encoding", "identity")], b"");
        for method in ["GET", "HEAD"] {
            for encoding in ["gzip", "identity", "gzip;q=0", "br, gzip"] {
                tried += 1;
                let whole = server.send(method, path, &[("accept-encoding", encoding)], b"");
                let tag = whole.header("etag").to_owned();
                let encoded = !whole.header("content-encoding").is_empty();
                if encoded == (tag == plain.header("etag")) {
                    failing.push(format!("{method} {path} {encoding}: encoded {encoded}, {tag}"));
                }
                let known = server.send(method, path, &[("accept-encoding", encoding), ("if-none-match", &tag)], b"");
                if known.status != 304 || shared(&whole) != shared(&known) {
                    failing.push(format!("{method} {path} {encoding}: {:?} {:?}", shared(&whole), shared(&known)));
                }
                if !shared(&whole)[0].1.contains("accept-encoding") {
                    failing.push(format!("{method} {path} {encoding}: no vary"));
                }
            }
        }
    }
    let packed = server.send("GET", "/page", &[("accept-encoding", "gzip")], b"");
    assert_eq!((packed.header("content-encoding"), &packed.header("etag")[..3]), ("gzip", "W/\""));
    println!("{failing:#?}");
    field_fault("F10", tried, failing.len());
}

/// The headers of an answer, except those that depend on the time or the connection.
fn lasting(answer: &Answer) -> Vec<(String, String)> {
    let passing = ["date", "connection", "transfer-encoding"];
    let all = answer.headers.iter().filter(|(name, _)| !passing.contains(&name.as_str()));
    let mut all: Vec<_> = all.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    all.sort();
    all
}

#[test]
fn head_has_the_status_and_headers_of_get_and_no_body() {
    let (server, routes) = site();
    let others = ["/healthz", "/readyz", "/.well-known/starlane.json", "/s/absent", "/absent", "/bundles/no"];
    for path in routes.iter().map(String::as_str).chain(others) {
        for encoding in ["gzip", "identity", ""] {
            let headers = if encoding.is_empty() { vec![] } else { vec![("accept-encoding", encoding)] };
            let (get, head) = (server.send("GET", path, &headers, b""), server.send("HEAD", path, &headers, b""));
            assert_eq!((head.status, lasting(&head)), (get.status, lasting(&get)), "{path} {encoding}");
            assert_eq!(head.body.len(), 0, "{path} {encoding}");
        }
    }
}

#[test]
fn only_a_name_with_a_hash_is_immutable() {
    let (server, _) = site();
    let kept = |name: &str| server.send("HEAD", &format!("/s/{name}"), &[], b"").header("cache-control").to_owned();
    let plain = ["web-component.js", "app-settings.json", "index.html"];
    let failing = plain.iter().filter(|name| kept(name) != "no-cache").count();
    field_fault("F7", plain.len() + 1, failing + usize::from(!kept("app-0a1b2c3d.js").contains("immutable")));
    assert_eq!(failing, 0);
    assert!(kept("app-0a1b2c3d.js").contains("immutable"));
}
