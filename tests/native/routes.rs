//! The routes of apps: files of the bundle, and resources.

use crate::world::{Server, echo_bundle, folder};

const ROUTES: &str = r#"
[http]
"GET /" = { file = "site/index.html" }
"GET /assets/{*path}" = { files = "site/assets/" }
"GET /echo/{name}" = { to = ".:echo", operation = "echo" }
"GET /echo/ada" = { file = "site/assets/plain.txt" }
"GET /about" = { to = ".:echo", operation = "about" }
"GET /fail" = { to = ".:echo", operation = "fail" }
"POST /say" = { to = ".:echo", operation = "echo", access = "public" }
"POST /page" = { to = ".:echo", operation = "page", access = "public" }
"POST /secret" = { to = ".:echo", operation = "about" }
"#;

fn site() -> Server {
    let server = Server::start();
    server.run_app(echo_bundle(ROUTES).path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    server
}

#[test]
fn a_file_has_a_type_and_a_tag_and_is_sent_only_if_changed() {
    let server = site();
    let page = server.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    for part in ["script-src 'self' 'wasm-unsafe-eval'", "object-src 'none'", &format!("ws://{}", server.address())] {
        assert!(policy.contains(part), "{policy}");
    }
    assert_eq!(page.header("cache-control"), "no-cache");
    let tag = page.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.len() == 66, "{tag}");
    for known in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}")] {
        let again = server.send("GET", "/", &[("if-none-match", &known)], b"");
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
    }
    assert_eq!(server.send("GET", "/", &[("if-none-match", "\"other\"")], b"").status, 200);
    let head = server.send("HEAD", "/", &[], b"");
    assert_eq!((head.status, head.body.len(), head.header("etag")), (200, 0, tag.as_str()));
}

#[test]
fn a_valid_range_of_a_file_is_sent() {
    let server = site();
    let whole = "console.log(1);\n";
    let path = "/assets/app-0a1b2c3d.js";
    let tag = server.get(path).header("etag").to_owned();
    let beyond = server.send("GET", path, &[("range", "bytes=16-")], b"");
    beyond.fails(416, "range-not-satisfiable");
    assert_eq!(beyond.header("content-range"), "bytes */16");
    for (headers, status, content_range, body) in [
        (&[("range", "bytes=0-6")][..], 206, "bytes 0-6/16", "console"),
        (&[("range", "bytes=8-")], 206, "bytes 8-15/16", "log(1);\n"),
        (&[("range", "bytes=-3")], 206, "bytes 13-15/16", ");\n"),
        (&[("range", "bytes=0-999")], 206, "bytes 0-15/16", whole),
        (&[("range", "bytes=-999")], 206, "bytes 0-15/16", whole),
        (&[("range", "bytes=0-0"), ("if-range", &tag)], 206, "bytes 0-0/16", "c"),
        (&[("range", "bytes=0-0"), ("if-range", "\"other\"")], 200, "", whole),
        (&[("range", "bytes=0-1,4-5")], 200, "", whole),
        (&[("range", "lines=1-2")], 200, "", whole),
        (&[("range", "bytes=x")], 200, "", whole),
        (&[("range", "bytes=0-0"), ("if-none-match", &tag)], 304, "", ""),
        (&[], 200, "", whole),
    ] {
        let answer = server.send("GET", path, headers, b"");
        let seen = (answer.status, answer.header("content-range"), answer.text());
        assert_eq!(seen, (status, content_range, body.to_owned()), "{headers:?}");
        if status == 206 {
            assert_eq!((answer.header("accept-ranges"), answer.header("etag")), ("bytes", tag.as_str()));
        }
    }
}

#[test]
fn a_folder_serves_only_its_own_files() {
    let server = site();
    let script = server.get("/assets/app-0a1b2c3d.js");
    assert_eq!((script.status, script.text().as_str()), (200, "console.log(1);\n"));
    assert!(script.header("content-type").contains("javascript"), "{}", script.header("content-type"));
    assert!(script.header("cache-control").contains("immutable"));
    assert_eq!(server.get("/assets/plain.txt").header("cache-control"), "no-cache");
    let wrong = [
        "/assets/",
        "/assets/none.js",
        "/assets/../index.html",
        "/assets/%2e%2e/index.html",
        "/assets/..%2findex.html",
    ];
    for path in wrong {
        let answer = server.get(path);
        assert!(answer.status == 404 || !answer.text().contains("Echoes"), "{path}: {}", answer.text());
    }
}

#[test]
fn the_most_literal_route_answers() {
    let server = site();
    assert_eq!(server.get("/echo/ada").text(), "plain\n");
    assert_eq!(server.get("/echo/grace").json(), serde_json::json!({ "name": "grace" }));
}

#[test]
fn a_resources_request_combines_body_query_and_path() {
    let server = site();
    let answer = server.get("/echo/gr%C3%A4ce?page=2&name=query&q=a+b");
    assert_eq!(answer.json(), serde_json::json!({ "name": "gräce", "page": "2", "q": "a b" }));
    let json = [("content-type", "application/json")];
    let answer = server.send("POST", "/say?page=2", &json, br#"{"page": 1, "text": "hi"}"#);
    assert_eq!(answer.json(), serde_json::json!({ "page": "2", "text": "hi" }));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = server.send("POST", "/say?page=2", &form, b"page=1&text=a+b%21");
    assert_eq!(answer.json(), serde_json::json!({ "page": "2", "text": "a b!" }));
    // Without parameters the body is passed unchanged. With parameters, a body that cannot contain them is refused.
    assert_eq!(server.send("POST", "/say", &json, b"[1]").text(), "[1]");
    for (body, told) in
        [(&b"[1]"[..], "not a JSON object"), (br#"{"text": 1, "text": 2}"#, "twice"), (b"{", "not a JSON object")]
    {
        let refused = server.send("POST", "/say?page=2", &json, body).fails(400, "malformed");
        assert!(refused.contains(told), "{refused}");
    }
    let about = server.send("GET", "/about", &[("starlane-caller", "admin"), ("accept-language", "de")], b"").json();
    assert_eq!(about["caller"], "http:acme:echoes");
    assert!(about["sender"].as_str().unwrap().ends_with("acme:echoes:http"), "{about}");
    let headers = about["headers"].to_string();
    assert!(headers.contains("accept-language") && !headers.contains("starlane-"), "{headers}");
}

#[test]
fn replies_of_mechtrons_run_no_code_in_a_browser() {
    let server = site();
    for content_type in ["text/html", "image/svg+xml", "text/xml"] {
        let page = server.send("POST", "/say", &[("content-type", content_type)], b"<script>alert(1)</script>");
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.header("content-type").starts_with(content_type));
        assert!(page.header("content-security-policy").starts_with("sandbox; default-src 'none'"), "{content_type}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
    }
}

#[test]
fn headers_cookies_and_status_are_passed_both_ways() {
    let server = site();
    let asked = [("cookie", "a=1; b=2"), ("x-own", "yes"), ("authorization", "Bearer x"), ("starlane-status", "201")];
    let about = server.send("GET", "/about", &asked, b"").json()["headers"].to_string();
    assert!(about.contains("a=1; b=2") && about.contains("x-own"), "{about}");
    assert!(!about.contains("Bearer") && !about.contains("starlane-"), "{about}");
    let page = |headers: &str| {
        let body = format!(r#"{{"headers": {headers}, "body": "<p>hi</p>"}}"#);
        server.send("POST", "/page", &[("content-type", "application/json")], body.as_bytes())
    };
    let answer = page(
        r#"[["starlane-status", "303"], ["location", "/echo/ada"], ["set-cookie", "a=1; HttpOnly"], ["set-cookie", "b=2"],
            ["etag", "\"1\""], ["x-own", "1"], ["connection", "upgrade"], ["content-length", "1"]]"#,
    );
    assert_eq!((answer.status, answer.text().as_str()), (303, "<p>hi</p>"));
    assert_eq!((answer.header("location"), answer.header("x-own")), ("/echo/ada", "1"));
    let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
    assert_eq!(cookies, ["a=1; HttpOnly", "b=2"]);
    assert!(answer.header("content-security-policy").starts_with("sandbox"));
    let own_policy = page(r#"[["content-security-policy", "default-src 'self'"]]"#);
    assert_eq!(own_policy.header("content-security-policy"), "default-src 'self'", "its author's own decision");
    page(r#"[["starlane-status", "99"]]"#).fails(500, "guest-failed");
}

#[test]
fn long_answers_are_compressed_for_clients_that_accept_it() {
    let server = site();
    let text = format!(r#"{{"headers": [], "body": "{}"}}"#, "profile ".repeat(1_000));
    let post = |encoding: &str| {
        let headers = [("content-type", "application/json"), ("accept-encoding", encoding)];
        server.send("POST", "/page", &headers, text.as_bytes())
    };
    let packed = post("gzip");
    assert_eq!((packed.header("content-encoding"), packed.body.get(..2)), ("gzip", Some(&[0x1f, 0x8b][..])));
    assert!(packed.body.len() < 500, "{} bytes", packed.body.len());
    for encoding in ["identity", "br;q=0", "x-unknown"] {
        let plain = post(encoding);
        assert_eq!((plain.header("content-encoding"), plain.body.len()), ("", 8_000), "{encoding}");
    }
}

#[test]
fn a_space_answers_for_its_own_host_names() {
    let server = Server::start_with(|config| {
        config.spaces = [("acme", vec!["acme.test", "www.acme.test:8080", "shop.test:80"])]
            .map(|(space, names)| (space.parse().unwrap(), names.iter().map(|name| name.parse().unwrap()).collect()))
            .into();
    });
    server.run_app(echo_bundle(ROUTES).path(), "acme:repo:echoes:1.0.0", "acme:echoes");
    let other = folder(&[
        ("bundle.toml", "[bundle]\nname = \"x\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n"),
        ("app.toml", "[app]\nname = \"x\"\n[http]\n\"GET /\" = { file = \"site/x.html\" }\n"),
        ("site/x.html", "other"),
    ]);
    server.run_app(other.path(), "other:repo:x:1.0.0", "other:x");
    let at = |host: &str| server.send("GET", "/", &[("host", host)], b"");
    // A default port means the same whether it is written or not, both in settings and in requests.
    for host in ["acme.test", "acme.test:80", "www.acme.test:8080", "shop.test", "shop.test:80"] {
        assert!(at(host).text().contains("Echoes"), "{host}: {}", at(host).text());
    }
    assert_eq!(server.get("/").text(), "other", "the same route, under the other names");
    at("other.test").fails(403, "host-refused");
}

#[test]
fn routes_other_than_get_need_a_token_unless_they_are_public() {
    let server = site();
    server.send("POST", "/secret", &[], b"").fails(401, "auth-refused");
    assert_eq!(server.admin("POST", "/secret", &[], b"").json()["caller"], "admin");
    assert_eq!(server.send("POST", "/say", &[], b"").status, 200);
}

#[test]
fn failures_are_pages_for_browsers_and_json_for_programs() {
    let server = site();
    server.get("/fail").fails(418, "asked-for");
    let page = server.send("GET", "/fail", &[("accept", "text/html,*/*;q=0.8")], b"");
    assert_eq!((page.status, page.header("content-type")), (418, "text/html; charset=utf-8"));
    assert!(page.text().contains("this was asked for"));
    let page = server.send("GET", "/%3Cscript%3E%22", &[("accept", "text/html")], b"");
    assert!(!page.text().contains("<script>"), "{}", page.text());
    server.get("/nowhere").fails(404, "not-found");
}

#[test]
fn an_empty_server_explains_the_first_step() {
    let server = Server::start();
    let page = server.send("GET", "/", &[("accept", "text/html")], b"");
    assert_eq!(page.status, 404);
    assert!(page.text().contains("starlane publish"), "{}", page.text());
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn two_apps_cannot_have_the_same_route() {
    let server = site();
    let other = folder(&[
        ("bundle.toml", "[bundle]\nname = \"x\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n"),
        ("app.toml", "[app]\nname = \"x\"\n[http]\n\"GET /\" = { file = \"site/x.html\" }\n"),
        ("site/x.html", "other"),
    ]);
    server.publish(other.path(), "acme:repo:x:1.0.0");
    server.create("acme:x", "acme:repo:x:1.0.0").fails(409, "conflict");
    assert!(server.get("/").text().contains("Echoes"));
}

#[test]
fn a_route_conflict_names_the_other_app() {
    let server = Server::start();
    let with_route = echo_bundle("[http]\n\"GET /other\" = { to = \".:echo\", operation = \"about\" }\n");
    server.run_app(with_route.path(), "bob:repo:other:1.0.0", "bob:other");
    server.run_app(echo_bundle("").path(), "acme:repo:echoes:1.0.0", "acme:profiles");
    server.publish(with_route.path(), "acme:repo:echoes:1.0.1");
    // New and upgraded apps that sort before and after bob:other.
    for app in ["acme:profiles", "acme:p4", "carol:p4"] {
        let told = server.create(app, "acme:repo:echoes:1.0.1").fails(409, "conflict");
        assert!(told.contains("app bob:other of another space has the route `GET /other`"), "{app}: {told}");
    }
    assert_eq!(server.get("/other").status, 200);
}
