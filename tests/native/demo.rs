//! The demo's bundle on the real server.

use std::{fs, path::Path};

use serde_json::json;
use starlane_testkit::guest;

use crate::{peer::Peer, world::Server};

const BUNDLE: &str = "acme:repo:profiles:0.1.0";
const APP: &str = "acme:profiles";
const DIRECTORY: &str = "acme:profiles:directory";

/// `www/bundle` with its modules, and with a page if none was built.
fn demo() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../www/bundle");
    for name in ["bundle.toml", "app.toml"] {
        fs::copy(source.join(name), folder.path().join(name)).unwrap();
    }
    for name in ["binds", "mechtrons", "schemas", "migrations", "templates"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
        for entry in fs::read_dir(source.join(name)).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), folder.path().join(name).join(entry.file_name())).unwrap();
        }
    }
    for name in ["site/assets", "site/samples", "wasm"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    for name in ["site/index.html", "site/sw.js", "site/assets/a.css", "site/samples/ada.md"] {
        fs::write(folder.path().join(name), "demo").unwrap();
    }
    for name in ["profile", "directory"] {
        fs::copy(guest(name), folder.path().join(format!("wasm/{name}.wasm"))).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_profile_is_saved_announced_and_served_as_a_page() {
    let mut server = Server::start();
    server.run_app(demo().path(), BUNDLE, APP);
    let mut page = Peer::link(&server, 1, None).await;
    page.subscribe(&format!("{DIRECTORY}#changes")).await;
    let saved = server.ask(DIRECTORY, "save", &json!({ "name": "ada", "markdown": "# Ada\n\nShe wrote **Note G**." }));
    assert_eq!(saved.status, 200, "{}", saved.text());
    let change = page.event().await;
    assert!(change.to_string().contains("ada"), "{change}");
    let rendered = server.ask("acme:profiles:profile:ada", "render", &json!({ "markdown": "**Note G**" }));
    assert_eq!((rendered.status, rendered.header("content-type")), (200, "text/html"));
    assert!(rendered.text().contains("<strong>Note G</strong>"), "{}", rendered.text());
    for restarted in [false, true] {
        if restarted {
            server.restart();
        }
        let page = server.get("/people/ada");
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.text().contains("<strong>Note G</strong>"), "{}", page.text());
        assert!(page.header("content-security-policy").starts_with("sandbox"));
    }
    assert_eq!(server.get("/people/nobody").status, 404);
}
