//! Tests that damage is found, and what a server does with a folder that it cannot read.

use std::{fs, process::Command};

use serde_json::json;
use starlane_bundle::Digest;
use starlane_testkit::attack;

use crate::{
    disk::{database, filled},
    world::Server,
};

/// A check of the folder and a check of the running server find each kind of damage, and name the remedy.
#[test]
fn a_check_finds_every_kind_of_damage() {
    let mut server = Server::start();
    filled(&server);
    let good = server.starlane(&["check", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&good.stdout).unwrap();
    assert!(good.status.success() && report["good"] == true, "{report}");
    let counted = ["bundles", "apps", "databases"].map(|name| report["report"][name].as_u64().unwrap());
    assert_eq!(counted[..2], [1, 1]);
    assert!(counted[2] >= 1);
    server.kill();
    // It also lets SQLite apply the write-ahead log that the killed server left.
    assert!(server.starlane(&["check", "--data", server.data.to_str().unwrap()]).status.success());
    let blob = Digest::of(b"<p>hello</p>").to_string();
    let (blob, manifest) = (format!("blobs/{}/{blob}", &blob[..2]), "bundles/acme/repo/n/1.0.0/manifest.json");
    let change = |name: &str, change: fn(&mut Vec<u8>)| {
        let file = server.data.join(name);
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
    };
    let flip: fn(&mut Vec<u8>) = |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() / 2);
    let empty: fn(&mut Vec<u8>) = Vec::clear;
    let page: fn(&mut Vec<u8>) = |bytes| bytes[40..].iter_mut().for_each(|byte| *byte = 0xa5);
    let kept = server.folder().join("kept");
    assert!(Command::new("cp").arg("-a").arg(&server.data).arg(&kept).status().unwrap().success());
    let of_database = database(&server.data).unwrap().to_string_lossy().into_owned();
    type Damage = Option<fn(&mut Vec<u8>)>;
    let damages: [(&str, Damage); 20] = [
        (&blob, Some(flip)),
        (&blob, Some(cut)),
        (&blob, None),
        (manifest, Some(flip)),
        (manifest, None),
        ("bundles/acme/repo/n/1.0.0/manifest.signature", Some(flip)),
        ("bundles/acme/repo/n/1.0.0/manifest.signature", None),
        ("bundles/acme/repo/n/publisher.key", Some(cut)),
        ("apps/acme:n.json", Some(cut)),
        ("bundles/acme/repo/n/publisher.key", None),
        (&of_database, Some(page)),
        (&of_database, None),
        ("state.sqlite", None),
        ("audit/current.jsonl", None),
        ("principals.json", None),
        ("principals.json", Some(cut)),
        ("token.key", Some(cut)),
        ("host.secret", Some(cut)),
        ("format.json", Some(empty)),
        ("audit/current.jsonl", Some(|bytes| flip_quote(bytes))),
    ];
    let mut missed = Vec::new();
    for (name, damage) in damages {
        match damage {
            Some(damage) => change(name, damage),
            None => fs::remove_file(server.data.join(name)).unwrap(),
        }
        let output = server.starlane(&["check", "--data", server.data.to_str().unwrap(), "--output", "json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let problems = report["report"]["problems"].as_array().cloned().unwrap_or_default();
        let named = problems.iter().any(|found| {
            let mends = found["mend"].as_str().is_some_and(|mend| !mend.is_empty());
            mends && !found["problem"].as_str().unwrap().is_empty()
        });
        if output.status.code() != Some(1) || !named {
            missed.push(format!("{name}: {report} {}", String::from_utf8_lossy(&output.stderr)));
        }
        assert!(Command::new("rm").arg("-rf").arg(&server.data).status().unwrap().success());
        assert!(Command::new("cp").arg("-a").arg(&kept).arg(&server.data).status().unwrap().success());
    }
    assert!(missed.is_empty(), "{missed:#?}");
    // The same while a running server uses the folder.
    change(&blob, flip);
    server.start_again();
    for words in [vec!["check"], vec!["check", "--data", server.data.to_str().unwrap()]] {
        let output = server.starlane(&words);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("it is damaged") && told.contains("publish"), "{told}");
    }
    server.ask("", "starlane:server", "check", &json!({})).fails(401, "auth-refused");
}

fn flip_quote(bytes: &mut [u8]) {
    bytes[0] = b'[';
}

#[test]
fn a_newer_format_is_refused_and_an_older_one_is_migrated() {
    let mut server = Server::start();
    filled(&server);
    let old = server.token_for("old", &["request **"]);
    server.kill();
    let format = server.data.join("format.json");
    for (text, says) in [
        (r#"{"format":3,"version":"9.9.9","more":true}"#, "9.9.9"),
        (r#"{"format":4000000000}"#, "format 4000000000"),
        (r#"{"format":0}"#, "damaged"),
        ("", "damaged"),
    ] {
        fs::write(&format, text).unwrap();
        let output = server.starlane(&["serve", "--listen", "127.0.0.1:0"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains(says) && told.contains("restore"), "{told}");
    }
    // Format 1 has no `format.json`, and revocations by time.
    fs::remove_file(&format).unwrap();
    let v1 = r#"{"tokensInUse":true,"grants":{"ada":["launch acme:n"]},"revokedTokens":{},"revokedUntil":{"ada":1}}"#;
    fs::write(server.data.join("principals.json"), v1).unwrap();
    server.start_again();
    let listed = server.command("starlane:grants", "list", &json!({})).json();
    assert_eq!(listed["principals"], json!({ "ada": ["launch acme:n"] }));
    assert_eq!(server.ask(&old, "starlane:apps", "list", &json!({})).status, 200);
    assert!(server.starlane(&["check"]).status.success());
}

#[test]
fn unlistable_folders_stop_the_start_and_unreadable_bundles_are_private() {
    let mut server = Server::start();
    filled(&server);
    let mut through = 0;
    let manifest = server.data.join("bundles/acme/repo/n/1.0.0/manifest.json");
    let whole = fs::read(&manifest).unwrap();
    let blob = format!("/blobs/sha256/{}", Digest::of(b"<p>hello</p>"));
    for damaged in [&b"{}"[..], b"", &whole[..whole.len() - 1]] {
        server.kill();
        fs::write(&manifest, damaged).unwrap();
        server.start_again();
        for path in ["/bundles/acme:repo:n:1.0.0", blob.as_str(), "/bundles/acme:repo:other:1.0.0"] {
            let status = server.get(path).status;
            through += usize::from(status == 200);
            assert!([401, 404].contains(&status), "{path}: {status}");
        }
    }
    server.kill();
    fs::write(&manifest, &whole).unwrap();
    for name in ["bundles", "apps"] {
        fs::rename(server.data.join(name), server.data.join("aside")).unwrap();
        fs::write(server.data.join(name), "a file").unwrap();
        let output = server.starlane(&["serve", "--listen", "127.0.0.1:0"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && told.contains(name), "{told}");
        fs::remove_file(server.data.join(name)).unwrap();
        fs::rename(server.data.join("aside"), server.data.join(name)).unwrap();
    }
    attack("A8", 11, through);
}
