use std::fs;

use super::*;
use crate::VerifyError;

/// The smallest bundle with everything in it.
const FILES: &[(&str, &str)] = &[
    ("bundle.toml", "[bundle]\nname = \"demo\"\npublic = true\ninclude = [\"site/**\", \"migrations/*.sql\"]\n"),
    (
        "binds/page.toml",
        "[bind]\nname = \"page\"\n[operations.render]\nrequest = { content-type = \"application/json\", schema = \"schemas/render.json\" }\nresponse = { content-type = \"text/html\" }\n[operations.touch]\n[events.changes]\npayload = {}\n",
    ),
    ("schemas/render.json", "{}"),
    (
        "mechtrons/page.toml",
        "[mechtron]\nwasm = \"wasm/page.wasm\"\nname = \"page\"\nbind = \"binds/page.toml\"\n[limits]\nmemory = \"2 MiB\"\ncall = \"1 s\"\n[settings]\ntheme = \"light\"\nsize = 1\n",
    ),
    ("wasm/page.wasm", "\0asm"),
    ("site/index.html", "<!doctype html>"),
    ("site/assets/a.js", ""),
    ("migrations/1.sql", "create table t (x)"),
    (
        "app.toml",
        "[app]\nname = \"demo\"\n[mechtrons.\"page:{key}\"]\nconfig = \"mechtrons/page.toml\"\nplacement = \"both\"\nsettings = { size = 2 }\n[resources.db]\nkind = \"database\"\nmigrations = \"migrations/\"\n[http]\n\"GET /\" = { file = \"site/index.html\" }\n\"GET /people/{name}\" = { to = \".:page:{name}\", operation = \"render\" }\n",
    ),
];

/// A copy of the bundle with one text replaced by another.
fn bundle(file: &str, from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in FILES {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let replaced = if *name == file { text.replace(from, to) } else { (*text).to_owned() };
        assert!(*name != file || replaced != *text || from == to, "the text to replace is there");
        fs::write(path, replaced).unwrap();
    }
    folder
}

fn address() -> Address {
    Address::parse("acme:repo:demo:1.0.0").unwrap()
}

#[test]
fn a_folder_becomes_a_manifest() {
    let folder = bundle("", "", "");
    let draft = Draft::read(folder.path()).unwrap();
    let manifest = draft.manifest(&address(), SecretKey::from_seed([1; 32]).public(), 1_700_000_000);
    let files: Vec<_> = manifest.files.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        ["/migrations/1.sql", "/schemas/render.json", "/site/assets/a.js", "/site/index.html", "/wasm/page.wasm"]
    );
    assert_eq!(manifest.files["/wasm/page.wasm"].media_type, "application/wasm");
    let config = &manifest.mechtrons["/mechtrons/page.toml"];
    assert_eq!((config.limits.memory, config.limits.call_ms, config.limits.mailbox), (2 << 20, 1000, 1024));
    let app = manifest.app.as_ref().unwrap();
    let settings = app.mechtrons["page:{key}"].settings_over(&config.settings);
    assert_eq!(settings, serde_json::json!({ "theme": "light", "size": 2 }));
    assert!(manifest.binds["/binds/page.toml"].operations["touch"].is_one_way());
}

#[test]
fn what_was_signed_is_what_verifies() {
    let folder = bundle("", "", "");
    let key = SecretKey::from_seed([1; 32]);
    let signed = Draft::read(folder.path()).unwrap().sign(&address(), &key, 1_700_000_000);
    let digest = signed.digest();
    let verify = |signed: &SignedManifest, trusted: &[PublicKey]| {
        Manifest::verify(signed, &address(), &digest, trusted, 1_800_000_000)
    };
    let manifest = verify(&signed, &[key.public()]).unwrap();
    assert_eq!(serde_json::to_vec(&manifest).unwrap(), signed.bytes, "it reads back to the same bytes");

    let other = SecretKey::from_seed([2; 32]);
    assert_eq!(verify(&signed, &[other.public()]).unwrap_err(), VerifyError::Untrusted(key.public()));
    let forged = SignedManifest { signature: other.sign(&signed.bytes), ..signed.clone() };
    assert_eq!(verify(&forged, &[key.public()]).unwrap_err(), VerifyError::Signature);
    let elsewhere = Address::parse("acme:repo:demo:1.0.1").unwrap();
    let error = Manifest::verify(&signed, &elsewhere, &digest, &[key.public()], 0).unwrap_err();
    assert_eq!(error.code(), "wrong-bundle");
    let error = Manifest::verify(&signed, &address(), &Digest::of(b""), &[key.public()], 0).unwrap_err();
    assert_eq!(error.code(), "digest-mismatch");
}

#[test]
fn no_changed_byte_verifies() {
    let folder = bundle("", "", "");
    let key = SecretKey::from_seed([1; 32]);
    let signed = Draft::read(folder.path()).unwrap().sign(&address(), &key, 1_700_000_000);
    for at in 0..signed.bytes.len() {
        let mut changed = signed.clone();
        changed.bytes[at] ^= 1;
        assert!(changed.open().is_err(), "byte {at}");
    }
}

#[test]
fn hostile_file_names_are_refused_even_when_signed() {
    let folder = bundle("", "", "");
    let key = SecretKey::from_seed([1; 32]);
    let manifest = Draft::read(folder.path()).unwrap().manifest(&address(), key.public(), 0);
    let entry = manifest.files["/site/index.html"].clone();
    for name in ["/../x", "x", "", "/", "/a//b", "/a/./b", "/a\0b", "/SITE/index.html", "/a b", "//a"] {
        let mut hostile = manifest.clone();
        hostile.files.insert(name.to_owned(), entry.clone());
        let bytes = serde_json::to_vec(&hostile).unwrap();
        let signed = SignedManifest { signature: key.sign(&bytes), bytes };
        assert!(matches!(signed.open(), Err(VerifyError::FileName { .. })), "{name}");
    }
}

/// Faults and how they are told: file, what is replaced by what, the report behind the folder's name.
const FAULTS: &[(&str, &str, &str, &str)] = &[
    ("bundle.toml", "public = true", "pubic = true", "bundle.toml:3:1: unknown field `pubic`, expected one of"),
    ("bundle.toml", "name = \"demo\"", "name = demo", "bundle.toml:2:8: "),
    (
        "bundle.toml",
        "\"site/**\"",
        "\"site/none.html\"",
        "bundle.toml:4:12: there is no file site/none.html\n  hint: paths are relative to bundle.toml",
    ),
    (
        "mechtrons/page.toml",
        "wasm/page.wasm",
        "wasm/other.wasm",
        "mechtrons/page.toml:2:8: the module wasm/other.wasm is missing\n  hint: build it first",
    ),
    ("mechtrons/page.toml", "2 MiB", "2 cows", "mechtrons/page.toml:6:10: "),
    ("mechtrons/page.toml", "1 s", "1 parsec", "mechtrons/page.toml:7:8: "),
    (
        "mechtrons/page.toml",
        "binds/page.toml",
        "binds/x.toml",
        "mechtrons/page.toml:4:8: there is no bind binds/x.toml",
    ),
    (
        "binds/page.toml",
        "schemas/render.json",
        "schemas/x.json",
        "binds/page.toml:4:57: the schema schemas/x.json is missing",
    ),
    ("schemas/render.json", "{}", "{", "binds/page.toml:4:57: the schema schemas/render.json is no JSON"),
    (
        "app.toml",
        "placement = \"both\"",
        "placement = \"moon\"",
        "app.toml:5:13: unknown variant `moon`, expected one of",
    ),
    ("app.toml", "\"page:{key}\"", "\"Page:{key}\"", "app.toml:3:12: `Page:{key}` can't be part of an address"),
    (
        "app.toml",
        "mechtrons/page.toml",
        "mechtrons/x.toml",
        "app.toml:4:10: there is no mechtron config mechtrons/x.toml",
    ),
    ("app.toml", "migrations/", "sql/", "app.toml:9:14: the bundle has no files in sql/"),
    ("app.toml", "GET /people", "people", "app.toml:12:1: `people/{name}` is no route"),
    ("app.toml", "site/index.html", "site/x.html", "app.toml:11:20: the bundle has no file site/x.html"),
    (
        "app.toml",
        ".:page:{name}",
        ".:book:{name}",
        "app.toml:12:31: the app has no `book:{key}`; it has page:{key}, db",
    ),
    (
        "app.toml",
        "operation = \"render\"",
        "operation = \"x\"",
        "app.toml:12:60: the bind of `page:{key}` has no operation `x`",
    ),
];

#[test]
fn faults_are_told_with_file_line_and_column() {
    for (file, from, to, expected) in FAULTS {
        let folder = bundle(file, from, to);
        let error = Draft::read(folder.path()).unwrap_err().to_string();
        let told = error.strip_prefix(&format!("{}/", folder.path().display())).unwrap_or(&error);
        assert!(told.starts_with(expected), "{file}, {to}:\n{told}\nwhere was expected:\n{expected}");
    }
}

#[test]
fn a_folder_without_a_bundle_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Draft::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("a bundle is a folder with a bundle.toml"), "{error}");
}

#[test]
fn links_are_not_followed_out_of_the_folder() {
    let folder = bundle("", "", "");
    std::os::unix::fs::symlink("/etc/hostname", folder.path().join("site/link")).unwrap();
    let error = Draft::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is a link"), "{error}");
}
