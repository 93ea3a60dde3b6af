//! The data folder and its backups: who can read them, and into which folders a backup can be restored.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use serde_json::json;
use starlane_bundle::Digest;
use starlane_testkit::{attack, field_fault};

use crate::world::{Server, folder, starlane, through_shell};

/// The files and folders below a path that others than the owner can access.
fn open_to_others(path: &Path, seen: &mut BTreeSet<PathBuf>, open: &mut BTreeSet<PathBuf>) {
    // The file can have been removed meanwhile.
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

/// The database file of `acme:n`, relative to the data folder.
pub(crate) fn database(data: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(data.join("databases/acme:n")).into_iter().flatten().flatten();
    let mut databases =
        files.map(|file| file.path()).filter(|file| file.extension().is_some_and(|end| end == "sqlite"));
    Some(databases.next()?.strip_prefix(data).unwrap().to_owned())
}

/// A server with a private bundle, an app with a written database, a token and a grant.
pub(crate) fn filled(server: &Server) {
    server.publish(&server.token, 1, database_bundle().path(), "acme:repo:n:1.0.0");
    assert_eq!(server.create(&server.token, "acme:n", "acme:repo:n:1.0.0").status, 200);
    let write = json!({ "sql": "CREATE TABLE IF NOT EXISTS t (n)" });
    assert_eq!(server.command("acme:n:db", "execute", &write).status, 200);
    server.token_for("ada", &["request acme:**"]);
    server.command("starlane:grants", "add", &json!({ "principal": "ada", "grants": ["launch acme:n"] }));
}

#[test]
fn only_the_owner_can_read_a_data_folder_or_a_backup() {
    let (mut seen, mut open) = (BTreeSet::new(), BTreeSet::new());
    let mut server = Server::start_by("umask 000; exec \"$@\"", "");
    let backups = server.folder().join("backups");
    fs::create_dir(&backups).unwrap();
    fs::write(backups.join("b.part"), "a file of another program").unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Checks continuously, because an attacker could read a file that is readable only for a moment.
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
    for name in [".sqlite-wal", "audit/current.jsonl", "principals.json", "lock"] {
        assert!(seen.iter().any(|path| path.to_string_lossy().ends_with(name)), "{name} was looked at");
    }
    assert_eq!(fs::read_to_string(backups.join("b.part")).unwrap(), "a file of another program");
    // The modes of an earlier version, or changed modes, are corrected at the next start.
    server.kill();
    assert!(Command::new("chmod").arg("-R").arg("a+rX").arg(&server.data).status().unwrap().success());
    fs::write(server.data.join("notes.txt"), "not ours").unwrap();
    fs::set_permissions(server.data.join("notes.txt"), fs::Permissions::from_mode(0o644)).unwrap();
    server.start_again();
    open_to_others(&server.data, &mut seen, &mut open);
    assert!(open.remove(&server.data.join("notes.txt")), "foreign files are not changed");
    assert!(open.is_empty(), "{open:?}");
    attack("A5", seen.len(), open.len());
    field_fault("F19", seen.len(), open.len());
}

#[test]
fn a_backup_does_not_replace_files_or_follow_links() {
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
    // As systemd creates it with `StateDirectory=` and `DynamicUser=`.
    fs::create_dir_all(at("var/private/starlane")).unwrap();
    symlink("private/starlane", at("var/starlane")).unwrap();
    // Like the root of a file system.
    fs::create_dir_all(at("mount/lost+found")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    let mut failing = Vec::new();
    for (target, behind) in
        [("var/starlane", "var/private/starlane"), ("mount", "mount"), ("empty", "empty"), ("a/b/new", "a/b/new")]
    {
        let output = server.starlane(&["restore", "b.tar", "--data", target]);
        let whole = database(&at(behind)).is_some() && !at(behind).join(".restoring").exists();
        let tight = fs::metadata(at(behind)).unwrap().permissions().mode() & 0o077 == 0 || behind != "a/b/new";
        if !output.status.success() || !whole || !tight {
            failing.push(format!("{target}: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    assert!(at("var/starlane").is_symlink(), "the link stays");
    let checked = server.starlane(&["check", "--data", "var/starlane"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    // A failed restore changes nothing.
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
fn a_server_does_not_start_after_an_interrupted_restore() {
    let server = Server::start();
    fs::create_dir_all(server.folder().join("half/.restoring")).unwrap();
    let output = server.starlane(&["serve", "--listen", "127.0.0.1:0", "--data", "half"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("restore"), "{told}");
}

#[test]
fn a_restored_backup_refuses_earlier_tokens_unless_keys_are_kept() {
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
        assert!(String::from_utf8_lossy(&output.stdout).contains("older tokens"));
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

/// Every principal that can deploy can upload an existing blob again. Clients that are reading it are not affected.
#[test]
fn download_continues_while_others_upload_the_same_file_again() {
    const LENGTH: usize = 32 << 20;
    let server = Server::start();
    let bundle = folder(&[(
        "bundle.toml",
        "[bundle]\nname = \"n\"\ndescription = \"\"\nlicence = \"MIT\"\npublic = true\ninclude = [\"site/**\"]\n",
    )]);
    let bytes: Vec<u8> = (0..LENGTH as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::create_dir(bundle.path().join("site")).unwrap();
    fs::write(bundle.path().join("site/big.bin"), &bytes).unwrap();
    server.publish(&server.token, 1, bundle.path(), "acme:repo:n:1.0.0");
    let evil = server.token_for("evil", &["deploy evil:**"]);
    let digest = Digest::of(&bytes).to_string();
    let file = server.data.join("blobs").join(&digest[..2]).join(&digest);
    let state = || {
        let about = fs::metadata(&file).unwrap();
        (about.ino(), about.ctime(), about.ctime_nsec())
    };

    let mut stream = server.connect();
    let request =
        format!("GET /blobs/sha256/{digest} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address());
    stream.write_all(request.as_bytes()).unwrap();
    let mut got = vec![0; 64 << 10];
    stream.read_exact(&mut got).unwrap();
    let before = state();
    for _ in 0..3 {
        assert_eq!(server.with_token(&evil, "PUT", &format!("/blobs/sha256/{digest}"), &bytes).status, 204);
    }
    assert_eq!(state(), before, "nothing was written");
    // A backup also changes the dates of files, but the digest still identifies the bytes.
    fs::File::options().append(true).open(&file).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    stream.read_to_end(&mut got).unwrap();
    let body = got.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(got.len() - body, LENGTH, "the download was cut");
    assert!(got[body..] == bytes[..]);
}
