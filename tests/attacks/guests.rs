//! Guests, and messages to guests, that use as much as possible: instances, time, memory, wakes, outcomes.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use starlane_testkit::attack;
use tempfile::TempDir;

use crate::world::{Answer, LONG, Server, echo_bundle, folder};

const APP: &str = "acme:echoes";
const ECHO: &str = "acme:echoes:echo";

/// A server with the app `acme:echoes`.
fn with_echo(configuration: &str, app: &str) -> Server {
    let server = Server::start_with(configuration);
    publish(&server, "acme", &echo_bundle(app));
    server
}

/// Publishes a bundle in a space and makes an app of it: `SPACE:echoes`.
fn publish(server: &Server, space: &str, bundle: &TempDir) {
    let address = format!("{space}:repo:echoes:1.0.0");
    server.publish(&server.token, 1, bundle.path(), &address);
    let answer = server.create(&server.token, &format!("{space}:echoes"), &address);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn echo(server: &Server, operation: &str, body: &Value) -> Answer {
    server.command(ECHO, operation, body)
}

/// A metric without labels.
fn metric(server: &Server, name: &str) -> u64 {
    let text = server.get("/metrics").text();
    let line = text.lines().find(|line| line.split(' ').next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no metric {name} in {text}"));
    line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
}

/// Waits until a value exists.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LONG, "{what} never came");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A bundle with a guest written by hand: its `receive`, `settle` and `wake`. Its memory contains `acme:echoes:wat` at
/// 64, `act` at 96, and `acme:nowhere` at 104. It uses the parameters of `receive` by number: 0 is the id, 1 the kind.
pub(crate) fn hand_written(receive: &str, settle: &str, wake: &str) -> TempDir {
    let text = format!(
        r#"(module
        (import "starlane:mechtron/mesh@1.0.0" "request"
            (func $request (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i64)))
        (import "starlane:mechtron/mesh@1.0.0" "notify"
            (func $notify (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)))
        (import "starlane:mechtron/mesh@1.0.0" "wake-after" (func $wake_after (param i32 i64)))
        (memory (export "memory") 2)
        (data (i32.const 64) "acme:echoes:wat") (data (i32.const 96) "act") (data (i32.const 104) "acme:nowhere")
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
        (func (export "starlane:mechtron/actor@1.0.0#start") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
            (i32.const 16))
        (func (export "starlane:mechtron/actor@1.0.0#receive")
            (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32) (local $i i32) {receive})
        (func (export "starlane:mechtron/actor@1.0.0#settle") (param i64 i32 i32 i32 i32 i32 i32 i32 i64) (local $i i32) {settle})
        (func (export "starlane:mechtron/actor@1.0.0#wake") (param i64) (local $i i32) {wake})
        (func (export "starlane:mechtron/actor@1.0.0#save") (result i32) (i32.const 32)))"#
    );
    let bundle = folder(&[
        ("bundle.toml", "[bundle]\nname = \"echoes\"\ndescription = \"By hand.\"\nlicence = \"MIT\"\npublic = true\n"),
        (
            "app.toml",
            "[app]\nname = \"echoes\"\n[mechtrons.wat]\nconfig = \"mechtrons/wat.toml\"\nplacement = \"server\"\n\
             allow = [\"request acme:nowhere act\"]\n",
        ),
        (
            "binds/wat.toml",
            "[bind]\nname = \"wat\"\n[operations.act]\nrequest = {}\n[operations.ask]\nrequest = {}\nresponse = {}\n",
        ),
        ("mechtrons/wat.toml", "[mechtron]\nwasm = \"wasm/wat.wasm\"\nname = \"wat\"\nbind = \"binds/wat.toml\"\n"),
    ]);
    write_module(bundle.path(), &text);
    bundle
}

fn write_module(bundle: &Path, text: &str) {
    fs::create_dir_all(bundle.join("wasm")).unwrap();
    fs::write(bundle.join("wasm/wat.wasm"), wat::parse_str(text).unwrap()).unwrap();
}

/// Repeats code this many times.
fn repeat(times: u32, what: &str) -> String {
    format!(
        "(loop $again {what} (local.set $i (i32.add (local.get $i) (i32.const 1))) \
         (br_if $again (i32.lt_u (local.get $i) (i32.const {times}))))"
    )
}

const NOTHING: &str =
    "(i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)";

#[test]
fn messages_too_heavy_for_an_actor_do_not_crash_it() {
    let server = with_echo("", "");
    let bearer = format!("Bearer {}", server.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/octet-stream")];
    let mut tried = 0;
    for size in [16 << 20, 15 << 20, 8 << 20, (4 << 20) + 1, 16 << 20, 16 << 20] {
        let answer = server.send("POST", &format!("/messages/{ECHO}/echo"), &headers, &vec![b'x'; size]);
        answer.fails(413, "too-large");
        tried += 1;
    }
    let crashes = || usize::try_from(metric(&server, "starlane_crashes_total")).unwrap();
    attack("B3", tried, crashes());
    // An answer with many headers, which any caller that knows the operation can request. A guest can return at most
    // 128 headers. More are its own fault, and end the instance.
    for count in [129, 1_000] {
        let many: Vec<[String; 2]> = (0..count).map(|n| [format!("x-{n}"), "v".to_owned()]).collect();
        let answer = echo(&server, "page", &json!({ "headers": many, "body": "x" }));
        assert!(answer.status == 500, "{}", answer.text());
    }
    assert_eq!(crashes(), 2);
    assert_eq!(echo(&server, "count", &json!(null)).json(), json!(1));
}

#[test]
fn a_guest_without_memory_for_a_message_continues() {
    let server = Server::start();
    // Its allocator returns addresses outside of its memory, and runs `unreachable` for large sizes.
    let bundle = hand_written("(i32.const 1)", "", "");
    let realloc = r#"(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (if (i32.gt_u (local.get 3) (i32.const 5000)) (then unreachable))
        (select (i32.const -8) (i32.const 1024) (i32.gt_u (local.get 3) (i32.const 3000))))"#;
    write_module(bundle.path(), &with_allocator(realloc));
    publish(&server, "acme", &bundle);
    for size in [4_000, 6_000, 100_000, 4_000, 6_000, 1_000_000] {
        let answer = server.command("acme:echoes:wat", "ask", &json!("x".repeat(size)));
        answer.fails(413, "too-large");
    }
    assert_eq!(metric(&server, "starlane_crashes_total"), 0);
    server.command("acme:echoes:wat", "ask", &json!("x")).fails(500, "guest-failed");
    attack("B3", 6, usize::try_from(metric(&server, "starlane_crashes_total")).unwrap());
}

/// A module with another allocator.
fn with_allocator(realloc: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 2) {realloc}
        (func (export "starlane:mechtron/actor@1.0.0#start") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
            (i32.const 16))
        (func (export "starlane:mechtron/actor@1.0.0#receive")
            (param i64 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32) (i32.const 1))
        (func (export "starlane:mechtron/actor@1.0.0#settle") (param i64 i32 i32 i32 i32 i32 i32 i32 i64))
        (func (export "starlane:mechtron/actor@1.0.0#wake") (param i64))
        (func (export "starlane:mechtron/actor@1.0.0#save") (result i32) (i32.const 32)))"#
    )
}

/// Runs a guest that grows endlessly while a neighbour gets requests. Returns the memory that the server used, in MiB.
fn grows_beside_a_neighbour(bundle: &TempDir) -> u64 {
    let server = Server::start();
    publish(&server, "bob", &echo_bundle(""));
    publish(&server, "acme", bundle);
    assert_eq!(server.command("bob:echoes:echo", "count", &json!(null)).json(), json!(1));
    let before = server.rss_mib();
    server.command("acme:echoes:wat", "ask", &json!(null));
    let begin = Instant::now();
    let mut answered = 1;
    while begin.elapsed() < Duration::from_secs(10) {
        answered += 1;
        let answer = server.command("bob:echoes:echo", "count", &json!(null));
        assert_eq!(answer.json(), json!(answered), "the neighbour is answered throughout");
    }
    server.peak_rss_mib().saturating_sub(before)
}

#[test]
fn wake_and_settle_bombs_do_not_use_up_memory() {
    let wakes = repeat(1_000, "(call $wake_after (i32.const 0) (i64.const 0))");
    let asks = repeat(
        1_000,
        &format!(
            "(drop (call $request (i32.const 104) (i32.const 12) (i32.const 96) (i32.const 3) {NOTHING} (i32.const 0)))"
        ),
    );
    let large = "(drop (call $request (i32.const 104) (i32.const 12) (i32.const 96) (i32.const 3) (i32.const 0) (i32.const 0) \
                 (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 100000) (i64.const 0) (i32.const 0)))";
    let bombs = [
        hand_written(&format!("{wakes} (i32.const 1)"), "", &wakes),
        hand_written(&format!("{asks} (i32.const 1)"), &asks, ""),
        hand_written(&format!("{} (i32.const 1)", repeat(150, large)), &repeat(150, large), ""),
    ];
    let grown: Vec<u64> = bombs.iter().map(grows_beside_a_neighbour).collect();
    attack("B6", bombs.len(), grown.iter().filter(|mib| **mib > 150).count());
}

#[test]
fn two_thousand_keyed_actors_are_all_answered() {
    let keyed = "[mechtrons.\"keyed:{key}\"]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"server\"\n";
    let server = with_echo("[limits]\nawake-per-app = 40\nawake-per-space = 50\n", keyed);
    publish(&server, "bob", &echo_bundle(""));
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for first in 0..20 {
            let (server, failed) = (&server, &failed);
            scope.spawn(move || {
                for key in (first * 100)..(first * 100 + 100) {
                    let answer = server.command(&format!("acme:echoes:keyed:k{key}"), "count", &json!(null));
                    if answer.status != 200 || answer.json() != json!(1) {
                        failed.fetch_add(1, Relaxed);
                    }
                }
            });
        }
        for count in 1..=50 {
            assert_eq!(server.command("bob:echoes:echo", "count", &json!(null)).json(), json!(count));
        }
    });
    attack("B8", 2_000, failed.load(Relaxed));
}

#[test]
fn actors_that_never_end_their_messages_free_their_slots() {
    let keyed = "[mechtrons.\"keyed:{key}\"]\nconfig = \"mechtrons/echo.toml\"\nplacement = \"server\"\n";
    let mut server = with_echo("", keyed);
    server.start_again_with("[limits]\nawake-per-app = 4\nrequest-time = \"1 s\"\noverdue-time = \"100 ms\"\n");
    let server = server;
    thread::scope(|scope| {
        for key in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let to = format!("acme:echoes:keyed:k{key}");
                server.command(&to, "sleep", &json!({ "ms": 100_000_000 })).fails(408, "deadline");
            });
        }
    });
    until("an answer", || server.command("acme:echoes:keyed:other", "count", &json!(null)).status == 200);
    attack("B8", 8, 0);
}

#[test]
fn an_unanswered_message_ends_and_the_actor_continues() {
    let mut server = with_echo("", "");
    server.start_again_with("[limits]\nrequest-time = \"10 s\"\noverdue-time = \"100 ms\"\n");
    let server = server;
    thread::scope(|scope| {
        let asked = scope.spawn(|| echo(&server, "sleep", &json!({ "ms": 100_000_000 })));
        until("an unfinished message", || {
            let shown: Value =
                serde_json::from_slice(&server.starlane(&["status", "--output", "json"]).stdout).unwrap();
            let actors = shown["inspection"]["actors"].as_array().cloned().unwrap_or_default();
            actors.iter().any(|actor| actor["address"] == ECHO && actor["unfinished"] == 1)
        });
        asked.join().unwrap().fails(408, "deadline");
    });
    until("an answer", || echo(&server, "count", &json!(null)).status == 200);
    assert_eq!(metric(&server, "starlane_overdue_total"), 1);
    assert!(server.log().contains("`sleep` was not answered in time"), "{}", server.log());
    attack("B13", 1, 0);
}

#[test]
fn one_way_messages_of_a_deleted_app_become_dead_letters() {
    let server = Server::start();
    // On a request, it sends itself 50 messages, and never ends the first.
    let tells =
        repeat(50, &format!("(call $notify (i32.const 64) (i32.const 15) (i32.const 96) (i32.const 3) {NOTHING})"));
    let receive =
        format!("(if (result i32) (i32.eqz (local.get 1)) (then {tells} (i32.const 1)) (else (i32.const 0)))");
    publish(&server, "acme", &hand_written(&receive, "", ""));
    server.command("acme:echoes:wat", "ask", &json!(null)).fails(500, "guest-failed");
    let answer = server.command("starlane:apps", "delete", &json!({ "app": APP }));
    assert_eq!(answer.status, 204, "{}", answer.text());
    until("the dead letters", || metric(&server, "starlane_dead_letters_total") >= 50);
    let told = server.log().lines().filter(|line| line.contains("`act` was not delivered")).count();
    assert!((1..=50).contains(&told), "{told} lines");
    attack("C4", 50, 50_usize.saturating_sub(usize::try_from(metric(&server, "starlane_dead_letters_total")).unwrap()));
}

#[test]
fn failures_of_guests_have_failure_statuses() {
    let server = with_echo("", "");
    let (mut tried, mut through, mut long_ones, mut long_through) = (0, 0, 0, 0);
    let long = "x".repeat(1_000_000);
    for status in [0, 99, 100, 101, 200, 204, 206, 301, 304, 399, 600, 999, 65_535] {
        for (code, message) in [("asked-for", "why"), ("a\r\nb: c", "why"), ("", &*long), ("Not A Word", "a\u{0}\r\nb")]
        {
            let answer = echo(&server, "fail", &json!({ "status": status, "code": code, "message": message }));
            tried += 1;
            let text = answer.json()["message"].as_str().unwrap().len();
            through += usize::from(answer.status != 500 || answer.json()["code"] != "guest-failed" || text > 10_000);
            if message == long {
                long_ones += 1;
                long_through += usize::from(text > 10_000);
            }
        }
    }
    for (name, value) in [("X-Upper", "v"), ("a b", "v"), ("x-own", "a\r\nb"), ("", ""), ("x-own", "\u{7}")] {
        let answer = echo(&server, "page", &json!({ "headers": [[name, value]], "body": "x" }));
        tried += 1;
        through += usize::from(answer.status != 500 || answer.json()["code"] != "guest-failed");
    }
    let kept = echo(&server, "fail", &json!({ "status": 418, "code": "asked-for", "message": "why" }));
    kept.fails(418, "asked-for");
    attack("B12", tried, through);
    attack("B9", long_ones, long_through);
}

#[test]
fn a_quarantine_is_lifted_by_a_restart() {
    let server = with_echo("", "");
    for _ in 0..4 {
        until("a crash", || echo(&server, "trap", &json!(null)).status == 500);
    }
    until("the quarantine", || {
        let answer = echo(&server, "count", &json!(null));
        answer.status == 503 && answer.json()["code"] == "quarantined"
    });
    let stranger = server.token_for("bob", &["deploy bob:**"]);
    server.ask(&stranger, "starlane:apps", "restart", &json!({ "address": ECHO })).fails(403, "no-grant");
    assert!(!server.starlane(&["app", "restart", "acme:echoes:none"]).status.success());
    let done = server.starlane(&["app", "restart", ECHO]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(echo(&server, "count", &json!(null)).json(), json!(1));
    attack("B3", 4, 0);
}
