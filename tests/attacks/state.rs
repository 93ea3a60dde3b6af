//! Kills the server at random moments under load. No acknowledged state of actors is lost.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use starlane_testkit::{
    attack,
    figure::{Sizes, figure},
    guest,
};
use tempfile::TempDir;

use crate::world::{LONG, Server, folder};

const BUNDLE: &str = "acme:repo:counters";
const APP: &str = "acme:counters";
const SURE: &str = "acme:counters:sure";
const QUICK: &str = "acme:counters:quick";
const LISTENER: &str = "acme:counters:listener";
/// How often the server is killed.
const ROUNDS: Sizes = Sizes { ci: 20, full: 100 };

/// The same guest with both values of `state`, with and without keys.
fn counters() -> TempDir {
    let names =
        "echo page fail trap spin call count emit subscribe unsubscribe last-event sleep about wake-me woken tell grow";
    let operations: String =
        names.split(' ').map(|name| format!("[operations.{name}]\nrequest = {{}}\nresponse = {{}}\n")).collect();
    let bind = format!("[bind]\nname = \"echo\"\n{operations}[events.said]\npayload = {{}}\n");
    let mechtron = |state: &str| {
        format!(
            "[mechtron]\nwasm = \"wasm/echo.wasm\"\nname = \"echo\"\nbind = \"binds/echo.toml\"\nstate = \"{state}\"\n"
        )
    };
    let placed = |name: &str, config: &str| {
        format!(
            "[mechtrons.{name}]\nconfig = \"mechtrons/{config}.toml\"\nplacement = \"server\"\n\
             allow = [\"request .:**\", \"notify .:**\", \"subscribe .:**#*\"]\n"
        )
    };
    let app = [
        placed("\"sure:{key}\"", "each"),
        placed("\"quick:{key}\"", "idle"),
        placed("listener", "idle"),
        placed("speaker", "idle"),
        placed("asker", "each"),
    ];
    let bundle = folder(&[
        ("bundle.toml", "[bundle]\nname = \"counters\"\ndescription = \"Counts.\"\nlicence = \"MIT\"\npublic = true\n"),
        ("app.toml", &format!("[app]\nname = \"counters\"\n{}", app.concat())),
        ("binds/echo.toml", &bind),
        ("mechtrons/each.toml", &mechtron("each")),
        ("mechtrons/idle.toml", &mechtron("idle")),
    ]);
    fs::create_dir_all(bundle.path().join("wasm")).unwrap();
    fs::copy(guest("echo"), bundle.path().join("wasm/echo.wasm")).unwrap();
    bundle
}

fn start() -> Server {
    let server = Server::start();
    publish(&server, counters().path(), "1.0.0");
    server
}

fn publish(server: &Server, bundle: &Path, version: &str) {
    let address = format!("{BUNDLE}:{version}");
    server.publish(&server.token, 1, bundle, &address);
    let made = server.create(&server.token, APP, &address);
    assert_eq!(made.status, 200, "{}", made.text());
}

fn count(server: &Server, actor: &str) -> u64 {
    let answer = server.command(actor, "count", &Value::Null);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json().as_u64().unwrap()
}

/// The server's inspection of an actor.
fn actor(server: &Server, address: &str) -> Value {
    let status = server.command("starlane:server", "status", &Value::Null).json();
    let actors = status["inspection"]["actors"].as_array().unwrap().clone();
    actors.into_iter().find(|actor| actor["address"] == address).unwrap_or(Value::Null)
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn until_saved(server: &Server, address: &str) {
    until(&format!("{address} is saved"), || actor(server, address)["unsaved"] == json!(false));
}

fn signal(server: &Server, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &server.pid().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Asks the server to stop, and waits until it has ended.
fn stop(server: &Server) {
    signal(server, "TERM");
    let status = format!("/proc/{}/status", server.pid());
    until("the server stops", || fs::read_to_string(&status).unwrap().contains("State:\tZ"));
}

/// Pseudo-random numbers for the moments of kills, the same in each run.
fn moment(round: u64) -> Duration {
    Duration::from_millis(round.wrapping_mul(6_364_136_223_846_793_005).rotate_left(17) % 400)
}

#[test]
fn counted_answers_survive_kills() {
    const ACTORS: usize = 4;
    let rounds = ROUNDS.of_this_run() as u64;
    let mut server = start();
    let (mut lost, mut checked) = (0, 0);
    let mut known = [0; ACTORS];
    for round in 0..rounds {
        let answered: Vec<AtomicU64> = known.iter().map(|count| AtomicU64::new(*count)).collect();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            for (n, answered) in answered.iter().enumerate() {
                let (server, over) = (&server, &over);
                scope.spawn(move || {
                    let (actor, bearer) = (format!("{SURE}:{n}"), format!("Bearer {}", server.token));
                    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
                    while !over.load(SeqCst) {
                        let path = format!("/messages/{actor}/count");
                        match server.try_send("POST", &path, &headers, b"null") {
                            Ok(answer) if answer.status == 200 => {
                                answered.fetch_max(answer.json().as_u64().unwrap(), SeqCst);
                            }
                            // The server is gone.
                            _ => return,
                        }
                    }
                });
            }
            // Each actor has answered in this round.
            until("all count", || answered.iter().zip(known).all(|(now, before)| now.load(SeqCst) > before));
            thread::sleep(moment(round));
            signal(&server, "KILL");
            over.store(true, SeqCst);
        });
        server.start_again();
        for (n, answered) in answered.iter().enumerate() {
            let next = count(&server, &format!("{SURE}:{n}"));
            lost += (answered.load(SeqCst) + 1).saturating_sub(next);
            checked += 1;
            known[n] = next;
        }
    }
    println!("{checked} counters after {rounds} kills: {known:?}");
    figure("state.restarts", rounds as f64, "kills");
    figure("state.lost", lost as f64, "answers");
    attack("C1", checked, lost as usize);
    assert_eq!(lost, 0);
}

#[test]
fn saved_state_survives_kills_and_stops() {
    let mut server = start();
    let (mut tried, mut lost) = (0, 0);
    for round in 0..5 {
        for n in 0..3 {
            let actor = format!("{QUICK}:{n}");
            let before = count(&server, &actor);
            until_saved(&server, &actor);
            // Later increments can be lost.
            count(&server, &actor);
            if round % 2 == 0 {
                server.start_again();
            } else {
                stop(&server);
                server.start_again();
            }
            let after = count(&server, &actor);
            let promised = before + if round % 2 == 0 { 1 } else { 2 };
            tried += 1;
            lost += u64::from(after < promised);
        }
    }
    figure("state.restarts", tried as f64, "kills and stops");
    figure("state.lost", lost as f64, "states");
    attack("C1", tried, lost as usize);
    assert_eq!(lost, 0);
}

#[test]
fn state_survives_a_crash_and_an_upgrade() {
    let server = start();
    let quick = format!("{QUICK}:a");
    assert_eq!((count(&server, &quick), count(&server, &quick)), (1, 2));
    until_saved(&server, &quick);
    server.command(&quick, "trap", &Value::Null).fails(500, "guest-failed");
    assert_eq!(count(&server, &quick), 3, "after a crash, the actor starts from the last saved state");
    // The state is not saved yet, but the next version continues from it.
    publish(&server, counters().path(), "1.1.0");
    assert_eq!(count(&server, &quick), 4, "an upgrade loses nothing");
    let sure = format!("{SURE}:a");
    assert_eq!(count(&server, &sure), 1);
    server.command(&sure, "trap", &Value::Null).fails(500, "guest-failed");
    assert_eq!(count(&server, &sure), 2);
    server.command("starlane:apps", "delete", &json!({ "app": APP }));
    publish(&server, counters().path(), "1.2.0");
    assert_eq!(
        (count(&server, &quick), count(&server, &sure)),
        (5, 3),
        "a deleted app leaves its state, as its databases"
    );
    attack("C1", 4, 0);
}

/// An answer waits until its state is saved, but saving never waits for an answer. This covers an actor that awaits,
/// and two actors that send requests to each other.
#[test]
fn actors_that_save_each_message_can_await_each_other() {
    let server = start();
    let asker = "acme:counters:asker";
    let call = |to: &str| json!({ "target": to, "operation": "count", "timeout": 20_000 });
    thread::scope(|scope| {
        let asked: Vec<_> = (0..20)
            .map(|n| {
                let (server, call) = (&server, &call);
                scope.spawn(move || match n % 2 {
                    0 => server.command(asker, "call", &call(&format!("{SURE}:b"))),
                    _ => server.command(&format!("{SURE}:b"), "count", &Value::Null),
                })
            })
            .collect();
        for answer in asked {
            let answer = answer.join().unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    });
    assert_eq!(count(&server, &format!("{SURE}:b")), 21);
}

#[test]
fn subscriptions_and_wakes_survive_kills() {
    let mut server = start();
    let speaker = "acme:counters:speaker";
    let mut expected = Vec::new();
    let (mut tried, mut lost) = (0, 0);
    server.command(LISTENER, "subscribe", &json!(".:speaker#said"));
    for round in 0..5 {
        // One wake is due while the server is down, and one soon afterwards.
        for ms in [1, 2_000 + round] {
            let asked = server.command(LISTENER, "wake-me", &json!({ "ms": ms }));
            assert!(asked.status < 400, "{}", asked.text());
            expected.push(ms);
        }
        until_saved(&server, LISTENER);
        server.start_again();
        // Without a request, the due wake starts it.
        until("a wake starts the actor", || actor(&server, LISTENER)["state"] == "awake");
        server.command(speaker, "emit", &json!({ "event": "said", "body": round }));
        let heard = || server.command(LISTENER, "last-event", &Value::Null).json()["body"] == json!(round);
        until("the event is heard", heard);
        let woken = || server.command(LISTENER, "woken", &Value::Null).json();
        until("all wakes have come", || {
            let woken = woken();
            expected.iter().all(|ms| woken.as_array().unwrap().contains(&json!(ms)))
        });
        tried += 3;
        lost += u64::from(actor(&server, LISTENER).is_null());
    }
    attack("C3", tried, lost as usize);
    assert_eq!(lost, 0);
}

/// An event starts an actor that has not run since the start of the server.
#[test]
fn an_event_starts_a_subscriber_after_a_restart() {
    let mut server = start();
    server.command(LISTENER, "subscribe", &json!(".:speaker#said"));
    until_saved(&server, LISTENER);
    server.start_again();
    until("the actor is known", || actor(&server, LISTENER)["state"] == "asleep");
    server.command("acme:counters:speaker", "emit", &json!({ "event": "said", "body": 7 }));
    until("the event starts it", || actor(&server, LISTENER)["state"] == "awake");
    assert_eq!(server.command(LISTENER, "last-event", &Value::Null).json()["body"], 7);
    attack("C3", 1, 0);
}

#[test]
fn too_large_state_is_refused_with_its_limit_and_undone() {
    let server = Server::start_with("[limits]\nstate-bytes = \"1 KiB\"\n");
    publish(&server, counters().path(), "1.0.0");
    let sure = format!("{SURE}:a");
    assert_eq!(count(&server, &sure), 1);
    server.command("acme:counters:speaker", "count", &Value::Null);
    // Each wake adds a number to its state.
    let mut refused = None;
    for _ in 0..500 {
        let answer = server.command(&sure, "wake-me", &json!({ "ms": 3_600_000_u32 }));
        if answer.status >= 400 {
            refused = Some(answer);
            break;
        }
    }
    let message = refused.expect("the state has a limit").fails(507, "state-too-large");
    assert!(message.contains("state-bytes") && message.contains("1024"), "{message}");
    assert_eq!(server.command("acme:counters:speaker", "count", &Value::Null).json(), 2, "other actors continue");
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains("starlane_limit_refused_total{name=\"state-bytes\"} 1\n"), "{metrics}");
}
