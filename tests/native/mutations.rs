//! Only signed bytes are published. A changed byte or a hostile name is refused, both by the server and by a host.

use serde_json::Value;
use starlane_bundle::{Digest, Manifest, Signature, SignedManifest, authoring::Draft};
use starlane_host::testing::launch_world::hostile_names;
use starlane_protocol::Address;
use starlane_testkit::figure;

use crate::world::{Server, folder, key};

const BUNDLE: &str = "acme:repo:texts:1.0.0";
const FILES: [(&str, &str); 3] = [
    (
        "bundle.toml",
        "[bundle]\nname = \"texts\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"*.txt\"]\n",
    ),
    ("one.txt", "the first"),
    ("two.txt", "the second"),
];

/// Whether a host would accept it, with the digest from a server and from a trusted publisher.
fn host_takes(signed: &SignedManifest) -> bool {
    let bundle = Address::parse(BUNDLE).unwrap();
    Manifest::verify(signed, &bundle, &signed.digest(), &[key(1).public()], 1_700_000_000).is_ok()
}

/// A server that has a bundle's files but not its manifest, and that manifest.
fn uploaded() -> (Server, SignedManifest) {
    let server = Server::start();
    let files = folder(&FILES);
    let draft = Draft::read(files.path()).unwrap();
    server.upload(&draft);
    let signed = draft.sign(&Address::parse(BUNDLE).unwrap(), &key(1), 1_700_000_000);
    (server, signed)
}

/// Whether a manifest is published. A refusal is about its contents, because the address is free.
fn published(server: &Server, signed: &SignedManifest) -> bool {
    let status = server.publish_manifest(BUNDLE, signed).status;
    assert_ne!(status, 409);
    status < 400
}

#[test]
fn a_changed_byte_of_manifest_signature_or_blob_is_refused() {
    let (server, signed) = uploaded();
    assert!(host_takes(&signed));
    let (mut tried, mut accepted) = (0, Vec::new());
    for (at, bit) in (0..signed.bytes.len()).flat_map(|at| [(at, 1), (at, 0x20)]) {
        let mut changed = signed.clone();
        changed.bytes[at] ^= bit;
        tried += 1;
        if published(&server, &changed) || host_takes(&changed) {
            accepted.push(format!("manifest, byte {at}"));
        }
    }
    let text = signed.signature.to_string();
    for at in 0..text.len() {
        for with in ['A', 'B', '-'] {
            let changed: String = text.chars().enumerate().map(|(n, c)| if n == at { with } else { c }).collect();
            if changed == text {
                continue;
            }
            tried += 1;
            let headers = [("starlane-signature", changed.as_str())];
            let put = server.admin("PUT", &format!("/bundles/{BUNDLE}"), &headers, &signed.bytes).status;
            assert_ne!(put, 409);
            let put = put < 400;
            let read = Signature::parse(&changed).ok();
            let taken = read.is_some_and(|signature| host_takes(&SignedManifest { signature, ..signed.clone() }));
            if put || taken {
                accepted.push(format!("signature, character {at}: {with}"));
            }
        }
    }
    for (_, text) in &FILES[1..] {
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] ^= 1;
            tried += 1;
            let path = format!("/blobs/sha256/{}", Digest::of(text.as_bytes()));
            if server.admin("PUT", &path, &[], &changed).status < 400 {
                accepted.push(format!("blob “{text}”, byte {at}"));
            }
        }
    }
    figure::figure("mutations.tried", f64::from(tried), "mutations");
    figure::figure("mutations.accepted", accepted.len() as f64, "mutations");
    assert!(accepted.is_empty(), "{accepted:#?}");
    assert!(published(&server, &signed), "the unchanged manifest is accepted");
    assert_eq!(server.get(&format!("/bundles/{BUNDLE}")).body, signed.bytes);
}

#[test]
fn hostile_names_of_entries_are_refused() {
    let (server, signed) = uploaded();
    let manifest: Value = serde_json::from_slice(&signed.bytes).unwrap();
    let entry = manifest["files"]["/one.txt"].clone();
    let mut accepted = Vec::new();
    let try_files = |files: Value| {
        let mut hostile = manifest.clone();
        hostile["files"] = files;
        let bytes = serde_json::to_vec(&hostile).unwrap();
        let signed = SignedManifest { signature: key(1).sign(&bytes), bytes };
        published(&server, &signed) || host_takes(&signed)
    };
    assert!(host_takes(&signed));
    for names in hostile_names() {
        if try_files(names.iter().map(|name| (name.clone(), entry.clone())).collect()) {
            accepted.push(names.join(", "));
        }
    }
    figure::figure("names.tried", hostile_names().len() as f64, "names");
    figure::figure("names.accepted", accepted.len() as f64, "names");
    assert!(accepted.is_empty(), "{accepted:?}");
    assert!(published(&server, &signed), "a manifest without hostile names is accepted");
}
