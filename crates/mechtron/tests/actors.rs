//! Runs mechtrons as a host runs them.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use mechtron::{
    Bytes, Call, Context, Failure, Html, IntoPayload, Json, Kind, Payload, Saved, Text, actor, log, testing,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Default, Serialize, Deserialize)]
struct Ledger {
    entries: Vec<String>,
}

#[actor(format = 2)]
impl Ledger {
    #[migrate]
    fn migrate(format: u32, data: &[u8]) -> Result<Self, String> {
        match format {
            1 => Ok(Ledger { entries: vec![String::from_utf8_lossy(data).into_owned()] }),
            other => Err(format!("format {other} is not known")),
        }
    }

    #[operation]
    fn write(&mut self, Text(entry): Text) {
        self.entries.push(entry);
    }

    #[operation]
    fn read(&self) -> Json<Vec<String>> {
        Json(self.entries.clone())
    }

    /// Awaits in the middle, with the actor borrowed.
    #[operation]
    async fn write_after(&mut self, call: &Call, Text(entry): Text) -> Result<(), Failure> {
        self.entries.push(format!("begin {entry}"));
        let got = call.request("a:b", "ask", Text(entry.clone())).await?.text()?;
        self.entries.push(format!("end {entry} {got}"));
        Ok(())
    }

    #[operation(name = "both")]
    async fn ask_two(&self, call: &Call) -> Result<Json<Vec<String>>, Failure> {
        let asks = ["a:1", "a:2", "a:3"].map(|target| call.request(target, "ask", ()));
        let texts = mechtron::join_all(asks).await.into_iter().map(|outcome| outcome?.text());
        texts.collect::<Result<_, _>>().map(Json)
    }

    #[operation]
    async fn in_time(&self, call: &Call) -> Result<Payload, Failure> {
        call.request("a:b", "ask", ()).timeout(Duration::from_millis(1500)).await
    }

    #[event(".:pictures#changes")]
    fn pictures(&mut self, Json(name): Json<String>) {
        self.entries.push(format!("picture {name}"));
    }

    #[event("#changes")]
    fn changes(&mut self, call: &Call) {
        self.entries.push(format!("change of {}", call.sender()));
    }

    #[wake]
    fn due(&mut self, call: &Call, token: u32) -> Result<(), Failure> {
        assert_eq!(call.kind(), Kind::Wake(token));
        self.entries.push(format!("woken {token}"));
        if token == 13 { Err(Failure::conflict("unlucky")) } else { Ok(()) }
    }
}

fn ledger() -> testing::Actor<Ledger> {
    testing::Setup::default().address("acme:app:ledger:one").start().unwrap()
}

fn entries(ledger: &mut testing::Actor<Ledger>) -> Vec<String> {
    ledger.request("read", ()).unwrap().json().unwrap()
}

#[test]
fn the_next_instance_gets_the_state_with_its_format() {
    let mut ledger = ledger();
    ledger.request("write", Text("one".into())).unwrap();
    let saved = ledger.save().unwrap();
    assert_eq!(saved, Saved { format: 2, data: br#"{"entries":["one"]}"#.to_vec() });
    ledger.restart().unwrap();
    assert_eq!(entries(&mut ledger), ["one"]);
}

#[test]
fn state_of_another_format_is_migrated_or_refused() {
    let start =
        |format, data: &[u8]| testing::Setup::default().saved(Saved { format, data: data.to_vec() }).start::<Ledger>();
    assert_eq!(entries(&mut start(1, b"old").unwrap()), ["old"]);
    assert!(entries(&mut start(0, b"").unwrap()).is_empty());
    let refused = start(7, b"x").err().unwrap();
    assert_eq!(refused, "the saved state of format 7 can't be migrated to 2: format 7 is not known");
    assert!(start(2, b"{").err().unwrap().starts_with("the saved state of format 2 can't be read"));
}

#[test]
fn messages_are_handled_one_at_a_time_in_order() {
    let mut ledger = ledger();
    let first = ledger.deliver("write-after", Text("a".into()));
    let second = ledger.deliver("write-after", Text("b".into()));
    let third = ledger.deliver("read", ());
    ledger.wake(4);
    // Only the first one runs.
    assert_eq!(ledger.open().len(), 0, "the wake's run answered it");
    assert!(ledger.reply(first).unwrap().is_err(), "nobody answers in this test");
    assert!(ledger.reply(second).unwrap().is_err());
    let read = ledger.reply(third).unwrap().unwrap().json::<Vec<String>>().unwrap();
    assert_eq!(read, ["begin a", "begin b"]);
    assert_eq!(entries(&mut ledger), ["begin a", "begin b", "woken 4"]);
}

#[test]
fn a_message_waits_while_another_awaits() {
    let mut ledger = ledger();
    let first = ledger.deliver("write-after", Text("a".into()));
    let second = ledger.deliver("write", Text("b".into()));
    assert!(ledger.reply(first).is_none() && ledger.reply(second).is_none());
    assert!(ledger.save().unwrap_err().contains("in the middle of a message"));
    let open = ledger.open();
    assert_eq!((open.len(), &*open[0].target), (1, "a:b"));
    ledger.settle(open[0].id, Text("got".into()).into_payload());
    assert_eq!(ledger.reply(first), Some(Ok(Payload::default())));
    assert_eq!(ledger.reply(second), Some(Ok(Payload::default())));
    assert_eq!(entries(&mut ledger), ["begin a", "end a got", "b"]);
}

#[test]
fn several_requests_run_at_once_and_end_in_any_order() {
    let mut ledger = ledger();
    let id = ledger.deliver("both", ());
    let open = ledger.open();
    assert_eq!(open.iter().map(|sent| &*sent.target).collect::<Vec<_>>(), ["a:1", "a:2", "a:3"]);
    for sent in open.iter().rev() {
        assert!(ledger.reply(id).is_none());
        ledger.settle(sent.id, Text(sent.target.clone()).into_payload());
    }
    let got = ledger.reply(id).unwrap().unwrap().json::<Vec<String>>().unwrap();
    assert_eq!(got, ["a:1", "a:2", "a:3"]);
    // An answer that nobody awaits any more is dropped.
    ledger.settle(open[0].id, Text("late".into()).into_payload());
}

#[test]
fn timeouts_and_failures_are_forwarded_unchanged() {
    let mut ledger = ledger();
    ledger.answer(|sent| Err(Failure::new(408, "deadline", format!("after {} ms", sent.timeout_ms))));
    assert_eq!(ledger.request("in-time", ()), Err(Failure::new(408, "deadline", "after 1500 ms")));
}

#[test]
fn errors_of_operations_and_bodies_say_what_is_expected() {
    let mut ledger = ledger();
    let failure = ledger.request("delete", ()).unwrap_err();
    assert_eq!((failure.status, &*failure.code), (404, "no-operation"));
    assert!(failure.message.contains("`delete`") && failure.message.contains("write-after, both"), "{failure}");
    let failure = ledger.request("write", Json(1)).unwrap_err();
    assert_eq!((failure.status, &*failure.code), (400, "malformed"));
}

#[test]
fn events_reach_the_method_of_their_topic() {
    let mut ledger = ledger();
    assert_eq!(ledger.subscriptions(), [".:pictures#changes"]);
    ledger.event("acme:app:pictures#changes", Json("a.png"));
    ledger.event("~host::acme:app:pictures#changes", Json("b.png"));
    ledger.event("acme:other:pictures#changes", ());
    ledger.event("acme:app:mypictures#changes", ());
    ledger.event("acme:app:pictures#deleted", ());
    let expected = ["picture a.png", "picture b.png", "change of acme:other:pictures", "change of acme:app:mypictures"];
    assert_eq!(entries(&mut ledger), expected);
    assert!(ledger.logs().iter().any(|line| line.text.starts_with("`deleted` from acme:app:pictures failed: 404")));
}

#[test]
fn a_failed_notify_or_wake_is_logged() {
    let mut ledger = ledger();
    ledger.notify("write", Json(1));
    ledger.wake(13);
    let lines: Vec<_> = ledger.logs().into_iter().map(|line| (line.level, line.text)).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], (log::Level::Warn, "wake 13 failed: 409 conflict: unlucky".to_owned()));
}

struct Clock {
    step: u64,
}

#[derive(Deserialize)]
struct ClockSettings {
    step: u64,
}

#[actor]
impl Clock {
    #[start]
    fn start(context: &Context) -> Result<Self, String> {
        let ClockSettings { step } = context.settings().map_err(|failure| failure.message)?;
        context.wake_after(Duration::from_secs(1), 1);
        log::info("started");
        Ok(Clock { step })
    }

    #[operation]
    async fn nap(&mut self, call: &Call) -> Json<u64> {
        let before = call.now();
        mechtron::join(call.sleep(Duration::from_millis(self.step)), call.sleep(Duration::from_millis(self.step * 3)))
            .await;
        Json(call.now() - before)
    }

    #[operation]
    fn remaining(&self, call: &Call) -> Json<bool> {
        Json(call.remaining() == Some(Duration::from_secs(30)))
    }

    #[operation]
    fn page(&self) -> Html {
        Html("<p>".into())
    }

    #[operation]
    fn bytes(&self, Bytes(mut bytes): Bytes) -> Result<Bytes, Failure> {
        bytes.reverse();
        Ok(Bytes(bytes))
    }

    #[wake]
    fn tick(&mut self, call: &Call) {
        self.step += 1;
        call.wake_after(Duration::from_secs(1), 1);
    }
}

#[test]
fn a_start_function_reads_the_settings_or_returns_an_error() {
    let refused = testing::Actor::<Clock>::start(()).err().unwrap();
    assert!(refused.contains("missing field `step`"), "{refused}");
    let clock = testing::Actor::<Clock>::start(serde_json::json!({ "step": 10 })).unwrap();
    assert_eq!((clock.logs()[0].text.as_str(), clock.timers().len()), ("started", 1));
}

#[test]
fn sleeps_and_timers_follow_the_clock_of_the_test() {
    let mut clock = testing::Actor::<Clock>::start(serde_json::json!({ "step": 10 })).unwrap();
    assert_eq!(clock.request("nap", ()).unwrap().json::<u64>().unwrap(), 30);
    clock.advance(Duration::from_secs(5));
    assert_eq!(clock.request("nap", ()).unwrap().json::<u64>().unwrap(), 45);
    assert!(clock.request("remaining", ()).unwrap().json::<bool>().unwrap());
}

#[test]
fn a_mechtron_without_state_saves_and_accepts_none() {
    let setup = testing::Setup::default().settings(serde_json::json!({ "step": 1 }));
    let clock = setup.clone().start::<Clock>().unwrap();
    assert_eq!(clock.save().unwrap(), Saved::default());
    let refused = setup.saved(Saved { format: 3, data: b"{}".to_vec() }).start::<Clock>().err().unwrap();
    assert!(refused.contains("saved state of format 3"), "{refused}");
}

#[test]
fn payloads_of_every_kind_are_received_and_sent() {
    let mut clock = testing::Actor::<Clock>::start(serde_json::json!({ "step": 1 })).unwrap();
    assert_eq!(clock.request("page", ()), Ok(Payload::new("text/html", "<p>")));
    assert_eq!(clock.request("bytes", Bytes(vec![1, 2])), Ok(Payload::new("application/octet-stream", [2, 1])));
}

mechtron::export! { "ledger" => Ledger, "clock" => Clock }
