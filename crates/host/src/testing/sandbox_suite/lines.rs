//! Lines of streams, which the schema of a bind checks one by one.

use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Value, json};
use starlane_abi::limits::LINE_BYTES;
use starlane_bundle::schema;
use starlane_node::guest::{GuestCall, GuestEffect, GuestLimits, Returned};
use starlane_protocol::{Failure, Payload};

use super::{
    fixture::Guest,
    scribe::{ROOMY, cancelled, complete, part, scribe},
    wat::Module,
};
use crate::ports::Sandbox;

/// `{ "n": 1 }` fits.
fn line() -> Value {
    json!({ "type": "object", "required": ["n"], "properties": { "n": { "type": "integer" } } })
}

async fn bound(sandbox: &Rc<dyn Sandbox>, wasm: &Bytes, table: &str, names: &[&str], schema: Value) -> Guest {
    let mut contract = json!({ "requests": {}, "responses": {}, "events": {} });
    for name in names {
        contract[table][name] = schema::normal_form(&schema).unwrap();
    }
    Guest::start_under(sandbox, wasm, ROOMY, &contract.to_string()).await
}

async fn reader(sandbox: &Rc<dyn Sandbox>) -> Guest {
    bound(sandbox, &scribe(), "requests", &["x"], line()).await
}

async fn writer(sandbox: &Rc<dyn Sandbox>) -> Guest {
    bound(sandbox, &scribe(), "responses", &["open", "replies-now"], line()).await
}

fn write(bytes: &str) -> GuestEffect {
    GuestEffect::Write { stream: 1, bytes: Bytes::copy_from_slice(bytes.as_bytes()) }
}

/// The failure of a call that gave nothing to the guest.
fn bad_line(returned: &Returned) -> &Failure {
    let Returned::BadLine { stream: 2, failure } = returned else { panic!("no bad line, but {returned:?}") };
    failure
}

/// The failure at the end of effects.
fn failed(effects: &[GuestEffect]) -> &Failure {
    let Some(GuestEffect::Finish { stream: 1, error: Some(failure) }) = effects.last() else {
        panic!("no failed end, but {effects:?}")
    };
    failure
}

fn is_misfit(failure: &Failure, told: &str) {
    assert_eq!((failure.status, failure.code.as_str()), (422, "schema-mismatch"), "{failure}");
    assert!(failure.message.starts_with(told), "`{told}` does not begin {:?}", failure.message);
}

/// The guest gets no part in which a bad line ends, and nothing after it but the end.
pub async fn bad_line_of_a_request_ends_its_stream(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = reader(&sandbox).await;
    guest.gets(2).await;
    let (good, bad) = ("{\"n\":1}\r\n\r\n{\"n\"", ":2}\n\n{\"n\":\"x\"}\n{\"n\":4}\n");
    let (returned, logs) = guest.hears(vec![part(2, good), part(2, bad), part(2, "{\"n\":5}\n")]).await;
    assert_eq!((&returned[0], &returned[2], logs), (&Returned::Done, &Returned::Done, vec![good.to_owned()]));
    let failure = bad_line(&returned[1]);
    is_misfit(failure, "the request `x` does not fit its schema: line 5: at /n: ");
    let ended = GuestCall::Ended { stream: 2, error: Some(failure.clone()) };
    let told = vec![failure.message.clone()];
    assert_eq!(guest.hears(vec![ended, complete(2)]).await, (vec![Returned::Done; 2], told));

    // Other streams are not affected, and one that the guest cancels is not checked any more.
    guest.gets(4).await;
    assert_eq!(guest.hears(vec![part(4, "{\"n\":1}\n{"), part(2, "bad\n")]).await.0, [Returned::Done, Returned::Done]);
    assert_eq!(guest.does("cancel-it", "").await, [GuestEffect::CancelStream { stream: 4 }]);
    assert_eq!(guest.hears(vec![part(4, "bad\n"), complete(4)]).await, (vec![Returned::Done; 2], vec![]));
}

/// A line is what a body would be.
pub async fn lines_are_checked_as_bodies(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = reader(&sandbox).await;
    for (text, told) in [
        ("{\"n\":true}", "at /n: "),
        ("{}", "at its root: "),
        ("7", "at its root: "),
        ("{\"n\":1", "JSON"),
        ("{\"n\":1}{\"n\":1}", "JSON"),
        ("\u{feff}{\"n\":1}", "JSON"),
        ("{\"n\":1,\"n\":1}", "twice"),
        ("  ", "JSON"),
    ] {
        for end in ["\n", ""] {
            guest.gets(2).await;
            let (returned, _) = guest.hears(vec![part(2, format!("{{\"n\":0}}\n{text}{end}")), complete(2)]).await;
            let bad = if end.is_empty() { &returned[1] } else { &returned[0] };
            is_misfit(bad_line(bad), "the request `x` does not fit its schema: line 2: ");
            assert!(bad_line(bad).message.contains(told), "`{told}` is not in {bad:?}");
            guest.hears(vec![cancelled(2)]).await;
        }
    }
    // A body of this type is divided into lines too.
    for (text, told) in [("{\"n\":1}\n\n{\"n\":2}", None), ("{\"n\":1}\n{\"n\":[]}\n", Some("line 2: at /n: "))] {
        let report = guest.run(vec![guest.message("x", Payload::new("Application/X-NDJSON;a=b", text))]).await;
        match (&report.done[0].returned, told) {
            (Returned::Received(true), None) => {}
            (Returned::Misfit(reason), Some(told)) if reason.contains(told) => {}
            (returned, _) => panic!("{text}: {returned:?}"),
        }
    }
}

/// The last line needs no end. It is checked if the stream is complete.
pub async fn last_line_is_checked_at_the_end(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = reader(&sandbox).await;
    for (text, is_good) in [("{\"n\":1}\n{\"n\":2}", true), ("{\"n\":1}\n{\"n\":", false), ("\n\r", true), ("", true)] {
        guest.gets(2).await;
        let (returned, _) = guest.hears(vec![part(2, text)]).await;
        assert_eq!(returned, [Returned::Done]);
        let (returned, logs) = guest.hears(vec![complete(2)]).await;
        if is_good {
            assert_eq!((returned, logs), (vec![Returned::Done], vec!["complete".to_owned()]), "{text}");
        } else {
            assert_eq!(logs, [""; 0], "{text}");
            is_misfit(bad_line(&returned[0]), "the request `x` does not fit its schema: line 2: ");
            assert_eq!(guest.hears(vec![cancelled(2)]).await.1, ["gone"]);
        }
    }
    guest.gets(2).await;
    let calls = vec![part(2, "{\"n\":"), cancelled(2)];
    assert_eq!(guest.hears(calls).await.1, ["{\"n\":", "gone"], "a stream that failed has no last line");
}

/// A line that is too long ends its stream before it ends itself.
pub async fn line_that_is_too_long_ends_its_stream(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = reader(&sandbox).await;
    guest.gets(2).await;
    guest.hears(vec![part(2, "{\"n\":1}\n")]).await;
    let spaces = Bytes::from(vec![b' '; 65_536]);
    let (returned, logs) = guest.hears(vec![part(2, spaces); 18]).await;
    assert_eq!((&returned[..16], &returned[17]), (&[const { Returned::Done }; 16][..], &Returned::Done));
    let failure = bad_line(&returned[16]);
    assert_eq!((failure.status, failure.code.as_str()), (413, "too-large"));
    assert_eq!(failure.message, "line 2 of the request `x` is too long; the maximum is 1048576 bytes");
    assert_eq!(logs.len(), 16);
}

/// A bad line that the guest writes does not leave. The stream ends instead, and takes no more.
pub async fn bad_line_of_a_reply_ends_its_stream(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let told = "the response `open` does not fit its schema: line 3: ";
    for finishes in [false, true] {
        let guest = writer(&sandbox).await;
        guest.does("open", "").await;
        let good = "{\"n\":1}\n{\"n\":2}\n{\"n\"";
        assert_eq!(guest.writes(good).await.0, [write(good)]);
        let report = if finishes {
            guest.run(vec![guest.message("finish", Payload::nothing())]).await
        } else {
            guest.run(vec![guest.message("write", Payload::new("", ":\"x\"}\n{\"n\":4}\n"))]).await
        };
        let effects: Vec<_> = report.done[0]
            .effects
            .iter()
            .filter(|effect| !matches!(effect, GuestEffect::Reply { .. }))
            .cloned()
            .collect();
        assert_eq!(effects.len(), 1, "{effects:?}");
        is_misfit(failed(&effects), &format!("{told}{}", if finishes { "it is not valid JSON" } else { "at /n: " }));
        assert!(report.logs.iter().any(|line| line.text == failed(&effects).message), "{:?}", report.logs);
        assert_eq!(guest.writes("{\"n\":5}\n").await, (vec![], 0));
        assert_eq!(guest.does("finish", "").await, []);
        let late = vec![GuestCall::Ready { stream: 1, credit: 5 }, cancelled(1)];
        assert_eq!(guest.hears(late).await, (vec![Returned::Done; 2], vec![]));
    }
    // A guest may end a stream in the middle of a line, with a failure.
    let guest = writer(&sandbox).await;
    guest.does("open", "").await;
    guest.writes("{").await;
    assert_eq!(failed(&guest.does("fail-it", "").await).status, 418);
}

/// What a guest writes before its reply leaves after it, because only the reply shows which schema checks it.
pub async fn written_lines_wait_for_their_payload(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = writer(&sandbox).await;
    guest.does("only-opens", "").await;
    assert_eq!(guest.writes("{\"n\":1}\n").await.0, []);
    assert_eq!(guest.writes("{\"n\":").await.0, []);
    let effects = guest.does("replies-now", "").await;
    assert!(matches!(effects[0], GuestEffect::Reply { .. }), "{effects:?}");
    assert_eq!(effects[1..], [write("{\"n\":1}\n"), write("{\"n\":")]);
    is_misfit(failed(&guest.writes("}\n").await.0), "the response `replies-now` does not fit its schema: line 2: ");

    let guest = writer(&sandbox).await;
    guest.does("only-opens", "").await;
    guest.writes("{\"n\":1}\n").await;
    guest.writes("{\"n\":\"x\"}\n").await;
    guest.writes("{\"n\":3}\n").await;
    let effects = guest.does("replies-now", "").await;
    assert_eq!((effects.len(), &effects[1]), (3, &write("{\"n\":1}\n")));
    is_misfit(failed(&effects), "the response `replies-now` does not fit its schema: line 2: at /n: ");
    assert_eq!(guest.writes("{\"n\":4}\n").await, (vec![], 0));

    // The receiver of a request checks it.
    let guest = writer(&sandbox).await;
    guest.does("only-opens", "").await;
    guest.writes("anything\n").await;
    let effects = guest.does("notifies-now", "").await;
    assert!(matches!(effects[..], [GuestEffect::Notify { .. }, GuestEffect::Write { .. }]), "{effects:?}");
    assert_eq!(guest.writes("more\n").await.0, [write("more\n")]);

    // A stream that ends before its reply leaves nothing.
    let guest = writer(&sandbox).await;
    guest.does("only-opens", "").await;
    guest.writes("{\"n\":1}\n").await;
    assert_eq!(guest.does("finish", "").await, [GuestEffect::Finish { stream: 1, error: None }]);
}

/// The effects of one call stay in order.
pub async fn lines_of_one_call_are_checked_in_order(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let own = "(global.get $s)";
    let write = |at: u32| format!("(drop (call $write {own} (i32.const {at}) (i32.const 8)))");
    for (third, ends_early) in [(200, false), (208, true)] {
        let receive = format!(
            "(global.set $s (call $open_stream)) {} {} \
             (call $reply (local.get 0) (i32.const 0) {} {own}) {} {} (call $finish {own} {}) (i32.const 1)",
            write(200),
            write(200),
            "(i32.const 0)".repeat(6),
            write(third),
            write(200),
            "(i32.const 0)".repeat(6),
        );
        let more = "(global $s (mut i64) (i64.const 0)) (data (i32.const 200) \"{\\\"n\\\":1}\\n{\\\"n\\\":[}\\n\")";
        let wasm = Module { receive: &receive, more, streams: Some([""; 3]), ..Module::default() }.wasm();
        let guest = bound(&sandbox, &wasm, "responses", &["x"], line()).await;
        let report = guest.run(vec![guest.message("x", Payload::nothing())]).await;
        assert_eq!(report.crash, None);
        let kinds: String = report.done[0]
            .effects
            .iter()
            .map(|effect| match effect {
                GuestEffect::OpenStream { .. } => 'o',
                GuestEffect::Reply { .. } => 'r',
                GuestEffect::Write { .. } => 'w',
                GuestEffect::Finish { error: None, .. } => 'f',
                GuestEffect::Finish { .. } => 'x',
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, if ends_early { "orwwx" } else { "orwwwwf" });
    }
}

/// However a stream is divided into parts, the same line is the first that does not fit.
pub async fn every_division_gives_the_same_verdict(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let pieces =
        ["{\"n\":1}\n", "{\"ü\":0,\"n\":22}\r\n", "\n", "\r\n", "{\"n\":\"ü\"}\n", "{\"n\"", ":3}\n", "{\"n\":4}"];
    let silent = Module { streams: Some([""; 3]), memory: "1000", ..Module::default() };
    let reader = bound(&sandbox, &silent.wasm(), "requests", &["x"], line()).await;
    let writer = writer(&sandbox).await;
    let mut random = 7_u64;
    let mut below = |most: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % most
    };
    // Most lines fit.
    let one_of = |below: &mut dyn FnMut(usize) -> usize| {
        let most = if below(3) == 0 { 8 } else { 4 };
        below(most)
    };
    let (mut bad, mut written) = (0, 1);
    for _ in 0..150 {
        let count = below(9);
        let text: Vec<u8> = (0..count).flat_map(|_| pieces[one_of(&mut below)].bytes()).collect();
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
        let fits = |line: &[u8]| {
            let is_empty = line.is_empty() || line == b"\r";
            is_empty || serde_json::from_slice::<Value>(line).is_ok_and(|value| value["n"].is_u64())
        };
        let wrong = lines.iter().position(|line| !fits(line)).map(|at| format!("line {}: ", at + 1));
        bad += usize::from(wrong.is_some());
        for _ in 0..3 {
            let mut parts = Vec::new();
            let mut rest = Bytes::from(text.clone());
            while !rest.is_empty() {
                parts.push(rest.split_to(1 + below(rest.len().min(9))));
            }
            let told = read(&reader, &parts).await;
            assert_eq!(told.as_deref().map(verdict), wrong.as_deref(), "{told:?} of {parts:?}");
            let told = wrote(&writer, &parts, written).await;
            assert_eq!(told.as_deref().map(verdict), wrong.as_deref(), "{told:?} of {parts:?}");
            written += 2;
        }
    }
    assert!(bad > 30 && bad < 120, "{bad} of 150 texts have a bad line: that shows little");
}

/// The number of the line that a failure names.
fn verdict(message: &str) -> &str {
    let from = message.find("line ").unwrap();
    let end = message[from..].find(": ").unwrap();
    &message[from..from + end + 2]
}

async fn read(guest: &Guest, parts: &[Bytes]) -> Option<String> {
    guest.gets(2).await;
    let calls = parts.iter().map(|bytes| part(2, bytes.clone())).chain([complete(2)]).collect();
    let (returned, _) = guest.hears(calls).await;
    guest.hears(vec![cancelled(2)]).await;
    let mut failures = returned.iter().filter(|returned| **returned != Returned::Done).map(bad_line);
    let failure = failures.next().map(|failure| failure.message.clone());
    assert!(failures.next().is_none(), "one line of a stream is bad");
    failure
}

async fn wrote(guest: &Guest, parts: &[Bytes], stream: u64) -> Option<String> {
    let mut calls = vec![guest.message("open", Payload::nothing())];
    calls.extend(parts.iter().map(|bytes| guest.message("write", Payload::new("", bytes.clone()))));
    calls.push(guest.message("finish", Payload::nothing()));
    let report = guest.run(calls).await;
    assert_eq!(report.crash, None);
    let effects = report.done.into_iter().flat_map(|done| done.effects);
    let mut ends = effects.filter_map(|effect| match effect {
        GuestEffect::Finish { stream: ended, error } => Some((ended, error)),
        _ => None,
    });
    let (ended, error) = ends.next().unwrap();
    assert_eq!((ended, ends.next()), (stream, None), "it ends once");
    error.map(|failure| failure.message)
}

/// A line may have 1 MiB, and no byte more.
pub async fn longest_line_is_checked(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = reader(&sandbox).await;
    for (length, fits) in [(LINE_BYTES, true), (LINE_BYTES + 1, false)] {
        let text = format!("{}{{\"n\":1}}\n", " ".repeat(length - 7));
        guest.gets(2).await;
        let parts = text.as_bytes().chunks(65_536).map(|bytes| part(2, bytes.to_vec())).collect();
        let (returned, _) = guest.hears(parts).await;
        let bad: Vec<_> = returned.iter().filter(|returned| **returned != Returned::Done).map(bad_line).collect();
        assert_eq!(bad.iter().map(|failure| failure.status).collect::<Vec<_>>(), if fits { vec![] } else { vec![413] });
        guest.hears(vec![cancelled(2)]).await;
    }
}

/// Lines that take many steps do not use up the time of the guest's calls.
pub async fn costly_lines_are_checked_in_time(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let consts: Vec<Value> = (0..9_000).map(|n| json!({ "const": n - 1 })).collect();
    let contract = json!({ "requests": { "x": schema::normal_form(&json!({ "anyOf": consts })).unwrap() }, "responses": {}, "events": {} });
    let limits = GuestLimits { call_ms: 100, ..ROOMY };
    let guest = Guest::start_under(&sandbox, &scribe(), limits, &contract.to_string()).await;
    guest.gets(2).await;
    let lines = "8998\n".repeat(13_000);
    let (returned, _) = guest.hears(vec![part(2, lines), part(2, "9000\n")]).await;
    assert_eq!(returned[0], Returned::Done);
    is_misfit(bad_line(&returned[1]), "the request `x` does not fit its schema: line 13001: at its root: ");
}
