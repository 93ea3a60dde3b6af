//! The bundle repository over HTTP.

use std::fs;

use serde_json::json;
use starlane_bundle::{Digest, PublicKey, Signature, SignedManifest, authoring::Draft};
use starlane_protocol::Address;

use crate::world::{Server, folder, key};

const BUNDLE: &str = "acme:repo:texts:1.0.0";

fn texts(text: &str) -> tempfile::TempDir {
    folder(&[
        (
            "bundle.toml",
            "[bundle]\nname = \"texts\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"*.txt\"]\n",
        ),
        ("a.txt", text),
    ])
}

fn signed(folder: &tempfile::TempDir, bundle: &str, seed: u8) -> SignedManifest {
    Draft::read(folder.path()).unwrap().sign(&Address::parse(bundle).unwrap(), &key(seed), 1_700_000_000)
}

#[test]
fn a_published_manifest_is_served_unchanged_with_its_signature() {
    let server = Server::start();
    assert_eq!(
        server.get(&format!("/bundles/{BUNDLE}")).fails(404, "not-found"),
        "this bundle is not published on this server"
    );
    let published = server.publish(texts("one").path(), BUNDLE);
    let answer = server.get(&format!("/bundles/{BUNDLE}"));
    assert_eq!((answer.status, &answer.body), (200, &published.bytes));
    assert!(answer.header("cache-control").contains("immutable"));
    let signature = Signature::parse(answer.header("starlane-signature")).unwrap();
    let manifest = SignedManifest { bytes: answer.body, signature }.open().unwrap();
    assert_eq!(manifest.publisher, key(1).public());
    let entry = manifest.files.get("/a.txt").unwrap();
    let path = format!("/blobs/sha256/{}", entry.sha256);
    let blob = server.get(&path);
    assert_eq!((blob.status, blob.body.as_slice()), (200, b"one".as_slice()));
    assert!(blob.header("cache-control").contains("immutable"));
    let head = server.send("HEAD", &path, &[], b"");
    assert_eq!((head.status, head.body.len(), head.header("content-length")), (200, 0, "3"));
    let part = server.send("GET", &path, &[("range", "bytes=1-")], b"");
    assert_eq!((part.status, part.text().as_str(), part.header("content-range")), (206, "ne", "bytes 1-2/3"));
    assert_eq!(server.send("GET", &path, &[("range", "bytes=3-")], b"").status, 416);
    assert_eq!(server.send("GET", &path, &[("if-none-match", blob.header("etag"))], b"").status, 304);
    assert_eq!(server.get(&format!("/blobs/sha256/{}", Digest::of(b"other"))).status, 404);
    assert_eq!(server.get("/blobs/sha256/ABC").status, 400);
    assert!(server.get("/bundles/acme:repo:texts").fails(400, "malformed").contains("version"));
}

#[test]
fn only_the_admin_publishes() {
    let server = Server::start();
    let path = format!("/blobs/sha256/{}", Digest::of(b"x"));
    assert!(server.send("PUT", &path, &[], b"x").fails(403, "no-grant").contains("deploy "));
    let guessed = [("authorization", "Bearer guessed")];
    server.send("PUT", &path, &guessed, b"x").fails(401, "auth-refused");
    server.send("PUT", &path, &[("authorization", "Basic eDp5")], b"x").fails(401, "auth-refused");
    server.send("PUT", &format!("/bundles/{BUNDLE}"), &[], b"{}").fails(403, "no-grant");
    assert_eq!(server.get(&path).status, 404, "nothing was kept");
}

#[test]
fn a_blob_must_match_its_digest() {
    let server = Server::start();
    let path = format!("/blobs/sha256/{}", Digest::of(b"right"));
    server.admin("PUT", &path, &[], b"wrong").fails(409, "conflict");
    assert_eq!(server.get(&path).status, 404);
    assert_eq!(server.admin("PUT", &path, &[], b"right").status, 204);
    assert_eq!(server.admin("GET", &path, &[], b"").text(), "right");
    let huge = vec![0; 64 * 1024 * 1024 + 1];
    let path = format!("/blobs/sha256/{}", Digest::of(&huge));
    server.admin("PUT", &path, &[], &huge).fails(413, "too-large");
}

#[test]
fn a_manifest_needs_its_files_its_own_address_and_a_valid_signature() {
    let server = Server::start();
    let texts = texts("one");
    let manifest = signed(&texts, BUNDLE, 1);
    let missing = server.publish_manifest(BUNDLE, &manifest).fails(409, "conflict");
    assert!(missing.contains("/a.txt"), "{missing}");
    server.publish_manifest("acme:repo:texts:2.0.0", &manifest).fails(409, "conflict");
    let altered = SignedManifest { bytes: [manifest.bytes.as_slice(), b" "].concat(), ..manifest.clone() };
    server.publish_manifest(BUNDLE, &altered).fails(422, "bad-signature");
    let other = SignedManifest { signature: key(2).sign(&manifest.bytes), ..manifest };
    server.publish_manifest(BUNDLE, &other).fails(422, "bad-signature");
    server.admin("PUT", &format!("/bundles/{BUNDLE}"), &[], b"{}").fails(400, "malformed");
    assert_eq!(server.get(&format!("/bundles/{BUNDLE}")).status, 404);
}

#[test]
fn one_request_lists_all_missing_files() {
    let server = Server::start();
    server.publish(texts("one").path(), BUNDLE);
    let digests = [b"one", b"two"].map(|text| Digest::of(text).to_string());
    let body = json!({ "sha256": digests }).to_string();
    let answer = server.admin("POST", "/blobs/missing", &[], body.as_bytes());
    assert_eq!((answer.status, answer.json()), (200, json!({ "missing": [digests[1]] })));
    server.send("POST", "/blobs/missing", &[], body.as_bytes()).fails(403, "no-grant");
    server.admin("POST", "/blobs/missing", &[], b"{\"sha256\": [\"..\"]}").fails(400, "malformed");
}

#[test]
fn a_bundle_with_a_damaged_manifest_stays_private() {
    let mut server = Server::start();
    let hidden = folder(&[("bundle.toml", "[bundle]\nname = \"texts\"\ninclude = [\"*.txt\"]\n"), ("a.txt", "hidden")]);
    server.publish(hidden.path(), BUNDLE);
    let path = format!("/bundles/{BUNDLE}");
    assert_eq!(server.get(&path).status, 403);
    let file = server.config.data.join("bundles/acme/repo/texts/1.0.0/manifest.json");
    let spoiled = fs::read_to_string(&file).unwrap().replace("acme:repo", "acme:rePo");
    fs::write(&file, spoiled).unwrap();
    server.restart();
    assert_eq!(server.get(&path).status, 403);
}

#[test]
fn a_published_version_never_changes_and_a_name_keeps_its_owner() {
    let server = Server::start();
    let (one, two) = (texts("one"), texts("two"));
    let first = server.publish(one.path(), BUNDLE);
    assert_eq!(server.publish_manifest(BUNDLE, &first).status, 204, "publishing the same again changes nothing");
    server.publish(two.path(), "acme:repo:texts:2.0.0");
    let changed = server.publish_manifest(BUNDLE, &signed(&two, BUNDLE, 1)).fails(409, "conflict");
    assert!(changed.contains("new version"), "{changed}");
    let stolen = server.publish_manifest("acme:repo:texts:3.0.0", &signed(&one, "acme:repo:texts:3.0.0", 2));
    let stolen = stolen.fails(409, "conflict");
    assert!(stolen.contains(&key(1).public().to_string()), "{stolen}");
    assert_eq!(server.publish_manifest("bob:texts:1.0.0", &signed(&one, "bob:texts:1.0.0", 2)).status, 204);
    assert_eq!(server.get(&format!("/bundles/{BUNDLE}")).body, first.bytes);
}

#[test]
fn the_well_known_page_names_the_publishers_of_apps() {
    let server = Server::start();
    let about = server.get("/.well-known/starlane.json").json();
    assert_eq!((about["mesh"].as_str(), about["publishers"].as_array().unwrap().len()), (Some("/mesh"), 0));
    let bundle = folder(&[
        ("bundle.toml", "[bundle]\nname = \"x\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = []\n"),
        ("app.toml", "[app]\nname = \"x\"\n"),
    ]);
    server.run_app(bundle.path(), "acme:repo:x:1.0.0", "acme:x");
    let about = server.get("/.well-known/starlane.json").json();
    let listed = about["publishers"][0].as_str().unwrap();
    assert_eq!(PublicKey::parse(listed).unwrap(), key(1).public());
}

#[test]
fn a_damaged_file_is_not_served_as_complete() {
    let mut server = Server::start();
    let site = folder(&[
        (
            "bundle.toml",
            "[bundle]\nname = \"x\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"site/**\"]\n",
        ),
        ("app.toml", "[app]\nname = \"x\"\n[http]\n\"GET /\" = { file = \"site/index.html\" }\n"),
        ("site/index.html", "<p>whole</p>"),
    ]);
    server.run_app(site.path(), "acme:repo:x:1.0.0", "acme:x");
    assert_eq!(server.get("/").text(), "<p>whole</p>");
    let digest = Digest::of(b"<p>whole</p>").to_string();
    fs::write(server.config.data.join("blobs").join(&digest[..2]).join(&digest), "<p>other</p>").unwrap();
    server.get(&format!("/blobs/sha256/{digest}")).fails(500, "damaged");
    assert_eq!(server.get("/").text(), "<p>whole</p>", "it was verified before, and is still in memory");
    server.restart();
    server.get("/").fails(500, "damaged");
    fs::write(server.config.data.join("blobs").join(&digest[..2]).join(&digest), "<p>whole</p>").unwrap();
    assert_eq!(server.get("/").text(), "<p>whole</p>");
}

#[test]
fn a_name_without_a_key_needs_a_take_over_by_an_admin() {
    let server = Server::start();
    let folder = texts("hello");
    let draft = Draft::read(folder.path()).unwrap();
    server.publish_by(1, &draft, "acme:repo:echoes:1.0.0");
    let owner = server.config.data.join("bundles/acme/repo/echoes/publisher.key");
    let signed = |seed, bundle: &str| draft.sign(&Address::parse(bundle).unwrap(), &key(seed), 1_700_000_000);
    let whole = std::fs::read(&owner).unwrap();
    for damage in [None, Some("no key")] {
        match damage {
            None => std::fs::remove_file(&owner).unwrap(),
            Some(text) => std::fs::write(&owner, text).unwrap(),
        }
        for (seed, bundle) in
            [(2, "acme:repo:echoes:1.0.1"), (1, "acme:repo:echoes:1.0.1"), (1, "acme:repo:echoes:1.0.0")]
        {
            let status = server.publish_manifest(bundle, &signed(seed, bundle)).status;
            assert_eq!(status, if damage.is_none() { 409 } else { 500 }, "{seed} {bundle}");
        }
        let again = signed(1, "acme:repo:echoes:1.0.0");
        let signature = again.signature.to_string();
        let path = "/bundles/acme:repo:echoes:1.0.0?take-over=true";
        assert_eq!(server.admin("PUT", path, &[("starlane-signature", &signature)], &again.bytes).status, 204);
        assert_eq!(std::fs::read(&owner).unwrap(), whole);
    }
}
