use serde_json::{Value, json};

use super::*;

fn key() -> SecretKey {
    SecretKey::from_seed([1; 32])
}

fn address() -> Address {
    Address::parse("acme:repo:profiles:1.4.0").unwrap()
}

/// The manifest of the README.
fn example() -> Value {
    let readme = include_str!("../../README.md");
    let section = readme.split("## The manifest").nth(1).unwrap();
    let json = section.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    serde_json::from_str(json).unwrap()
}

fn manifest() -> Contents {
    let mut manifest = example();
    manifest["publisher"] = json!(key().public());
    serde_json::from_value(manifest).unwrap()
}

/// Signs any JSON.
fn signed(manifest: &Value) -> SignedManifest {
    let bytes = serde_json::to_vec(manifest).unwrap();
    SignedManifest { signature: key().sign(&bytes), bytes }
}

/// The manifest with one value of it replaced.
fn with(pointer: &str, name: &str, value: Value) -> Value {
    let mut manifest = serde_json::to_value(manifest()).unwrap();
    manifest.pointer_mut(pointer).unwrap()[name] = value;
    manifest
}

fn verify(signed: &SignedManifest, trusted: &[PublicKey], now: u64) -> Result<Manifest, VerifyError> {
    Manifest::verify(signed, &address(), &signed.digest(), trusted, now)
}

#[test]
fn the_manifest_of_the_readme_verifies_and_reads_back_to_the_same_bytes() {
    let signed = manifest().sign(&key());
    let read = verify(&signed, &[key().public()], 1_800_000_000).unwrap();
    assert_eq!(*read, manifest());
    assert_eq!(serde_json::to_vec(&read).unwrap(), signed.bytes);
}

#[test]
fn only_a_trusted_keys_own_signature_counts() {
    let signed = manifest().sign(&key());
    let other = SecretKey::from_seed([2; 32]);
    let untrusted = VerifyError::Untrusted(key().public());
    assert_eq!(verify(&signed, &[other.public()], 0).unwrap_err(), untrusted);
    assert_eq!(verify(&signed, &[], 0).unwrap_err(), untrusted);
    let forged = manifest().sign(&other);
    assert_eq!(verify(&forged, &[key().public(), other.public()], 0).unwrap_err(), VerifyError::Signature);
}

#[test]
fn another_bundle_another_digest_and_another_time_are_refused() {
    let signed = manifest().sign(&key());
    let elsewhere = Address::parse("acme:repo:profiles:1.4.1").unwrap();
    let error = Manifest::verify(&signed, &elsewhere, &signed.digest(), &[key().public()], 0).unwrap_err();
    assert_eq!(error.code(), "wrong-bundle");
    let error = Manifest::verify(&signed, &address(), &Digest::of(b""), &[key().public()], 0).unwrap_err();
    assert_eq!(error.code(), "digest-mismatch");

    let expiring = Contents { expires: Some(2_000), ..manifest() }.sign(&key());
    assert!(verify(&expiring, &[key().public()], 1_999).is_ok());
    assert_eq!(verify(&expiring, &[key().public()], 2_000).unwrap_err(), VerifyError::Expired(2_000));
}

#[test]
fn every_flipped_bit_of_the_signed_bytes_is_refused() {
    let signed = manifest().sign(&key());
    let mut refused = 0;
    for at in 0..signed.bytes.len() {
        for bit in 0..8 {
            // All eight bits where the check is cheap, otherwise one bit of each byte.
            if bit != at % 8 && at % 16 != 0 {
                continue;
            }
            let mut changed = signed.clone();
            changed.bytes[at] ^= 1 << bit;
            let digest = signed.digest();
            let whole = Manifest::verify(&changed, &address(), &digest, &[key().public()], 0);
            assert!(whole.is_err() && changed.open().is_err(), "byte {at}, bit {bit}");
            refused += 1;
        }
    }
    assert!(refused >= signed.bytes.len(), "{refused} of {} bytes", signed.bytes.len());
    assert!(signed.open().is_ok(), "what was not changed is accepted");
}

#[test]
fn cut_and_lengthened_bytes_are_refused() {
    let signed = manifest().sign(&key());
    for bytes in [&signed.bytes[..0], &signed.bytes[1..], &signed.bytes[..signed.bytes.len() - 1]] {
        assert!(SignedManifest { bytes: bytes.to_vec(), ..signed.clone() }.open().is_err());
    }
    let longer = SignedManifest { bytes: [&signed.bytes[..], b" "].concat(), ..signed };
    assert_eq!(longer.open().unwrap_err(), VerifyError::Signature);
}

#[test]
fn hostile_file_names_are_refused_even_when_signed() {
    let entry = serde_json::to_value(manifest().files.get("/site/index.html").unwrap()).unwrap();
    let long = format!("/{}", "a".repeat(200));
    for name in [
        "/../x",
        "/a/..",
        "..",
        "x",
        "",
        "/",
        "//a",
        "/a//b",
        "/a/",
        "/a/./b",
        "/a\0b",
        "/a\nb",
        "/a b",
        "/a\\b",
        "C:\\a",
        "/c:/a",
        "/%2e%2e/a",
        "/é",
        "/SITE/index.html",
        "/site/index.html/x",
        "/Site/Index.html/x",
        "/site",
        &long,
    ] {
        let mut hostile = serde_json::to_value(manifest()).unwrap();
        hostile["files"][name] = entry.clone();
        let error = signed(&hostile).open().unwrap_err();
        assert!(matches!(error, VerifyError::FileName { .. }), "{name}: {error}");
    }
}

#[test]
fn manifest_over_a_limit_is_refused() {
    let entry = |size: u64| json!({ "sha256": Digest::of(b""), "size": size, "mediaType": "text/plain" });
    let error = signed(&with("/files", "/big", entry(MAX_BUNDLE_BYTES))).open().unwrap_err();
    assert_eq!(error.code(), "too-large");
    let mut two = with("/files", "/big", entry(u64::MAX));
    two["files"]["/big2"] = entry(u64::MAX);
    assert_eq!(signed(&two).open().unwrap_err().code(), "too-large", "the sum does not wrap around");
    let padded = with("", "description", json!("x".repeat(MAX_MANIFEST)));
    assert_eq!(signed(&padded).open().unwrap_err().code(), "too-large");
    let header = json!({ "sha256": Digest::of(b""), "size": 0, "mediaType": "text/html\r\nset-cookie: a=b" });
    assert!(matches!(signed(&with("/files", "/h", header)).open(), Err(VerifyError::FileName { .. })));
}

#[test]
fn other_formats_and_unknown_keys_are_refused() {
    let told = |manifest: Value| signed(&manifest).open().unwrap_err().to_string();
    let newer = "the manifest has format 2, and this host reads format 1: a newer Starlane made it; update this one";
    assert_eq!(told(with("", "format", json!(2))), newer);
    assert!(told(with("", "format", json!(0))).ends_with("there is no such format"));
    for (pointer, name) in [
        ("", "audience"),
        ("/files/~1site~1index.html", "mode"),
        ("/binds/~1binds~1profile.toml", "strict"),
        ("/binds/~1binds~1profile.toml/operations/render/request", "encoding"),
        ("/mechtrons/~1mechtrons~1profile.toml/limits", "cpu"),
        ("/app/mechtrons/profile:{key}", "deny"),
        ("/app/http/0", "cors"),
    ] {
        let error = told(with(pointer, name, json!(1)));
        assert!(error.contains(&format!("unknown field `{name}`")), "{pointer}: {error}");
    }
}

#[test]
fn errors_of_malformed_manifests_have_a_place() {
    let bytes = b"{\"format\": 1,\n \"publisher\": 7}".to_vec();
    let error = SignedManifest { signature: key().sign(&bytes), bytes }.open().unwrap_err().to_string();
    assert!(error.contains("at /publisher: found a number, expected a string"), "{error}");
    assert!(signed(&with("", "address", json!("acme:repo:profiles"))).open().is_err(), "no version");
    assert!(signed(&with("", "address", json!("acme:repo:profiles:1.4.0:/a"))).open().is_err(), "a path");
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert!(SignedManifest { signature: key().sign(&deep), bytes: deep }.open().is_err(), "deep, and no crash");
}

#[test]
fn dangling_references_are_refused() {
    for (pointer, name) in [
        ("/mechtrons/~1mechtrons~1profile.toml", "wasm"),
        ("/mechtrons/~1mechtrons~1profile.toml", "bind"),
        ("/binds/~1binds~1profile.toml/operations/render/request", "schema"),
        ("/app/mechtrons/profile:{key}", "config"),
        ("/app/http/0", "file"),
    ] {
        let error = signed(&with(pointer, name, json!("/none"))).open().unwrap_err();
        assert!(matches!(&error, VerifyError::Dangling { what, .. } if what == "/none"), "{pointer}: {error}");
        assert_eq!(error.code(), "malformed");
    }
}

#[test]
fn streams_follow_the_rules_of_authors() {
    let bind = "/binds/~1binds~1profile.toml";
    let body = |content_type: &str, schema: bool| {
        let mut body = json!({ "content-type": content_type, "stream": true });
        if schema {
            body["schema"] = json!("/schemas/render.json");
        }
        body
    };
    let opened = |place: &str, name: &str, body: Value| signed(&with(&format!("{bind}/{place}"), name, body)).open();
    let operation = "operations/render";
    for (name, body) in [
        ("request", body("application/octet-stream", false)),
        ("request", body("*/*", false)),
        ("response", body("application/x-ndjson", true)),
        ("response", body("Application/X-NDJSON; charset=utf-8", true)),
    ] {
        let manifest = opened(operation, name, body).unwrap();
        let bodies = manifest.binds.get("/binds/profile.toml").unwrap().bodies();
        assert_eq!(bodies.filter(|body| body.stream).count(), 1);
    }
    let one_way = json!({ "request": body("*/*", false) });
    assert!(opened("operations", "upload", one_way).unwrap().binds.values().all(|bind| bind.operations.len() == 2));

    let told = |place, name, body| opened(place, name, body).unwrap_err().to_string();
    assert_eq!(
        told("events", "changes", body("application/x-ndjson", false)),
        "the manifest is refused at /binds/~1binds~1profile.toml/events/changes/stream: an event has `stream = \
         true`; only a request or a response can be a stream"
    );
    for content_type in ["application/json", "text/plain", "application/x-ndjson+json", "*/*"] {
        let error = told(operation, "request", body(content_type, true));
        let text =
            format!("a schema for a stream of the content type `{content_type}`; expected `application/x-ndjson`");
        assert!(error.ends_with(&text), "{error}");
    }
    let whole = json!({ "content-type": "application/x-ndjson", "schema": "/schemas/render.json" });
    assert!(told(operation, "request", whole).ends_with("expected a JSON content type"));
    assert!(told(operation, "request", json!({ "stream": 1 })).contains("expected a boolean"));
}
