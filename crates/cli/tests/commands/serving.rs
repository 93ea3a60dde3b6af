//! The commands for operators.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::Value;

use crate::world::{World, starlane, text};

#[test]
fn status_logs_and_files_of_a_server_are_shown() {
    let world = World::start();
    world.publish_notes();
    world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
    let status = text(&world.run(&["status"]).stdout);
    assert!(status.contains("Starlane") && status.contains("apps") && status.contains("answered"), "{status}");
    assert_eq!(world.json(&["status"])["inspection"]["apps"][0]["app"], "acme:notes");
    let logs = text(&world.run(&["logs"]).stdout);
    assert!(logs.contains("published") && logs.contains("app created") && !logs.contains('\u{1b}'), "{logs}");
    let mut following = starlane(world.folder.path())
        .args(["logs", "--follow", "--last", "0", "--server", &world.url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (told, lines) = mpsc::channel();
    let printed = BufReader::new(following.stdout.take().unwrap());
    std::thread::spawn(move || printed.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
    // The command does not report when it listens, so the test logs repeatedly.
    let seen = (0..100).any(|_| {
        world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
        lines.recv_timeout(Duration::from_millis(200)).is_ok_and(|line| line.contains("app upgraded"))
    });
    assert!(seen, "no line came in 100 tries");
    following.kill().unwrap();
    following.wait().unwrap();
    assert!(world.fails(1, &["status", "--token", "guessed"]).contains("auth-refused"));

    assert_eq!(world.json(&["bundle", "list"])["bundles"][0]["address"], "acme:repo:notes:1.0.0");
    assert_eq!(world.json(&["resource", "list"])["resources"][0]["address"], "acme:notes:db");
    let listed = text(&world.run(&["ls", "acme:repo:notes:1.0.0:/site"]).stdout);
    assert!(listed.contains("/site/index.html  12 B") && !listed.contains("app.toml"), "{listed}");
    assert_eq!(text(&world.run(&["cat", "acme:repo:notes:1.0.0:/site/index.html"]).stdout), "<p>notes</p>");
    assert_eq!(world.json(&["cp", "acme:repo:notes:1.0.0:/site/index.html", "."])["bytes"], 12);
    assert!(world.folder.path().join("index.html").exists());
    assert!(world.fails(1, &["cat", "acme:repo:notes:1.0.0"]).contains("has no path of a file"));
    assert!(world.fails(1, &["cat", "acme:repo:notes:1.0.0:/nothing"]).contains("not-found"));
}

#[test]
fn log_lines_are_json_on_request_and_have_no_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = starlane(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--output", "json", "--log-format", "json", "--log", "debug"]);
    let world = World::of(folder, command.stderr(fs::File::create(&log).unwrap()));
    world.publish_notes();
    let made = world.json(&["token", "create", "--subject", "ada", "--grant", "admin **"]);
    let token = made["token"].as_str().unwrap();
    world.json(&["app", "list", "--token", token]);
    world.fails(1, &["app", "list", "--token", "guessed-by-somebody"]);
    let text = fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["fields"]["message"] == "published"), "{text}");
    assert!(!text.contains(token) && !text.contains("guessed-by-somebody") && !text.contains("Bearer"), "{text}");
}

#[test]
fn a_backup_during_traffic_is_complete() {
    let world = World::start();
    world.publish_notes();
    world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
    let execute = |sql: &str| {
        let body = serde_json::json!({ "sql": sql }).to_string();
        world.json(&["send", "acme:notes:db", "execute", "--json", &body]);
    };
    execute("CREATE TABLE numbers (n INTEGER NOT NULL) STRICT");
    (0..5).for_each(|n| execute(&format!("INSERT INTO numbers VALUES ({n})")));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (5..45).for_each(|n| execute(&format!("INSERT INTO numbers VALUES ({n})"))));
        for at in ["one.tar", "two.tar", "three.tar"] {
            world.json(&["backup", at]);
        }
        writing.join().unwrap();
    });
    assert!(world.fails(1, &["backup", "one.tar"]).contains("exists already"));
    for at in ["one", "two", "three"] {
        world.json(&["restore", &format!("{at}.tar"), "--data", at]);
        let again = World::start_in(&world.folder.path().join(at));
        let body = r#"{"sql": "SELECT count(*) AS n, coalesce(max(n) + 1, 0) AS next FROM numbers"}"#;
        let rows = again.json(&["send", "acme:notes:db", "query", "--json", body]);
        let (count, next) = (&rows["body"]["rows"][0]["n"], &rows["body"]["rows"][0]["next"]);
        assert!(count == next && count.as_u64() >= Some(5), "all rows up to one of them: {count} rows, next {next}");
        assert_eq!(again.json(&["bundle", "verify", "acme:repo:notes:1.0.0"])["bytes"], 12);
    }
    assert!(world.fails(1, &["restore", "one.tar", "--data", "one"]).contains("new folder"));
    world.write("four.tar", "no tar");
    assert!(world.fails(1, &["restore", "four.tar", "--data", "four"]).contains("not a complete backup"));
}

#[test]
fn settings_come_from_flags_environment_and_file() {
    let world = World::start();
    world.write("starlane.toml", "log = \"debug\"\nlisten = \"127.0.0.1:8000\"\n[limits]\nlinks = 7\n");
    let shown = starlane(world.folder.path())
        .args(["config", "show", "--config", "starlane.toml", "--listen", "127.0.0.1:9000", "--output", "json"])
        .env("STARLANE_LOG", "trace")
        .output()
        .unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    let of = |name: &str| {
        let all = shown["settings"].as_array().unwrap();
        let found = all.iter().find(|setting| setting["name"] == name).unwrap();
        (found["value"].clone(), found["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("listen"), ("127.0.0.1:9000".into(), "flag".into()));
    assert_eq!(of("log"), ("trace".into(), "environment".into()));
    assert_eq!(of("limits.links"), (7.into(), "file".into()));
    assert_eq!(of("behind-proxy").1, "built in");
    // The output is a file that `--config` accepts.
    world.write(
        "whole.toml",
        "allow-host = [\"a.test\"]\nlog-format = \"json\"\n[spaces]\nacme = [\"acme.test\"]\n[limits]\nlinks = 7\n\
         upload-grace = \"48 h\"\nspace-storage = \"20 GiB\"\ndisk-reserve = 1000\n",
    );
    let show = |file: &str| text(&world.run(&["config", "show", "--config", file]).stdout);
    let shown = show("whole.toml");
    for line in ["allow-host = [\"a.test\"]", "upload-grace = \"2 days\"", "space-storage = \"20 GiB\"", "[spaces]"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    world.write("shown.toml", &shown);
    let values = |text: &str| text.lines().map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect();
    let (before, after): (Vec<String>, Vec<String>) = (values(&shown), values(&show("shown.toml")));
    assert_eq!(before, after);
    let told = text(&world.run(&["config", "check", "--config", "shown.toml"]).stdout);
    assert!(told.contains("Next: starlane serve --config shown.toml"), "{told}");
    world.json(&["config", "check", "--config", "starlane.toml"]);
    world.write("starlane.toml", "[limits]\nlniks = 7\n");
    let told = world.fails(1, &["config", "check", "--config", "starlane.toml"]);
    assert!(told.contains("starlane.toml is invalid in line 2") && told.contains("did you mean `links`?"), "{told}");
    world.write("starlane.toml", "log = \"debug\"\nlogs = 1\n");
    let told = world.fails(1, &["config", "check", "--config", "starlane.toml"]);
    assert!(told.contains("starlane.toml") && told.contains("line 2"), "{told}");
    assert!(world.fails(1, &["config", "check", "--listen", "0.0.0.0:1"]).contains("--behind-proxy"));
    assert!(world.fails(1, &["config", "check", "--cert", "no.pem", "--key", "no.pem"]).contains("no.pem"));
    world.json(&["config", "check", "--listen", "0.0.0.0:1", "--behind-proxy"]);

    world.write("profile.toml", &format!("server = {:?}\ntoken-file = \"starlane-data/admin.token\"\n", world.url));
    let by_profile = starlane(world.folder.path()).args(["status", "--profile", "profile.toml"]).output().unwrap();
    assert!(by_profile.status.success(), "{}", text(&by_profile.stderr));
}

#[test]
fn a_server_with_a_certificate_speaks_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let flags = ["--cert", "cert.pem", "--key", "key.pem"];
    let world = World::start_with(folder, &flags);
    assert!(world.url.starts_with("https://"), "{}", world.url);
    let status = world.json(&["status", "--ca", "cert.pem"]);
    assert_eq!(status["replies"].as_u64().map(|_| ()), Some(()));
    let told = world.fails(3, &["status"]);
    assert!(told.contains("certificate") || told.contains("UnknownIssuer"), "an unknown authority is refused: {told}");
    world.fails(3, &["status", "--server", &world.url.replace("https", "http")]);
}

#[test]
fn a_busy_port_or_an_open_address_names_the_flag() {
    let world = World::start();
    let told = world.fails(1, &["serve", "--data", "other", "--listen", world.url.trim_start_matches("http://")]);
    assert!(told.contains("--listen"), "{told}");
    let told = world.fails(1, &["serve", "--data", "other", "--listen", "0.0.0.0:0"]);
    assert!(told.contains("--cert") && told.contains("--behind-proxy"), "{told}");
}

#[cfg(unix)]
#[test]
fn a_server_stops_cleanly_on_a_signal() {
    let mut world = World::start();
    let asked = Command::new("kill").arg(world.server.id().to_string()).status().unwrap();
    assert!(asked.success());
    assert_eq!(world.server.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    world.server.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
}

#[test]
fn two_servers_cannot_use_the_same_data_folder() {
    let world = World::start();
    let data = world.folder.path().join(&world.data);
    let second = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()];
    let told = world.fails(1, &second);
    assert!(told.contains("another server is using the data folder") && told.contains("--data"), "{told}");
    drop(world.json(&["status"]));
}

#[test]
fn a_folder_with_other_files_does_not_become_a_data_folder() {
    let world = World::start();
    world.write("demo/bundle.toml", "[bundle]");
    let told = world.fails(1, &["serve", "--data", "demo", "--listen", "127.0.0.1:0"]);
    assert!(told.contains("not a data folder") && told.contains("bundle.toml") && told.contains("--data"), "{told}");
    assert_eq!(fs::read_dir(world.folder.path().join("demo")).unwrap().count(), 1, "nothing was put there");
    // The files of an interrupted first start, and a key that an operator provided before the first start.
    let token = "a".repeat(40);
    for (name, text) in [("cut/lock", ""), ("cut/.17.0.part", "half"), ("cut/admin.token", token.as_str())] {
        world.write(name, text);
    }
    let again = World::start_in(&world.folder.path().join("cut"));
    assert_eq!(fs::read_to_string(again.data.join("admin.token")).unwrap(), token);
}

#[test]
fn check_refuses_the_server_of_another_folder() {
    let (one, two) = (World::start(), World::start());
    let data = |world: &World| world.folder.path().join(&world.data).to_str().unwrap().to_owned();
    let (of_one, of_two) = (data(&one), data(&two));
    let token = format!("{of_two}/admin.token");
    let told = one.fails(1, &["check", "--data", &of_one, "--server", &two.url, "--token-file", &token]);
    assert!(told.contains(&of_one) && told.contains(&two.url) && told.contains("--server"), "{told}");
    let told = one.fails(1, &["check", "--data", &of_one, "--server", &two.url]);
    assert!(told.contains(&of_one) && told.contains(&two.url) && told.contains("--server"), "{told}");
    assert_eq!(one.json(&["check", "--data", &of_one])["good"], true);
}
