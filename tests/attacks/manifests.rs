//! Attacks of a tenant that can deploy in its own space and signs manifests by hand. A server accepts only manifests
//! that authors can write.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use starlane_bundle::{Digest, SecretKey, SignedManifest, authoring::Draft, schema};
use starlane_protocol::Address;
use starlane_testkit::{
    attack, field_fault,
    figure::{Sizes, figure},
    mutate::mutations,
};

use crate::{
    rights::with_bobs,
    world::{Server, echo_bundle},
};

const OWN: &[&str] = &["deploy acme:**"];
/// One of so many mutations is published.
const STEP: Sizes = Sizes { ci: 3, full: 1 };

fn key() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

fn signed(manifest: &Value) -> SignedManifest {
    let bytes = manifest.to_string().into_bytes();
    SignedManifest { signature: key().sign(&bytes), bytes }
}

/// The contents of a folder's manifest for an address.
fn contents(folder: &Path, bundle: &str) -> Value {
    let draft = Draft::read(folder).unwrap();
    serde_json::to_value(draft.contents(&Address::parse(bundle).unwrap(), key().public(), 1_700_000_000)).unwrap()
}

/// All files below a folder, by their paths in it.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut files = BTreeSet::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.is_dir() {
                true => folders.push(path),
                false => drop(files.insert(path.strip_prefix(root).unwrap().to_owned())),
            }
        }
    }
    files
}

/// The bundle of the attacks, with everything that a tenant can write.
fn everything() -> tempfile::TempDir {
    let bundle = echo_bundle(
        "allow = [\"request .:db query\", \"subscribe .:echo#said\"]\nsettings = { a = 1 }\n\
         [mechtrons.\"page:{key}\"]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"both\"\noverride = true\n\
         [resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n\
         [resources.drafts]\nkind = \"database\"\nplacement = \"server\"\n\
         [http]\n\"GET /own\" = { file = \"site/index.html\" }\n\"GET /own/s/{*path}\" = { files = \"site/\" }\n\
         \"GET /own/q\" = { to = \".:db\", operation = \"query\" }\n\
         \"POST /own/{name}\" = { to = \".:page:{name}\", operation = \"echo\", access = \"token\" }\n",
    );
    fs::create_dir_all(bundle.path().join("migrations")).unwrap();
    fs::write(bundle.path().join("migrations/1.sql"), "CREATE TABLE t (x);").unwrap();
    bundle
}

#[test]
fn publishing_refuses_everything_that_authors_are_refused() {
    let server = Server::start();
    let tenant = server.token_for("mallory", OWN);
    let bundle = everything();
    let draft = Draft::read(bundle.path()).unwrap();
    server.upload(&tenant, &draft);
    let module = Digest::of(&fs::read(bundle.path().join("wasm/echo.wasm")).unwrap()).to_string();
    let manifest = contents(bundle.path(), "acme:repo:m:1.0.0");
    let before = files(server.folder());
    let (mut tried, mut taken, mut made, mut wrong) = (0, 0, 0, Vec::new());
    for (at, mutation) in mutations(&manifest).into_iter().enumerate().step_by(STEP.of_this_run()) {
        // Each version has its own address: what is refused is refused for what it says.
        let version = format!("1.0.{at}");
        let place = format!("acme:repo:m:{version}");
        let bytes = mutation.text.replace("acme:repo:m:1.0.0", &place).into_bytes();
        let signed = SignedManifest { signature: key().sign(&bytes), bytes };
        let opened = signed.open().ok();
        let modules = |manifest: &starlane_bundle::Manifest| {
            let mut files = manifest.mechtrons.values().filter_map(|config| manifest.files.get(&config.wasm));
            files.all(|file| file.sha256.to_string() == module)
        };
        let may = opened.is_some_and(|manifest| schema::check_all(&manifest).is_ok() && modules(&manifest));
        let answer = server.publish_manifest(&tenant, &place, &signed);
        tried += 1;
        let what = format!("{} {}", mutation.pointer, mutation.what);
        if answer.status < 400 && !may {
            wrong.push(format!("taken: {what}"));
        }
        if answer.status >= 500 || (answer.status >= 400 && answer.json()["code"].as_str().is_none()) {
            wrong.push(format!("{what}: {} {}", answer.status, answer.text()));
        }
        if answer.status >= 400 {
            continue;
        }
        taken += 1;
        // Apps are created from accepted bundles: from all that name files, and from a part of the others.
        if mutation.pointer.starts_with("/app/resources") || mutation.pointer == "/app" || taken % 8 == 0 {
            let app = format!("acme:m{at}");
            made += usize::from(server.create(&tenant, &app, &place).status == 200);
            let _ = server.ask(&tenant, "starlane:apps", "delete", &json!({ "app": app }));
        }
    }
    let own = |path: &&PathBuf| {
        let text = path.to_string_lossy();
        ["data/bundles/acme/repo/m/", "data/blobs/", "data/apps/acme:m", "data/databases/acme:m", "data/compiled/"]
            .iter()
            .any(|base| text.starts_with(base))
            && !text.contains("..")
    };
    let after = files(server.folder());
    let outside: Vec<_> = after.difference(&before).filter(|path| !own(path)).collect();
    println!("{tried} tried, {taken} published, {made} apps made, {wrong:#?}, outside: {outside:?}");
    assert!(taken > 20 && made > 5, "allowed manifests are accepted");
    figure("manifest.mutations", f64::from(tried), "manifests");
    figure("manifest.differences", wrong.len() as f64, "manifests");
    attack("A1", tried as usize, wrong.len() + outside.len());
}

#[test]
fn manifests_signed_by_hand_do_not_reach_other_tenants() {
    let server = with_bobs();
    let tenant = server.token_for("mallory", OWN);
    let bundle = everything();
    server.upload(&tenant, &Draft::read(bundle.path()).unwrap());
    let mechtron = "/mechtrons/~1mechtrons~1echo.toml/limits";
    let entry = json!({ "kind": "database" });
    let route = |to: &str, path: &str| json!([{ "method": "GET", "path": path, "to": to, "operation": "query" }]);
    let outside = server.folder().join("outside");
    let attacks: Vec<(&str, Value)> = vec![
        ("/app/http", route("bob:n:db", "/steal")),
        ("/app/http", route("bob:n:{name}", "/steal/{name}")),
        ("/app/http", route(".:db", "/messages/steal")),
        ("/app/http", route(".:db", "/.well-known/starlane.json")),
        ("/app/http", route(".:db", "/mesh")),
        ("/app/resources", json!({ outside.to_string_lossy(): entry })),
        ("/app/resources", json!({ "../../outside": entry })),
        ("/app/resources", json!({ "..": entry })),
        ("/app/resources", json!({ "a/b": entry })),
        ("/app/resources", json!({ "a\0b": entry })),
        ("/app/resources/db/migrations", json!("/../")),
        ("/app/mechtrons/echo/allow", json!(["admin ~*::**"])),
        ("/app/mechtrons/echo/allow", json!(["deploy bob:**"])),
        ("/app/mechtrons/echo/allow", json!(["request starlane:grants add"])),
        ("/app/mechtrons/echo/allow", json!(["subscribe starlane:server#logs"])),
        (mechtron, json!({ "memory": u64::MAX })),
        (mechtron, json!({ "memory": 1u64 << 32 })),
        (mechtron, json!({ "memory": 0 })),
        (mechtron, json!({ "call-ms": u32::MAX })),
        (mechtron, json!({ "concurrency": u32::MAX })),
        (mechtron, json!({ "concurrency": 0 })),
        (mechtron, json!({ "mailbox": u32::MAX })),
        (mechtron, json!({ "restart": { "intensity": u32::MAX, "within-ms": 1 } })),
        (mechtron, json!({ "restart": { "intensity": 1, "within-ms": u64::MAX } })),
        ("/files/~1site~1index.html/size", json!(u64::MAX)),
        ("/files/~1site~1index.html/mediaType", json!("text/html\r\nset-cookie: a=b")),
    ];
    let mut through = Vec::new();
    for (at, (pointer, value)) in attacks.iter().enumerate() {
        let place = format!("acme:repo:m:2.0.{at}");
        let mut manifest = contents(bundle.path(), &place);
        *manifest.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value.clone();
        let answer = server.publish_manifest(&tenant, &place, &signed(&manifest));
        if answer.status < 400 || !["malformed", "too-large"].contains(&answer.json()["code"].as_str().unwrap()) {
            through.push(format!("{pointer} {value}: {} {}", answer.status, answer.text()));
        }
    }
    println!("{through:#?}");
    assert!(!outside.exists() && server.get("/steal?sql=SELECT+x+FROM+t").status == 404);
    attack("A1", attacks.len(), through.len());
}

#[test]
fn limits_of_mechtrons_have_configurable_maximums() {
    let server = Server::start_with("[limits]\nmechtron-memory = \"32 MiB\"\nmechtron-call = \"1 s\"\n");
    let tenant = server.token_for("mallory", OWN);
    let bundle = everything();
    server.upload(&tenant, &Draft::read(bundle.path()).unwrap());
    let mut tried = 0;
    for (limit, value, within) in
        [("memory", 64 << 20, 32 << 20), ("call-ms", 1_001, 1_000), ("concurrency", 1_025, 1_024)]
    {
        for (number, taken) in [(value, false), (within, true)] {
            tried += 1;
            let place = format!("acme:repo:m:3.0.{tried}");
            let mut manifest = contents(bundle.path(), &place);
            manifest["mechtrons"]["/mechtrons/echo.toml"]["limits"][limit] = json!(number);
            let answer = server.publish_manifest(&tenant, &place, &signed(&manifest));
            match taken {
                true => assert_eq!(answer.status, 204, "{}", answer.text()),
                false => {
                    let told = answer.fails(413, "too-large");
                    assert!(told.contains("the limit `mechtron-"), "{told}");
                }
            }
        }
    }
    attack("A1", tried, 0);
}

#[test]
fn routes_that_no_request_reaches_are_refused_with_the_reason() {
    let server = Server::start();
    let mut failing = Vec::new();
    let to_echo = "{ to = \".:echo\", operation = \"about\" }";
    let file = "{ file = \"site/index.html\" }";
    let unreached = [
        ("HEAD /h", file, "GET"),
        ("HEAD /h", to_echo, "GET"),
        ("OPTIONS /o", to_echo, "CORS"),
        ("TRACE /t", to_echo, "a method and a path"),
        ("CONNECT /t", to_echo, "a method and a path"),
        ("get /t", to_echo, "a method and a path"),
        ("GET /é", to_echo, "percent-encoded"),
        ("GET /a/%2E%2e/b", to_echo, "resolve"),
        ("GET /messages/x", to_echo, "the server itself"),
        ("GET /.well-known/starlane.json", file, "the server itself"),
        ("GET /readyz", file, "the server itself"),
        ("GET /x/{*rest}", "{ to = \".:page:{*rest}\", operation = \"about\" }", "no `{*rest}`"),
        ("GET /v", "{ to = \".:view\", operation = \"about\" }", "placed in browsers"),
        ("GET /f", "{ file = \"site/index.html\", access = \"token\" }", "access"),
    ];
    let app = |route: &str, target: &str| {
        echo_bundle(&format!(
            "[mechtrons.view]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"browser\"\n\
             [mechtrons.\"page:{{key}}\"]\nconfig = \"mechtrons/echo.toml\"\n[http]\n\"{route}\" = {target}\n"
        ))
    };
    for (route, target, told) in unreached {
        let bundle = app(route, target);
        let path = bundle.path().to_string_lossy().into_owned();
        let output = server.starlane(&["publish", &path, "acme:repo:t:1.0.0"]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() || !text.contains(told) || !text.contains("app.toml:") {
            failing.push(format!("{route} {target}: {text}"));
        }
    }
    // Each accepted method reaches its route.
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    let routes: String = methods
        .iter()
        .map(|method| format!("\"{method} /r\" = {{ to = \".:echo\", operation = \"about\", access = \"public\" }}\n"))
        .collect();
    let bundle = echo_bundle(&format!("[http]\n{routes}\"GET /s/{{version}}/{{*path}}\" = {{ files = \"site/\" }}\n"));
    server.publish(&server.token, 1, bundle.path(), "acme:repo:r:1.0.0");
    assert_eq!(server.create(&server.token, "acme:r", "acme:repo:r:1.0.0").status, 200);
    for method in methods.iter().chain(&["HEAD"]) {
        let answer = server.send(method, "/r", &[("content-type", "application/json")], b"");
        if answer.status != 200 {
            failing.push(format!("{method}: {} {}", answer.status, answer.text()));
        }
    }
    let file = server.get("/s/1/index.html");
    if !file.text().contains("Echoes") {
        failing.push(format!("files below a capture: {}", file.text()));
    }
    println!("{failing:#?}");
    field_fault("F11", unreached.len() + methods.len() + 2, failing.len());
}
