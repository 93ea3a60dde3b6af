//! The binary as it is typed: a server, a bundle, an app, a message.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use serde_json::Value;
use starlane_testkit::figure;
use tempfile::TempDir;

/// A folder with a running server, and the commands that talk to it.
struct World {
    folder: TempDir,
    server: Child,
    url: String,
    data: PathBuf,
}

impl World {
    fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), &[])
    }

    /// A server on the data that are in a folder.
    fn start_in(data: &Path) -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), &["--data", data.to_str().unwrap()])
    }

    fn start_with(folder: TempDir, flags: &[&str]) -> Self {
        let mut command = starlane(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--output", "json"]).args(flags);
        Self::of(folder, command.stderr(Stdio::null()))
    }

    /// A server that a command starts, which says as JSON that it is ready.
    fn of(folder: TempDir, command: &mut Command) -> Self {
        let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        let data = ready["data"].as_str().unwrap().into();
        Self { url: ready["url"].as_str().unwrap().to_owned(), data, folder, server }
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = starlane(self.folder.path());
        command.env("STARLANE_SERVER", &self.url);
        if !words.contains(&"--data") {
            command.env("STARLANE_DATA", &self.data);
        }
        command.args(words).output().unwrap()
    }

    /// The JSON that a command prints, which must go well.
    fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--output", "json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What a command says that must fail with an exit code.
    fn fails(&self, code: i32, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    /// Publishes a small bundle as `acme:repo:notes:1.0.0`.
    fn publish_notes(&self) {
        self.write("notes/bundle.toml", BUNDLE);
        self.write("notes/app.toml", APP);
        self.write("notes/site/index.html", "<p>notes</p>");
        self.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    }

    fn write(&self, name: &str, content: &str) {
        let file = self.folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The binary in a folder of its own, with nothing of the person who runs the tests.
fn starlane(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starlane"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("STARLANE_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).env("XDG_CONFIG_HOME", folder.join("config"));
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const BUNDLE: &str = "[bundle]\nname = \"notes\"\ndescription = \"\"\nlicence = \"MIT\"\ninclude = [\"site/**\"]\n";
const APP: &str = "[app]\nname = \"notes\"\n[resources.db]\nkind = \"database\"\n[http]\n\"GET /\" = { file = \"site/index.html\" }\n";

#[test]
fn from_a_folder_to_an_answer() {
    let world = World::start();
    world.write("notes/bundle.toml", BUNDLE);
    world.write("notes/app.toml", APP);
    world.write("notes/site/index.html", "<p>notes</p>");
    world.write("notes/site/twin.html", "<p>notes</p>");

    let published = world.run(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    let said = text(&published.stdout);
    assert!(published.status.success(), "{}", text(&published.stderr));
    assert!(said.contains("1 of 1 files") && said.contains("ed25519:"), "{said}");
    assert!(said.contains("starlane app create acme:notes --bundle acme:repo:notes:1.0.0"), "{said}");
    assert!(text(&published.stderr).contains("keep it safe"));
    assert!(!said.contains('\u{1b}'), "no colour in a pipe: {said}");
    let again = world.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    assert_eq!((again["unchanged"].as_bool(), again["uploaded"].as_u64()), (Some(true), Some(0)));
    let next = world.json(&["publish", "notes", "acme:repo:notes:1.0.1"]);
    assert_eq!((next["uploaded"].as_u64(), next["present"].as_u64()), (Some(0), Some(1)));

    let created = world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
    assert_eq!(created["revision"], 1);
    let listed = text(&world.run(&["app", "list"]).stdout);
    assert!(listed.contains("acme:notes  acme:repo:notes:1.0.0  1"), "{listed}");
    let rows = world.run(&["send", "acme:notes:db", "query", "--json", r#"{"sql": "SELECT 1 AS one"}"#]);
    assert_eq!(text(&rows.stdout), r#"{"columns":["one"],"rows":[{"one":1}]}"#);
    world.write("query.json", r#"{"sql": "SELECT 2 AS two"}"#);
    let rows = world.json(&["send", "acme:notes:db", "query", "--file", "query.json"]);
    assert_eq!(rows["body"]["rows"][0]["two"], 2);
    world.json(&["app", "delete", "acme:notes"]);
    assert_eq!(world.json(&["app", "list"])["apps"], Value::Array(Vec::new()));
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
fn tokens_and_grants_say_who_may_what() {
    let world = World::start();
    assert_eq!(world.run(&["send", "starlane:apps", "list", "--token-file", "/dev/null"]).status.code(), Some(1));
    assert!(world.fails(1, &["token", "create", "--subject", "acme:x"]).contains("no name for a principal"));
    assert!(world.fails(1, &["token", "create", "--subject", "ada", "--grant", "do x"]).contains("one of request"));
    world.fails(2, &["token", "revoke"]);
    let made = world.json(&["token", "create", "--subject", "ada", "--ttl", "10m"]);
    let piped = text(&world.run(&["token", "create", "--subject", "ada"]).stdout);
    let (first, second) = (made["token"].as_str().unwrap(), piped.trim());
    assert_eq!(second.split('.').count(), 3, "a pipe gets the token alone: {piped}");
    let told = world.fails(1, &["send", "acme:x", "go", "--token", first]);
    assert!(told.contains("403 no-grant") && told.contains("request acme:x go"), "{told}");
    world.json(&["grant", "ada", "request acme:x go", "launch acme:{sub}"]);
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", first]).contains("404 no-resource"));
    let listed = text(&world.run(&["grant"]).stdout);
    assert!(listed.contains("ada        request acme:x go") && listed.contains("launch acme:{sub}"), "{listed}");
    assert_eq!(world.json(&["grant", "ada", "request acme:x go", "--remove"])["grants"][0], "launch acme:{sub}");
    assert_eq!(world.json(&["grant", "ada", "--remove"])["grants"], Value::Array(Vec::new()));
    world.json(&["token", "revoke", made["id"].as_str().unwrap()]);
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", first]).contains("revoked"));
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", second]).contains("no-grant"));
    world.json(&["token", "revoke", "--subject", "ada"]);
    assert!(world.fails(1, &["send", "acme:x", "go", "--token", second]).contains("revoked"));
}

#[test]
fn a_server_says_how_it_is_and_what_it_logged() {
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
    // Nobody is told when it listens: what is logged again and again reaches it.
    let seen = (0..100).any(|_| {
        world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
        lines.recv_timeout(Duration::from_millis(200)).is_ok_and(|line| line.contains("app created"))
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
    assert!(world.fails(1, &["cat", "acme:repo:notes:1.0.0"]).contains("names no file"));
    assert!(world.fails(1, &["cat", "acme:repo:notes:1.0.0:/nothing"]).contains("not-found"));
}

#[test]
fn log_lines_are_json_if_wanted_and_hold_no_token() {
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
fn a_backup_beside_traffic_is_restored_whole() {
    let world = World::start();
    world.publish_notes();
    world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
    let execute = |sql: &str| {
        let body = serde_json::json!({ "sql": sql }).to_string();
        world.json(&["send", "acme:notes:db", "execute", "--json", &body]);
    };
    execute("CREATE TABLE numbers (n INTEGER NOT NULL) STRICT");
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| (0..40).for_each(|n| execute(&format!("INSERT INTO numbers VALUES ({n})"))));
        for at in ["one.tar", "two.tar", "three.tar"] {
            world.json(&["backup", at]);
        }
        writing.join().unwrap();
    });
    assert!(world.fails(1, &["backup", "one.tar"]).contains("there already"));
    for at in ["one", "two", "three"] {
        world.json(&["restore", &format!("{at}.tar"), "--data", at]);
        let again = World::start_in(&world.folder.path().join(at));
        let body = r#"{"sql": "SELECT count(*) AS n, coalesce(max(n) + 1, 0) AS next FROM numbers"}"#;
        let rows = again.json(&["send", "acme:notes:db", "query", "--json", body]);
        assert_eq!(rows["body"]["rows"][0]["n"], rows["body"]["rows"][0]["next"], "no row is missing in the middle");
        assert_eq!(again.json(&["bundle", "verify", "acme:repo:notes:1.0.0"])["bytes"], 12);
    }
    assert!(world.fails(1, &["restore", "one.tar", "--data", "one"]).contains("new folder"));
    world.write("four.tar", "no tar");
    assert!(world.fails(1, &["restore", "four.tar", "--data", "four"]).contains("no whole backup"));
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
        (found["value"].as_str().unwrap().to_owned(), found["from"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("listen"), ("127.0.0.1:9000".into(), "flag".into()));
    assert_eq!(of("log"), ("trace".into(), "environment".into()));
    assert_eq!(of("limits links"), ("7".into(), "file".into()));
    assert_eq!(of("behind-proxy").1, "built in");
    world.json(&["config", "check", "--config", "starlane.toml"]);
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
fn a_server_with_a_certificate_speaks_tls_and_wants_tokens_from_all_but_its_own_machine() {
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
fn a_new_mechtron_has_a_name_of_its_own_and_all_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    let made = starlane(folder.path()).args(["new", "mechtron", "my-book"]).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("starlane dev my-book"));
    for file in ["Cargo.toml", ".gitignore", "binds/my-book.toml", "sdk/crates/mechtron/src/lib.rs", "src/lib.rs"] {
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
    assert!(told(&["new", "mechtron", "my-book"]).contains("there already"));
    assert!(told(&["new", "mechtron", "My Book"]).contains("a-z first"));
    assert!(told(&["build", "nowhere"]).contains("nowhere"));
    fs::write(folder.path().join("my-book/bundle.toml"), "[bundle]\nname = \"x\"\n[build]\ncommand = \"exit 3\"\n")
        .unwrap();
    assert!(told(&["build", "my-book"]).contains("exit status: 3"));
}

#[test]
fn events_are_printed_as_they_come() {
    let world = World::start();
    world.publish_notes();
    let mut watching = starlane(world.folder.path())
        .args(["watch", "starlane:apps#changed", "--server", &world.url])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(watching.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("Watching starlane:apps#changed"), "{line}");
    world.json(&["app", "create", "acme:notes", "--bundle", "acme:repo:notes:1.0.0"]);
    let mut line = String::new();
    BufReader::new(watching.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("starlane:apps") && line.contains("acme:notes"), "{line}");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn what_goes_wrong_says_so_with_its_exit_code() {
    let world = World::start();
    let told = world.fails(1, &["publish", "nowhere", "acme:repo:notes:1.0.0"]);
    assert!(told.contains("nowhere") && told.contains("bundle.toml"), "{told}");
    world.write("notes/bundle.toml", "[bundle]\nname = 1\n");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.0.0"]);
    assert!(told.contains("bundle.toml:2:"), "{told}");
    world.write("notes/bundle.toml", BUNDLE);
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes"]);
    assert!(told.contains("version"), "{told}");
    world.json(&["publish", "notes", "acme:repo:notes:1.0.0"]);
    world.write("notes/site/new.html", "new");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:1.0.0"]);
    assert!(told.contains("use a new one"), "{told}");
    let told = world.fails(1, &["publish", "notes", "acme:repo:notes:2.0.0", "--key", "other-key"]);
    assert!(told.contains("belongs to"), "{told}");

    let told = world.fails(1, &["send", "acme:nobody:here", "greet"]);
    assert!(told.contains("404 no-resource") && told.contains("acme:nobody:here"), "{told}");
    let told = world.fails(1, &["send", "acme:nobody:here", "greet", "--output", "json"]);
    let error: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((error["error"]["code"].as_str(), error["error"]["status"].as_u64()), (Some("no-resource"), Some(404)));
    let told = world.fails(1, &["app", "create", "acme:x", "--bundle", "acme:x:1.0.0", "--token", "guessed"]);
    assert!(told.contains("401 auth-refused"), "{told}");
    let told = world.fails(3, &["app", "list", "--server", "http://127.0.0.1:9"]);
    assert!(told.contains("starlane serve"), "{told}");
    world.fails(2, &["send", "acme:nobody:here"]);
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
fn a_server_that_is_asked_to_stop_stops_in_good_order() {
    let mut world = World::start();
    let asked = Command::new("kill").arg(world.server.id().to_string()).status().unwrap();
    assert!(asked.success());
    assert_eq!(world.server.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    world.server.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
}

#[test]
fn of_a_thousand_files_only_the_one_that_changed_is_uploaded() {
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
    // What was cut off is gone on with: what had arrived stays.
    let blobs = world.folder.path().join(&world.data).join("blobs");
    let some = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    let lost = fs::read_dir(&some).unwrap().count();
    fs::remove_dir_all(&some).unwrap();
    let third = world.json(&["publish", "notes", "acme:repo:notes:1.0.2"]);
    assert!((1..=lost).contains(&usize::try_from(third["uploaded"].as_u64().unwrap()).unwrap()), "{third}");
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
        ("bundle/app.toml", "no file of a folder `binds`"),
        ("acme:repo:profiles:1.0.0", "is no bind"),
    ] {
        let refused = types(bind);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains(told), "{bind}: {said}");
    }
}
