//! The files that the documents show: settings of a server, and a whole bundle.

use std::fs;

use serde_json::Value;
use starlane_bundle::Contents;
use starlane_testkit::{
    documents::{self, Runner, Snippet},
    guest,
};

use crate::world::{World, starlane, text};

#[test]
fn settings_in_the_documents_are_valid() {
    let examples = documents::of(Runner::Settings);
    for example in &examples {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("starlane.toml"), &example.code).unwrap();
        let words = ["config", "check", "--config", "starlane.toml", "--data", "data"];
        let checked = starlane(folder.path()).args(words).output().unwrap();
        assert!(checked.status.success(), "{}: {}", example.place(), text(&checked.stderr));
    }
    documents::ran(examples.len());
}

#[test]
fn the_bundle_of_the_readme_is_published_and_makes_an_app() {
    let world = World::start();
    let pieces = documents::of(Runner::Bundle);
    let (files, others): (Vec<&Snippet>, Vec<&Snippet>) = pieces.iter().partition(|piece| piece.file.is_some());
    for piece in files {
        world.write(&format!("profiles/{}", piece.file.as_deref().unwrap()), &piece.code);
    }
    world.write("profiles/site/index.html", "<h1>Profiles</h1>");
    fs::create_dir_all(world.folder.path().join("profiles/wasm")).unwrap();
    fs::copy(guest("profile"), world.folder.path().join("profiles/wasm/profile.wasm")).unwrap();
    world.json(&["publish", "profiles", "acme:repo:profiles:0.1.0"]);
    world.json(&["app", "create", "acme:profiles", "--bundle", "acme:repo:profiles:0.1.0"]);
    let tables = r#"{"sql": "SELECT name, markdown FROM pages"}"#;
    let found = text(&world.run(&["send", "acme:profiles:db", "query", "--json", tables]).stdout);
    assert_eq!(found, r#"{"columns":["name","markdown"],"rows":[]}"#);

    // The error that the page shows.
    let app = fs::read_to_string(world.folder.path().join("profiles/app.toml")).unwrap();
    world.write("profiles/app.toml", &app.replace("placement", "placment"));
    let told = world.fails(1, &["publish", "profiles", "acme:repo:profiles:0.2.0"]);
    let told = told.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown = "unknown key `placment`; expected one of `config`, `settings`, `placement`, `override`, `allow`";
    assert!(told.contains(shown), "{told}");

    // The manifest.
    for manifest in others {
        let contents: Result<Contents, _> = serde_json::from_str(&manifest.code);
        let contents = contents.unwrap_or_else(|error| panic!("{}: {error}", manifest.place()));
        let shown: Value = serde_json::from_str(&manifest.code).unwrap();
        assert_eq!(serde_json::to_value(contents).unwrap(), shown, "{}", manifest.place());
    }
    documents::ran(pieces.len());
}
