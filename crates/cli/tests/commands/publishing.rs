//! The commands for authors.

use std::{
    fs,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use starlane_testkit::{figure, guest};

use crate::world::{APP, BUNDLE, World, starlane, text};

#[test]
fn a_new_mechtron_has_its_name_and_all_files() {
    let folder = tempfile::tempdir().unwrap();
    let made = starlane(folder.path()).args(["new", "mechtron", "my-book"]).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("starlane dev my-book"));
    for file in [
        "AGENTS.md",
        "Cargo.toml",
        ".gitattributes",
        ".gitignore",
        "binds/my-book.toml",
        "sdk/crates/mechtron/src/lib.rs",
        "src/lib.rs",
    ] {
        assert!(folder.path().join("my-book").join(file).exists(), "{file}");
    }
    for (file, kind) in
        [("bundle", "bundle"), ("app", "app"), ("binds/my-book", "bind"), ("mechtrons/my-book", "mechtron")]
    {
        let file = folder.path().join(format!("my-book/{file}.toml"));
        let written = fs::read_to_string(&file).unwrap();
        let schema = written.lines().next().unwrap().strip_prefix("#:schema ").unwrap();
        let kept = fs::read(file.parent().unwrap().join(schema)).unwrap();
        let printed = starlane(folder.path()).args(["schema", kind]).output().unwrap();
        assert!(printed.status.success() && printed.stdout == kept, "{kind}");
    }
    let told = |words: &[&str]| text(&starlane(folder.path()).args(words).output().unwrap().stderr);
    assert!(told(&["new", "mechtron", "my-book"]).contains("exists already"));
    assert!(told(&["new", "mechtron", "My Book"]).contains("a-z first"));
    assert!(told(&["build", "nowhere"]).contains("nowhere"));
    fs::write(folder.path().join("my-book/bundle.toml"), "[bundle]\nname = \"x\"\n[build]\ncommand = \"exit 3\"\n")
        .unwrap();
    assert!(told(&["build", "my-book"]).contains("exit status: 3"));
}

#[test]
fn a_published_bundle_is_shown_and_checked_file_by_file() {
    let world = World::start();
    let told = world.fails(1, &["bundle", "show", "acme:repo:notes:1.0.0"]);
    assert!(told.contains("starlane publish"), "{told}");
    assert!(world.fails(1, &["keys", "show"]).contains("starlane keys new"));
    let made = world.json(&["keys", "new"]);
    assert!(world.fails(1, &["keys", "new"]).contains("--key"));
    world.publish_notes();
    let shown = text(&world.run(&["bundle", "show", "acme:repo:notes:1.0.0"]).stdout);
    assert!(shown.contains("/site/index.html  12 B") && shown.contains("text/html"), "{shown}");
    let whole = world.json(&["bundle", "verify", "acme:repo:notes:1.0.0"]);
    assert_eq!((&whole["publisher"], &whole["bytes"]), (&made["publicKey"], &Value::from(12)));
    assert_eq!(world.json(&["keys", "show"])["publicKey"], made["publicKey"]);
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let printed = text(&world.run(&["completions", shell]).stdout);
        assert!(printed.contains("publish") && printed.contains("starlane"), "{shell}");
    }
}

#[test]
fn only_the_changed_file_of_a_thousand_is_uploaded() {
    let world = World::start();
    world.write("notes/bundle.toml", BUNDLE);
    world.write("notes/app.toml", APP);
    world.write("notes/site/index.html", "<p>notes</p>");
    for n in 1..1_000 {
        world.write(&format!("notes/site/{n}.txt"), &format!("file {n}"));
    }
    let before = Instant::now();
    let first = world.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    figure::figure("publish.1000-files", before.elapsed().as_secs_f64(), "s");
    assert_eq!(first["uploaded"], 1_000);
    world.write("notes/site/500.txt", "changed");
    let second = world.json(&["publish", "notes", "acme:repo:notes:1.0.1"]);
    assert_eq!((&second["uploaded"], &second["present"]), (&Value::from(1), &Value::from(999)));
}

#[test]
fn an_interrupted_publish_uploads_only_the_rest() {
    const FILES: u64 = 400;
    let mut world = World::start();
    world.write("notes/bundle.toml", BUNDLE);
    for n in 0..FILES {
        world.write(&format!("notes/site/{n}.txt"), &format!("{n} ").repeat(20_000));
    }
    let data = world.folder.path().join(&world.data);
    let arrived = || {
        let folders = fs::read_dir(data.join("blobs")).into_iter().flatten().flatten();
        let files = folders.flat_map(|folder| fs::read_dir(folder.path()).unwrap().flatten());
        files.filter(|file| file.file_name().len() == 64).count() as u64
    };
    let mut publishing =
        world.command(&["publish", "notes", "acme:repo:notes:1.0.0"]).stderr(Stdio::piped()).spawn().unwrap();
    while arrived() < 20 {
        assert!(publishing.try_wait().unwrap().is_none(), "it ended before 20 files had arrived");
        thread::sleep(Duration::from_millis(2));
    }
    world.server.kill().unwrap();
    world.server.wait().unwrap();
    let cut = publishing.wait_with_output().unwrap();
    assert_eq!(cut.status.code(), Some(3), "{}", text(&cut.stderr));
    assert!(text(&cut.stderr).contains("can't be uploaded"), "{}", text(&cut.stderr));
    let before = arrived();
    assert!((20..FILES).contains(&before), "{before}");

    let again = World::start_in(&data);
    assert_eq!(again.json(&["bundle", "list"])["bundles"].as_array().unwrap().len(), 0, "a part of a version is none");
    let notes = world.folder.path().join("notes");
    let published = again.json(&["publish", notes.to_str().unwrap(), "acme:repo:notes:1.0.0"]);
    assert_eq!((&published["present"], &published["uploaded"]), (&before.into(), &(FILES - before).into()));
    assert_eq!(again.json(&["bundle", "verify", "acme:repo:notes:1.0.0"])["files"], FILES);
}

#[test]
fn lost_and_damaged_files_are_uploaded_again() {
    let world = World::start();
    world.publish_notes();
    let blobs = world.folder.path().join(&world.data).join("blobs");
    let folders = fs::read_dir(blobs).unwrap().map(|folder| folder.unwrap().path()).filter(|folder| folder.is_dir());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()));
    let kept: Vec<_> = files.filter(|file| file.file_name().unwrap().len() == 64).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    type Damage = fn(&Path) -> std::io::Result<()>;
    let damages: [(Damage, &str); 3] = [
        (|file| fs::remove_file(file), "is missing on the server"),
        (|file| fs::write(file, ""), "is damaged on the server"),
        (|file| fs::write(file, "<p>NOTES</p>"), "is damaged on the server"),
    ];
    for (damage, told) in damages {
        damage(&kept[0]).unwrap();
        let said = world.fails(1, &["bundle", "verify", "acme:repo:notes:1.0.0"]);
        assert!(said.contains(told) && said.contains("publish acme:repo:notes:1.0.0 again"), "{said}");
        let healed = world.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
        assert_eq!((&healed["unchanged"], &healed["uploaded"]), (&true.into(), &1.into()), "{told}");
        world.json(&["bundle", "verify", "acme:repo:notes:1.0.0"]);
    }
    let again = world.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    assert_eq!((&again["uploaded"], &again["present"]), (&0.into(), &1.into()));
}

#[test]
fn a_bundle_is_valid_until_it_expires() {
    let world = World::start();
    world.publish_notes();
    let plain = ["publish", "notes", "acme:repo:notes:1.1.0"];
    let expiring = [&plain[..], &["--expires", "1h"]].concat();
    let made = world.json(&expiring);
    assert!(made["expires"].is_u64(), "{made}");
    assert_eq!(world.json(&["bundle", "verify", "acme:repo:notes:1.1.0"])["expires"], made["expires"]);
    let shown = text(&world.run(&["bundle", "show", "acme:repo:notes:1.1.0"]).stderr);
    assert!(shown.contains(", expires 2"), "{shown}");
    for again in [&plain[..], &expiring] {
        assert_eq!(world.json(again)["unchanged"], true, "{again:?}");
    }
    let told = world.fails(1, &[&plain[..], &["--expires", "2h"]].concat());
    assert!(told.contains("another time to expire"), "{told}");

    world.json(&["publish", "notes", "acme:repo:notes:1.2.0", "--expires", "1s"]);
    let verify = ["bundle", "verify", "acme:repo:notes:1.2.0"];
    let until = Instant::now() + Duration::from_secs(20);
    while world.run(&verify).status.success() {
        assert!(Instant::now() < until, "it never expires");
        thread::sleep(Duration::from_millis(100));
    }
    let told = world.fails(1, &verify);
    assert!(told.contains("expired at 2"), "{told}");
    let shown = text(&world.run(&["bundle", "show", "acme:repo:notes:1.2.0"]).stderr);
    assert!(shown.contains(", expired 2"), "{shown}");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.2.0"]);
    assert!(told.contains("has expired"), "{told}");
}

#[test]
fn an_admin_can_take_over_a_name_for_another_key() {
    let world = World::start();
    world.publish_notes();
    world.write("notes/site/index.html", "<p>more notes</p>");
    let other = ["publish", "notes", "acme:repo:notes:1.1.0", "--key", "other-key"];
    let told = world.fails(1, &other);
    assert!(told.contains("belongs to the key ed25519:") && told.contains("--take-over"), "{told}");
    let token = text(&world.run(&["token", "create", "--subject", "ada", "--grant", "deploy acme:**"]).stdout);
    let taking = [&other[..], &["--take-over"]].concat();
    let told = world.fails(1, &[&taking[..], &["--token", token.trim()]].concat());
    assert!(told.contains("admin acme:repo:notes:1.1.0"), "{told}");
    let taken = world.json(&taking);
    let listed = world.json(&["bundle", "list"]);
    assert_eq!(listed["bundles"][1]["publisher"], taken["publisher"]);
    assert_ne!(listed["bundles"][0]["publisher"], taken["publisher"], "what was published stays as it is");
    // Now the other key owns the name.
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.2.0"]);
    assert!(told.contains(taken["publisher"].as_str().unwrap()), "{told}");
}

#[test]
fn a_bind_becomes_types_and_the_demos_are_up_to_date() {
    let www = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../www");
    let types = |bind: &str| starlane(&www).args(["bind", "types", bind]).output().unwrap();
    for name in ["profile", "directory"] {
        let made = types(&format!("bundle/binds/{name}.toml"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let kept = fs::read_to_string(www.join(format!("src/binds/{name}.ts"))).unwrap();
        assert_eq!(String::from_utf8_lossy(&made.stdout), kept, "`npm run types` in www makes them again");
    }
    for (bind, told) in [
        ("bundle/binds/none.toml", "there is no such file"),
        ("bundle/app.toml", "not in a folder `binds`"),
        ("acme:repo:profiles:1.0.0", "is not a bind"),
    ] {
        let refused = types(bind);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(told), "{bind}: {said}");
    }
}

#[test]
fn an_app_of_one_author_uses_a_mechtron_of_another() {
    let world = World::start();
    world.write("widgets/bundle.toml", "[bundle]\nname = \"widgets\"\npublic = true\n");
    world.write("widgets/app.toml", "[app]\nname = \"widgets\"\n[mechtrons.card]\nconfig = \"mechtrons/card.toml\"\n");
    world.write(
        "widgets/mechtrons/card.toml",
        "[mechtron]\nwasm = \"wasm/echo.wasm\"\nname = \"echo\"\nbind = \"binds/card.toml\"\n",
    );
    let bind = "[bind]\nname = \"card\"\n[operations.echo]\nrequest = { content-type = \"application/json\", schema = \"schemas/card.json\" }\nresponse = {}\n";
    world.write("widgets/binds/card.toml", bind);
    world.write("widgets/schemas/card.json", r#"{ "type": "string", "maxLength": 5 }"#);
    world.write("widgets/wasm/echo.wasm", "");
    fs::copy(guest("echo"), world.folder.path().join("widgets/wasm/echo.wasm")).unwrap();
    world.write("shop/bundle.toml", "[bundle]\nname = \"shop\"\n");
    let card = "[mechtrons.card]\nconfig = \"bob:repo:widgets:1.0.0:/mechtrons/card.toml\"\nplacement = \"server\"\n";
    world.write("shop/app.toml", &format!("[app]\nname = \"shop\"\n{card}"));

    let shop = ["publish", "shop", "acme:repo:shop:1.0.0", "--key", "acme-key"];
    let told = world.fails(1, &shop);
    assert!(told.contains("bob:repo:widgets:1.0.0 is not published"), "{told}");
    let bobs = world.json(&["publish", "widgets", "bob:repo:widgets:1.0.0", "--key", "bobs-key"]);
    let made = world.run(&shop);
    let remarks = text(&made.stderr);
    let of_bob = format!("It uses bob:repo:widgets:1.0.0 by {}", bobs["publisher"].as_str().unwrap());
    assert!(made.status.success() && remarks.contains(&of_bob), "{remarks}");
    let types = text(&world.run(&["bind", "types", "bob:repo:widgets:1.0.0:/binds/card.toml"]).stdout);
    assert!(types.contains("export interface Card"), "{types}");
    world.json(&["app", "create", "acme:shop", "--bundle", "acme:repo:shop:1.0.0"]);
    let said = world.json(&["send", "acme:shop:card", "echo", "--json", "\"hello\""]);
    assert_eq!(said["body"], "hello");
    let told = world.fails(1, &["send", "acme:shop:card", "echo", "--json", "\"hello!\""]);
    assert!(told.contains("422 schema-mismatch"), "{told}");
}
