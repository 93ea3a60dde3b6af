//! The data folder: who may read it, what a backup gives away, how full it gets, and whether damage is found.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::json;
use starlane_bundle::{Digest, SecretKey, authoring::Draft};
use starlane_protocol::Address;
use starlane_testkit::{attack, field_fault};

use crate::world::{Server, folder, starlane, through_shell};

/// Files and folders that others than their owner may use, below a path.
fn open_to_others(path: &Path, seen: &mut BTreeSet<PathBuf>, open: &mut BTreeSet<PathBuf>) {
    // What went meanwhile has no mode.
    let Ok(about) = fs::symlink_metadata(path) else { return };
    seen.insert(path.to_owned());
    if !about.is_symlink() && about.permissions().mode() & 0o077 != 0 {
        open.insert(path.to_owned());
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        open_to_others(&entry.path(), seen, open);
    }
}

fn database_bundle() -> tempfile::TempDir {
    folder(&[
        ("bundle.toml", "[bundle]\nname = \"n\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n"),
        (
            "app.toml",
            "[app]\nname = \"n\"\n[resources.db]\nkind = \"database\"\n[http]\n\"GET /\" = { file = \"site/a.html\" }\n",
        ),
        ("site/a.html", "<p>hello</p>"),
    ])
}

/// A server with a private bundle, an app with a database that was written to, a token and a grant.
fn filled(server: &Server) {
    server.publish(&server.token, 1, database_bundle().path(), "acme:repo:n:1.0.0");
    assert_eq!(server.create(&server.token, "acme:n", "acme:repo:n:1.0.0").status, 200);
    let write = json!({ "sql": "CREATE TABLE IF NOT EXISTS t (n)" });
    assert_eq!(server.command("acme:n:db", "execute", &write).status, 200);
    server.token_for("ada", &["request acme:**"]);
    server.command("starlane:grants", "add", &json!({ "principal": "ada", "grants": ["launch acme:n"] }));
}

#[test]
fn nobody_but_its_owner_reads_a_data_folder_or_a_backup() {
    let (mut seen, mut open) = (BTreeSet::new(), BTreeSet::new());
    let mut server = Server::start_by("umask 000; exec \"$@\"", "");
    let backups = server.folder().join("backups");
    fs::create_dir(&backups).unwrap();
    fs::write(backups.join("b.part"), "of somebody else").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Looks all the time: a file that is open for a moment is read in that moment.
        let watching = scope.spawn(|| {
            let (mut seen, mut open) = (BTreeSet::new(), BTreeSet::new());
            while !done.load(Relaxed) {
                open_to_others(&server.data, &mut seen, &mut open);
                for file in fs::read_dir(&backups).unwrap().flatten().filter(|file| file.file_name() != "b.part") {
                    open_to_others(&file.path(), &mut seen, &mut open);
                }
            }
            (seen, open)
        });
        filled(&server);
        for n in 0..5 {
            let mut command = starlane(server.folder());
            command.args(["backup", &format!("backups/b{n}.tar")]);
            let mut command = through_shell(&command, server.folder(), "umask 000; exec \"$@\"");
            command.env("STARLANE_SERVER", &server.url).env("STARLANE_DATA", &server.data);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        done.store(true, Relaxed);
        let (more, wrong) = watching.join().unwrap();
        seen.extend(more);
        open.extend(wrong);
    });
    for name in ["databases/acme:n/db.sqlite-wal", "audit/current.jsonl", "principals.json", "lock"] {
        assert!(seen.contains(&server.data.join(name)), "{name} was looked at");
    }
    assert_eq!(fs::read_to_string(backups.join("b.part")).unwrap(), "of somebody else");
    // Made by an earlier version, or changed by somebody: tight again after a start.
    server.kill();
    assert!(Command::new("chmod").arg("-R").arg("a+rX").arg(&server.data).status().unwrap().success());
    fs::write(server.data.join("notes.txt"), "not ours").unwrap();
    fs::set_permissions(server.data.join("notes.txt"), fs::Permissions::from_mode(0o644)).unwrap();
    server.start_again();
    open_to_others(&server.data, &mut seen, &mut open);
    assert!(open.remove(&server.data.join("notes.txt")), "what is not ours is left as it is");
    assert!(open.is_empty(), "{open:?}");
    attack("A5", seen.len(), open.len());
    field_fault("F19", seen.len(), open.len());
}

#[test]
fn a_backup_replaces_no_file_and_follows_no_link() {
    let server = Server::start();
    let at = |name: &str| server.folder().join(name);
    fs::write(at("there.tar"), "kept").unwrap();
    fs::write(at("victim"), "kept").unwrap();
    symlink(at("victim"), at("link.tar")).unwrap();
    symlink(at("nowhere"), at("dangling.tar")).unwrap();
    let before = fs::read_dir(server.folder()).unwrap().count();
    for name in ["there.tar", "link.tar", "dangling.tar", "no/such/folder.tar"] {
        assert_eq!(server.starlane(&["backup", name]).status.code(), Some(1), "{name}");
    }
    assert_eq!(fs::read_dir(server.folder()).unwrap().count(), before, "nothing is left behind");
    assert_eq!(fs::read_to_string(at("there.tar")).unwrap() + &fs::read_to_string(at("victim")).unwrap(), "keptkept");
    assert!(!at("nowhere").exists());
    field_fault("F19", 4, 0);
}

#[test]
fn a_restore_fills_the_empty_folder_behind_a_link_or_mount() {
    let server = Server::start();
    filled(&server);
    assert!(server.starlane(&["backup", "b.tar"]).status.success());
    let at = |name: &str| server.folder().join(name);
    // As systemd makes it with `StateDirectory=` and `DynamicUser=`.
    fs::create_dir_all(at("var/private/starlane")).unwrap();
    symlink("private/starlane", at("var/starlane")).unwrap();
    // As the top of a file system.
    fs::create_dir_all(at("mount/lost+found")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    let mut failing = Vec::new();
    for (target, behind) in
        [("var/starlane", "var/private/starlane"), ("mount", "mount"), ("empty", "empty"), ("a/b/new", "a/b/new")]
    {
        let output = server.starlane(&["restore", "b.tar", "--data", target]);
        let whole = at(behind).join("databases/acme:n/db.sqlite").exists() && !at(behind).join(".restoring").exists();
        let tight = fs::metadata(at(behind)).unwrap().permissions().mode() & 0o077 == 0 || behind != "a/b/new";
        if !output.status.success() || !whole || !tight {
            failing.push(format!("{target}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(at("var/starlane").is_symlink(), "the link stays");
    let checked = server.starlane(&["check", "--data", "var/starlane"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    // What fails leaves everything as it was.
    let whole = fs::read(at("b.tar")).unwrap();
    fs::write(at("cut.tar"), &whole[..whole.len() / 2]).unwrap();
    fs::create_dir(at("behind")).unwrap();
    symlink("behind", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::create_dir(at("full")).unwrap();
    fs::write(at("full/mine"), "").unwrap();
    let listed = || {
        let output = Command::new("find").arg(server.folder()).args(["-not", "-path", "*/data/*"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = listed();
    for (file, target) in
        [("cut.tar", "link"), ("cut.tar", "x/y/z"), ("b.tar", "full"), ("b.tar", "dangling"), ("none.tar", "link")]
    {
        if server.starlane(&["restore", file, "--data", target]).status.code() != Some(1) || listed() != before {
            failing.push(format!("{file} into {target}"));
        }
    }
    assert!(failing.is_empty(), "{failing:?}");
    field_fault("F20", 9, failing.len());
}

#[test]
fn a_restore_that_was_interrupted_starts_no_server() {
    let server = Server::start();
    fs::create_dir_all(server.folder().join("half/.restoring")).unwrap();
    let output = server.starlane(&["serve", "--listen", "127.0.0.1:0", "--data", "half"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("restore"), "{told}");
}

#[test]
fn a_restored_backup_makes_no_token_good_again_unless_keys_are_kept() {
    let mut server = Server::start();
    filled(&server);
    let (kept, revoked) = (server.token_for("grace", &["request **"]), server.token_for("eve", &["request **"]));
    assert!(server.starlane(&["backup", "b.tar"]).status.success());
    server.command("starlane:tokens", "revoke", &json!({ "subject": "eve" }));
    let admin = server.token.clone();
    let mut through = 0;
    for (flags, expected) in [(&[][..], [401, 401, 401]), (&["--keep-keys"][..], [200, 200, 200])] {
        let target = server.folder().join(format!("restored-{}", flags.len()));
        let output = server.starlane(&[&["restore", "b.tar", "--data", target.to_str().unwrap()], flags].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(String::from_utf8_lossy(&output.stdout).contains("tokens made before"));
        server.kill();
        server.data = target;
        server.start_again();
        let status =
            [&kept, &revoked, &admin].map(|token| server.ask(token, "starlane:apps", "list", &json!({})).status);
        assert_eq!(status, expected, "{flags:?}");
        through += usize::from(flags.is_empty() && status[1] == 200);
        assert_eq!(server.ask("", "starlane:apps", "list", &json!({})).status, 401, "tokens are still in use");
    }
    attack("A8", 2, through);
}

/// Each kind of damage is found, with how to mend it, by a check of the folder and by one of the running server.
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
    // It also lets SQLite finish what the killed server left in a log beside the database.
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
    let damages: [(&str, Option<fn(&mut Vec<u8>)>); 15] = [
        (&blob, Some(flip)),
        (&blob, Some(cut)),
        (&blob, None),
        (manifest, Some(flip)),
        (manifest, None),
        ("bundles/acme/repo/n/1.0.0/manifest.signature", Some(flip)),
        ("bundles/acme/repo/n/1.0.0/manifest.signature", None),
        ("bundles/acme/repo/n/publisher.key", Some(cut)),
        ("apps/acme:n.json", Some(cut)),
        ("databases/acme:n/db.sqlite", Some(page)),
        ("principals.json", Some(cut)),
        ("token.key", Some(cut)),
        ("host.secret", Some(cut)),
        ("format.json", Some(empty)),
        ("audit/current.jsonl", Some(flip_quote)),
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
    // The same beside a running server, which has the folder.
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

fn flip_quote(bytes: &mut Vec<u8>) {
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
    // Format 1: no file, and revocations by time.
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
fn what_cannot_be_listed_stops_the_start_and_what_cannot_be_read_is_private() {
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

#[test]
fn uploads_and_spaces_have_quotas_and_what_nothing_names_is_collected() {
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
    // One digest, many times, and too many.
    let digest = Digest::of(&kept[0]).to_string();
    let missing = |count: usize| {
        let body = json!({ "sha256": vec![digest.clone(); count] }).to_string();
        server.with_token(&ci, "POST", "/blobs/missing", body.as_bytes())
    };
    assert_eq!(missing(100).json()["missing"], json!([]));
    missing(101).fails(413, "too-large");
    tried += 1;
    // A space that is full publishes nothing more; the same files again cost nothing.
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
    // What was uploaded for it is collected; what is named stays.
    let (orphan, named) = (vec![3; 900_000], vec![1; 900_000]);
    let there = |bytes: &[u8]| {
        let name = Digest::of(bytes).to_string();
        server.data.join("blobs").join(&name[..2]).join(name).exists()
    };
    let gone = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        !there(&orphan)
    });
    assert!(gone && there(&named), "an orphan goes, what is named stays");
    assert!(server.starlane(&["check"]).status.success());
    attack("B11", tried, through);
}

/// Publishing goes on while files are collected as often as they can be: no bundle is published without its files.
#[test]
fn collecting_takes_no_file_from_a_publish_and_survives_being_killed() {
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
fn the_disk_is_never_filled_to_its_end() {
    let server = Server::start_with("[limits]\ndisk-reserve = 1125899906842624\n");
    let put = server.with_token(&server.token, "PUT", &format!("/blobs/sha256/{}", Digest::of(b"x")), b"x");
    assert!(put.fails(507, "storage-full").contains("disk-reserve"));
    server.create(&server.token, "acme:x", "acme:repo:x:1.0.0").fails(507, "storage-full");
    // What the server itself has to keep goes on, within the reserve.
    server.token_for("ada", &[]);
    attack("B11", 2, 0);
}
