//! Bundles of several publishers: separate spaces and keys, one bundle as two apps, and an app that uses another
//! publisher's mechtron.

use std::path::Path;

use serde_json::json;
use starlane_bundle::{
    Contents, SignedManifest,
    authoring::{Draft, Others},
};
use starlane_protocol::Address;

use crate::world::{Server, echo_bundle, folder, key};

const WIDGETS: &str = "bob:repo:widgets:1.2.0";
const SHOP: &str = "acme:repo:shop:1.0.0";

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// Publishes a folder with its own key.
fn publish(server: &Server, folder: &Path, bundle: &str, seed: u8, others: &Others) -> SignedManifest {
    server.publish_by(seed, &Draft::read_with(folder, others, &|_, _| Ok(())).unwrap(), bundle)
}

fn known(signed: &SignedManifest) -> Others {
    let mut others = Others::default();
    others.add(signed.digest(), signed.open().unwrap());
    others
}

/// An app of acme that runs bob's mechtron under another name.
fn shop() -> tempfile::TempDir {
    folder(&[
        ("bundle.toml", "[bundle]\nname = \"shop\"\npublic = true\ninclude = [\"*.txt\"]\n"),
        ("own.txt", "acme's\n"),
        (
            "app.toml",
            "[app]\nname = \"shop\"\n[mechtrons.card]\nconfig = \"bob:repo:widgets:1.2.0:/mechtrons/echo.toml\"\n\
             placement = \"both\"\n[http]\n\"POST /card\" = { to = \".:card\", operation = \"echo\" }\n",
        ),
    ])
}

#[test]
fn an_app_uses_a_mechtron_of_another_author_with_another_key() {
    let mut server = Server::start();
    let bobs = publish(&server, echo_bundle("").path(), WIDGETS, 2, &Others::default());
    let shop = shop();
    let told = Draft::read(shop.path()).unwrap_err().to_string();
    assert!(told.contains("app.toml:4:10: ") && told.contains("another bundle, which was not fetched"), "{told}");
    assert_eq!(Draft::others(shop.path()).unwrap(), [address(WIDGETS)]);
    let signed = publish(&server, shop.path(), SHOP, 1, &known(&bobs));
    let manifest = signed.open().unwrap();
    let used = manifest.uses.get(WIDGETS).unwrap();
    assert_eq!((used.manifest, used.publisher), (bobs.digest(), key(2).public()));
    let answer = server.create("acme:shop", SHOP);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.ask("acme:shop:card", "echo", &json!("hello")).json(), json!("hello"));
    // Its own bundle, which it can always read, is bob's.
    assert!(server.ask("acme:shop:card", "read", &json!("/site/index.html")).text().contains("Echoes"));
    server.ask("acme:shop:card", "read", &json!("/own.txt")).fails(404, "not-found");
    // The same after a restart, from the stored data.
    server.restart();
    assert_eq!(server.ask("acme:shop:card", "echo", &json!("again")).json(), json!("again"));
}

#[test]
fn used_bundles_must_be_published_as_the_manifest_names_them() {
    let server = Server::start();
    let bobs = publish(&server, echo_bundle("").path(), WIDGETS, 2, &Others::default());
    let others = known(&bobs);
    let shop = shop();
    let draft = Draft::read_with(shop.path(), &others, &|_, _| Ok(())).unwrap();
    server.upload(&draft);
    let manifest = draft.contents(&address(SHOP), key(1).public(), 1_700_000_000);
    let altered = |change: &dyn Fn(&mut Contents)| {
        let mut manifest = manifest.clone();
        change(&mut manifest);
        server.publish_manifest(SHOP, &manifest.sign(&key(1)))
    };
    let of = |manifest: &mut Contents| manifest.uses.remove(WIDGETS).unwrap();
    for change in [
        // Another key, other bytes, another manifest, and a missing bundle.
        &|manifest: &mut Contents| manifest.uses.get_mut(WIDGETS).unwrap().publisher = key(3).public(),
        &|manifest: &mut Contents| {
            manifest.uses.get_mut(WIDGETS).unwrap().manifest = manifest.files.values().next().unwrap().sha256
        },
        &|manifest: &mut Contents| {
            let own = manifest.files.values().next().unwrap().clone();
            manifest.uses.get_mut(WIDGETS).unwrap().files.insert("/wasm/echo.wasm".into(), own);
        },
        &|manifest: &mut Contents| {
            let used = of(manifest);
            manifest.uses.insert("bob:repo:widgets:9.9.9".into(), used.clone());
            manifest.uses.insert(WIDGETS.into(), used);
        },
    ] as [&dyn Fn(&mut Contents); 4]
    {
        assert!(altered(change).fails(409, "conflict").contains("bob:repo:widgets:"));
    }
    // Missing references are reported before any other fault.
    let dangling = altered(&|manifest| drop(of(manifest)));
    assert!(dangling.fails(422, "malformed").contains("which the manifest does not contain"));
    assert_eq!(altered(&|_| {}).status, 204);
}

#[test]
fn two_publishers_can_create_two_apps_from_one_bundle() {
    let server = Server::start();
    publish(&server, echo_bundle("").path(), "acme:repo:echoes:1.0.0", 1, &Others::default());
    publish(&server, echo_bundle("").path(), "bob:repo:echoes:1.0.0", 2, &Others::default());
    for (app, bundle) in [
        ("acme:one", "acme:repo:echoes:1.0.0"),
        ("acme:two", "acme:repo:echoes:1.0.0"),
        ("bob:one", "bob:repo:echoes:1.0.0"),
    ] {
        let answer = server.create(app, bundle);
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The apps have separate actors with separate counters.
    let count = |app: &str| server.ask(&format!("{app}:echo"), "count", &json!(null)).json();
    assert_eq!(
        [count("acme:one"), count("acme:one"), count("acme:two"), count("bob:one")],
        [1, 2, 1, 1].map(|n| json!(n))
    );
    // A name belongs to the key that published it first.
    let draft = Draft::read(echo_bundle("").path()).unwrap();
    let stolen = draft.sign(&address("bob:repo:echoes:1.0.1"), &key(1), 1_700_000_000);
    assert!(server.publish_manifest("bob:repo:echoes:1.0.1", &stolen).fails(409, "conflict").contains("belongs to"));
    let publishers = server.get("/.well-known/starlane.json").json()["publishers"].to_string();
    assert!(publishers.contains(&key(1).public().to_string()) && publishers.contains(&key(2).public().to_string()));
}
