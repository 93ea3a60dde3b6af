//! The use of the disk: quotas of spaces and uploads, and the removal of unnamed files.

use std::fs;

use serde_json::json;
use starlane_bundle::{Digest, SecretKey, authoring::Draft};
use starlane_protocol::Address;
use starlane_testkit::attack;

use crate::world::{Server, folder};

#[test]
fn uploads_and_spaces_have_quotas_and_unnamed_files_are_collected() {
    let limits =
        "[limits]\npending-uploads = \"1 MiB\"\nspace-storage = \"2 MiB\"\nmissing-files = 100\ndisk-reserve = 0\n";
    let server = Server::start_with(limits);
    let ci = server.token_for("ci", &["deploy acme:**"]);
    let other = server.token_for("other", &["deploy other:**"]);
    let put = |token: &str, bytes: &[u8]| {
        server.with_token(token, "PUT", &format!("/blobs/sha256/{}", Digest::of(bytes)), bytes)
    };
    let (mut tried, mut through) = (0, 0);
    let mut kept = Vec::new();
    for n in 0..40_u8 {
        let bytes = vec![n; 100_000];
        let answer = put(&ci, &bytes);
        tried += 1;
        match answer.status {
            204 => kept.push(bytes),
            _ => assert!(answer.fails(507, "storage-full").contains("pending-uploads")),
        }
    }
    through += kept.len().saturating_sub(10);
    // Another subject of the same space shares its account; another space has its own.
    let second = server.token_for("acme/second", &["deploy acme:**"]);
    assert_eq!(put(&second, &[200; 100_000]).status, 507);
    assert_eq!(put(&other, &[200; 100_000]).status, 204);
    // One digest many times, and more digests than the limit.
    let digest = Digest::of(&kept[0]).to_string();
    let missing = |count: usize| {
        let body = json!({ "sha256": vec![digest.clone(); count] }).to_string();
        server.with_token(&ci, "POST", "/blobs/missing", body.as_bytes())
    };
    assert_eq!(missing(100).json()["missing"], json!([]));
    missing(101).fails(413, "too-large");
    tried += 1;
    // A full space cannot publish more, but publishing the same files again costs nothing.
    let bundle = |n: u8| {
        let made = folder(&[(
            "bundle.toml",
            "[bundle]\nname = \"n\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n",
        )]);
        fs::create_dir(made.path().join("site")).unwrap();
        fs::write(made.path().join("site/a.bin"), vec![n; 900_000]).unwrap();
        fs::write(made.path().join("site/b.bin"), vec![n; 900_000]).unwrap();
        made
    };
    let server = Server::start_with(&format!("{limits}upload-grace = \"10 s\"\n"));
    let publish = |n: u8, version: &str| {
        let made = bundle(n);
        let draft = Draft::read(made.path()).unwrap();
        server.upload(&server.token, &draft);
        let name = format!("acme:repo:n:{version}");
        let signed = draft.sign(&Address::parse(&name).unwrap(), &SecretKey::from_seed([1; 32]), 1_700_000_000);
        server.publish_manifest(&server.token, &name, &signed)
    };
    assert_eq!(publish(1, "1.0.0").status, 204);
    assert_eq!(publish(1, "1.0.1").status, 204, "the same files once more");
    assert_eq!(publish(2, "1.1.0").status, 204);
    let refused = publish(3, "1.2.0");
    tried += 1;
    through += usize::from(refused.status == 204);
    assert!(refused.fails(507, "storage-full").contains("space-storage"));
    // The uploads for it are collected; named files stay.
    let (orphan, named) = (vec![3; 900_000], vec![1; 900_000]);
    let there = |bytes: &[u8]| {
        let name = Digest::of(bytes).to_string();
        server.data.join("blobs").join(&name[..2]).join(name).exists()
    };
    let gone = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        !there(&orphan)
    });
    assert!(gone && there(&named), "an unnamed file is removed, and a named file stays");
    assert!(server.starlane(&["check"]).status.success());
    attack("B11", tried, through);
}

/// Files are collected continuously while bundles are published: no bundle is published without its files.
#[test]
fn collecting_keeps_the_files_of_a_publish_and_survives_kills() {
    let limits = "[limits]\nupload-grace = \"10 s\"\ndisk-reserve = 0\n";
    let mut server = Server::start_with(limits);
    let mut published = 0;
    for round in 0..3 {
        for n in 0..8 {
            let text = format!("{round} {n}");
            let made = folder(&[
                (
                    "bundle.toml",
                    "[bundle]\nname = \"n\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n",
                ),
                ("site/a.txt", &text),
            ]);
            server.publish(&server.token, 1, made.path(), &format!("acme:repo:n:1.{round}.{n}"));
            published += 1;
        }
        server.start_again();
    }
    let checked = server.starlane(&["check", "--output", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(
        (report["good"].as_bool(), report["report"]["bundles"].as_u64()),
        (Some(true), Some(published)),
        "{report}"
    );
    attack("B11", published as usize, 0);
}

#[test]
fn the_disk_always_keeps_a_reserve() {
    let server = Server::start_with("[limits]\ndisk-reserve = 1125899906842624\n");
    let put = server.with_token(&server.token, "PUT", &format!("/blobs/sha256/{}", Digest::of(b"x")), b"x");
    assert!(put.fails(507, "storage-full").contains("disk-reserve"));
    server.create(&server.token, "acme:x", "acme:repo:x:1.0.0").fails(507, "storage-full");
    // The server's own writes continue within the reserve.
    server.token_for("ada", &[]);
    attack("B11", 2, 0);
}

/// A quota counts the use of the disk, so many small files count as much as a large one.
#[test]
fn many_small_files_fill_a_space_like_a_large_one() {
    let limits = "[limits]\nspace-storage = \"2 MiB\"\ndisk-reserve = 0\n";
    let publish = |server: &Server, version: u32, files: &[(&str, &str)]| {
        let made = folder(files);
        let draft = Draft::read(made.path()).unwrap();
        server.upload(&server.token, &draft);
        let name = format!("acme:repo:n:1.0.{version}");
        let signed = draft.sign(&Address::parse(&name).unwrap(), &SecretKey::from_seed([1; 32]), 1_700_000_000);
        server.publish_manifest(&server.token, &name, &signed)
    };
    let bundle = |more: &str| {
        format!("[bundle]\nname = \"n\"\ndescription = \"{more}\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n")
    };
    let fits = |server: &Server, most: u32, files: &dyn Fn(u32) -> Vec<(String, String)>| {
        (0..most)
            .take_while(|version| {
                let files = files(*version);
                let files: Vec<(&str, &str)> =
                    files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
                let answer = publish(server, *version, &files);
                if answer.status != 204 {
                    assert!(answer.fails(507, "storage-full").contains("space-storage"));
                }
                answer.status == 204
            })
            .count()
    };
    // Manifests alone: 300 of them contain 2.4 MB. Files of one byte: a thousand of them use 4 MB of blocks.
    let manifests = fits(&Server::start_with(limits), 300, &|version| {
        vec![("bundle.toml".to_owned(), bundle(&format!("{version:08000}")))]
    });
    let small = fits(&Server::start_with(limits), 20, &|version| {
        let files = (0..50).map(|n| (format!("site/{n}.txt"), format!("{version}.{n}")));
        std::iter::once(("bundle.toml".to_owned(), bundle(""))).chain(files).collect()
    });
    // Deleted apps leave the number of their last revision.
    let server = Server::start_with(limits);
    let app = [("bundle.toml", bundle("")), ("app.toml", "[app]\nname = \"n\"\n".to_owned())];
    let files: Vec<(&str, &str)> = app.iter().map(|(name, text)| (*name, text.as_str())).collect();
    assert_eq!(publish(&server, 0, &files).status, 204);
    let made = (0..700)
        .take_while(|n| {
            let name = format!("acme:n{n}");
            let answer = server.create(&server.token, &name, "acme:repo:n:1.0.0");
            let _ = server.command("starlane:apps", "delete", &json!({ "app": name }));
            answer.status == 200
        })
        .count();
    println!("{manifests} manifests, {small} bundles of 50 small files, {made} apps");
    let through = usize::from(manifests >= 300) + usize::from(small >= 20) + usize::from(made >= 700);
    attack("B11", manifests + small + made, through);
}
