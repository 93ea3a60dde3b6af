//! Streams that guests write and read.

use std::rc::Rc;

use bytes::Bytes;
use starlane_abi::limits;
use starlane_node::guest::{GuestCall, GuestEffect, Returned};
use starlane_protocol::{Failure, Payload};

use super::{
    fixture::{Guest, LIMITS, MIB, reply},
    scribe::{FIRST, ROOMY, cancelled, complete, part, scribe, streamed},
    wat::{BUMP, Module, repeat},
};
use crate::ports::Sandbox;

fn write(stream: u64, bytes: impl Into<Bytes>) -> GuestEffect {
    GuestEffect::Write { stream, bytes: bytes.into() }
}

/// The sandbox numbers the streams that a guest opens by odd numbers.
pub async fn opened_streams_have_odd_numbers(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
    for stream in [1, 3, 5] {
        let report = guest.run(vec![guest.message("open", Payload::nothing())]).await;
        let [GuestEffect::OpenStream { stream: opened }, _] = &report.done[0].effects[..] else {
            panic!("{:?}", report.done)
        };
        assert_eq!(*opened, stream);
        assert_eq!(reply(&report.done[0].effects).map(|payload| payload.stream), Ok(streamed(stream).stream));
    }
    guest.does("only-opens", "").await;
    let sent = guest.does("notifies-now", "").await;
    assert!(
        matches!(&sent[..], [GuestEffect::Notify { payload, .. }] if payload.stream == streamed(7).stream),
        "{sent:?}"
    );
    // Each instance has its own numbers.
    let other = Guest::start(&sandbox, &scribe(), ROOMY).await;
    assert_eq!(other.does("only-opens", "").await, [GuestEffect::OpenStream { stream: 1 }]);
}

/// The first credit is 64 KiB. A write above the credit ends the instance.
pub async fn write_spends_credit(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
    guest.does("open", "").await;
    assert_eq!(guest.writes("abc").await, (vec![write(1, "abc")], FIRST - 3));
    assert_eq!(guest.writes("").await, (vec![], FIRST - 3));
    let rest = vec![7; FIRST as usize - 3];
    assert_eq!(guest.writes(rest.clone()).await, (vec![write(1, rest)], 0));
    let ready = |credit| GuestCall::Ready { stream: 1, credit };
    assert_eq!(guest.hears(vec![ready(5)]).await, (vec![Returned::Done], vec!["a:b".to_owned()]));
    assert_eq!(guest.writes("abcd").await, (vec![write(1, "abcd")], 1));
    guest.hears(vec![ready(u32::MAX), ready(u32::MAX)]).await;
    assert_eq!(guest.writes("a").await.1, u32::MAX - 1, "it does not overflow");

    let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
    guest.does("open", "").await;
    let reason = guest.crash(guest.message("write", Payload::new("", vec![0; FIRST as usize + 1]))).await;
    assert_eq!(
        reason,
        "`receive`: `mesh.write`: 65537 bytes for stream 1, which has a credit of 65536; wait for `ready`"
    );
}

/// What a guest writes to a stream that has ended is dropped. It is told by a credit of 0.
pub async fn ended_streams_take_nothing(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let finished = |error| vec![GuestEffect::Finish { stream: 1, error }];
    for (end, effects) in [("finish", finished(None)), ("fail-it", finished(Some(Failure::new(418, "a:b", "a:b"))))] {
        let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
        guest.does("open", "").await;
        assert_eq!(guest.does(end, "").await, effects);
        assert_eq!(guest.does(end, "").await, []);
        assert_eq!(guest.writes(vec![0; FIRST as usize + 1]).await, (vec![], 0));
        // Calls that were under way do not reach the guest.
        let late = vec![GuestCall::Ready { stream: 1, credit: 5 }, cancelled(1)];
        assert_eq!(guest.hears(late).await, (vec![Returned::Done; 2], vec![]));
        assert_eq!(guest.writes("a").await, (vec![], 0));
    }
    let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
    guest.does("open", "").await;
    assert_eq!(guest.hears(vec![cancelled(1)]).await, (vec![Returned::Done], vec!["gone".to_owned()]));
    let late = vec![GuestCall::Ready { stream: 1, credit: 5 }, cancelled(1)];
    assert_eq!(guest.hears(late).await, (vec![Returned::Done; 2], vec![]));
    assert_eq!(guest.writes("a").await, (vec![], 0));
    assert_eq!(guest.does("finish", "").await, []);
}

/// Parts come in order and once, and nothing after the end.
pub async fn parts_and_ends_reach_the_guest(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
    guest.gets(2).await;
    let outcome = GuestCall::Settle { request: 1, outcome: Ok(streamed(4)) };
    guest.hears(vec![outcome]).await;
    let calls = vec![part(2, "one"), part(4, "two"), part(2, "three"), complete(2), cancelled(4)];
    let heard = ["one", "two", "three", "complete", "gone"].map(str::to_owned);
    assert_eq!(guest.hears(calls).await, (vec![Returned::Done; 5], heard.to_vec()));
    let late = vec![part(2, "late"), complete(2), cancelled(4), part(6, "unknown"), complete(6)];
    assert_eq!(guest.hears(late).await, (vec![Returned::Done; 5], vec![]));
    // A message with the first parts of its stream in one batch.
    let calls = vec![guest.message("x", streamed(6)), part(6, "first"), complete(6)];
    let heard = ["first", "complete"].map(str::to_owned);
    assert_eq!(guest.hears(calls).await.1, heard);
}

/// A guest that wants no more of a stream hears nothing more of it.
pub async fn cancelled_streams_are_silent(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
    assert_eq!(guest.does("grant-it", "").await, [], "it has no stream");
    assert_eq!(guest.does("cancel-it", "").await, []);
    guest.gets(2).await;
    assert_eq!(guest.does("grant-it", "").await, [GuestEffect::Grant { stream: 2, bytes: 7 }]);
    assert_eq!(guest.does("cancel-it", "").await, [GuestEffect::CancelStream { stream: 2 }]);
    assert_eq!(guest.does("cancel-it", "").await, []);
    assert_eq!(guest.does("grant-it", "").await, []);
    let late = vec![part(2, "late"), complete(2)];
    assert_eq!(guest.hears(late).await, (vec![Returned::Done; 2], vec![]));
    guest.gets(4).await;
    guest.hears(vec![complete(4)]).await;
    assert_eq!(guest.does("cancel-it", "").await, []);
    assert_eq!(guest.does("grant-it", "").await, []);
}

/// A stream for a guest that exports nothing for streams does not reach it.
pub async fn guest_without_streams_is_not_called(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let says = "(call $log (i32.const 2) (i32.const 64) (i32.const 3))";
    let receive = format!("{says} (i32.const 1)");
    let module = Module { receive: &receive, settle: says, ..Module::default() };
    let guest = Guest::start(&sandbox, &module.wasm(), LIMITS).await;
    let outcome = GuestCall::Settle { request: 1, outcome: Ok(streamed(4)) };
    let calls = vec![guest.message("x", streamed(2)), outcome, guest.message("x", Payload::nothing())];
    let results = vec![Returned::NoStreams, Returned::NoStreams, Returned::Received(true)];
    assert_eq!(guest.hears(calls).await, (results, vec!["a:b".to_owned()]));

    // It may still write, but is told nothing.
    let receive = "(drop (call $open_stream)) (i32.const 1)";
    let guest = Guest::start(&sandbox, &Module { receive, ..Module::default() }.wasm(), LIMITS).await;
    guest.run(vec![guest.message("x", Payload::nothing())]).await;
    let calls = vec![GuestCall::Ready { stream: 1, credit: 1 }, cancelled(1)];
    assert_eq!(guest.hears(calls).await, (vec![Returned::Done; 2], vec![]));
}

/// A payload names an open stream that the guest opened, once, and has no body then.
pub async fn broken_streams_end_the_instance(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let open = "(global.set $s (call $open_stream))";
    let zeros = |count: usize| "(i32.const 0) ".repeat(count);
    let notify = |body: u32, stream: &str| {
        format!(
            "(call $notify (i32.const 64) (i32.const 3) (i32.const 64) (i32.const 3) {} (i32.const 64) (i32.const {body}) {stream})",
            zeros(4)
        )
    };
    let own = "(global.get $s)";
    let reply = format!("(call $reply (local.get 0) {} {own})", zeros(7));
    let request = format!("(drop (call $request {} {own} (i32.const 0)))", zeros(10));
    let finish = format!("(call $finish {own} {})", zeros(6));
    let emit = format!("(call $emit {} {own})", zeros(8));
    let bare = |import: &str, arguments: &str| format!("(drop (call ${import} {arguments}))");
    for (receive, told) in [
        (notify(0, "(i64.const 1)"), "stream 1 is not an open stream of this guest"),
        (format!("{open} {}", notify(0, "(i64.const 2)")), "stream 2 is not an open stream"),
        (format!("{open} {}", notify(0, "(i64.const -1)")), "stream 18446744073709551615 is not"),
        (format!("{open} {}", notify(1, own)), "a payload has stream 1 and a body of 1 bytes"),
        (format!("{open} {reply} {}", notify(0, own)), "`mesh.notify`: stream 1 was attached before"),
        (format!("{open} {request} {reply}"), "`mesh.reply`: stream 1 was attached before"),
        (format!("{open} {finish} {reply}"), "stream 1 is not an open stream"),
        (format!("{open} {emit}"), "an event cannot carry a stream"),
        (bare("write", "(i64.const 1) (i32.const 0) (i32.const 0)"), "`open-stream` did not return the number 1"),
        (format!("{open} {}", bare("write", "(i64.const 2) (i32.const 0) (i32.const 0)")), "the number 2"),
        (format!("{open} {}", bare("write", "(i64.const 3) (i32.const 0) (i32.const 0)")), "the number 3"),
        (
            format!("{open} {}", bare("write", "(i64.const -1) (i32.const 0) (i32.const 0)")),
            "the number 18446744073709551615",
        ),
        (
            format!("{open} {}", bare("write", "(i64.const 1) (i32.const 65535) (i32.const 2)")),
            "the bytes is outside of memory",
        ),
        (
            format!("(call $finish (i64.const 1) {})", zeros(6)),
            "`mesh.finish`: `open-stream` did not return the number 1",
        ),
        (format!("{open} (call $finish {own} (i32.const 2) {})", zeros(5)), "an option has no case 2"),
        (
            format!(
                "{open} (call $finish {own} (i32.const 1) (i32.const 400) (i32.const 72) (i32.const 1) {})",
                zeros(2)
            ),
            "UTF-8",
        ),
    ] {
        let module = Module {
            receive: &format!("{receive} (i32.const 1)"),
            more: "(global $s (mut i64) (i64.const 0))",
            ..Module::default()
        };
        let guest = Guest::start(&sandbox, &module.wasm(), LIMITS).await;
        let reason = guest.crash(guest.message("x", Payload::nothing())).await;
        assert!(reason.contains(told), "`{told}` is not in {reason:?}, for {receive}");
    }
}

/// The writes of a call leave with its report, or not at all.
pub async fn crashed_call_writes_nothing(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let guest = Guest::start(&sandbox, &scribe(), ROOMY).await;
    guest.does("open", "").await;
    let report = guest.run(vec![guest.message("write-and-trap", Payload::new("", "abc"))]).await;
    assert!(report.crash.is_some_and(|crash| crash.contains("unreachable")));
    assert_eq!(report.done, []);
}

/// A part that the guest has no memory for ends its stream. The guest lives.
pub async fn part_without_memory_ends_its_stream(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let log = |at: &str, length: &str| format!("(call $log (i32.const 2) {at} {length})");
    let (said, ended) = (log("(local.get 1)", "(local.get 2)"), log("(local.get 5)", "(local.get 6)"));
    let module = Module {
        realloc: &format!("(if (i32.gt_u (local.get 3) (i32.const 5000)) (then unreachable)) {BUMP}"),
        streams: Some([&said, &ended, ""]),
        ..Module::default()
    };
    let guest = Guest::start(&sandbox, &module.wasm(), LIMITS).await;
    guest.gets(2).await;
    let (returned, logs) = guest.hears(vec![part(2, "small"), part(2, vec![b'x'; 6_000]), part(2, "small")]).await;
    let [Returned::Done, Returned::BadLine { stream: 2, failure }, Returned::Done] = &returned[..] else {
        panic!("{returned:?}")
    };
    assert_eq!((failure.status, failure.code.as_str()), (413, "too-large"));
    assert!(failure.message.contains("cabi_realloc"), "{failure}");
    assert_eq!(logs, ["small"], "no part follows");
    assert_eq!(guest.hears(vec![cancelled(2)]).await, (vec![Returned::Done], vec!["gone".to_owned()]));
    assert_eq!(guest.hears(vec![cancelled(2)]).await, (vec![Returned::Done], vec![]));
}

/// What a call writes counts as what it queues.
pub async fn written_bytes_are_limited(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    for (size, passes) in [(limits::CALL_BYTES, true), (limits::CALL_BYTES + 1, false)] {
        let guest = Guest::start(
            &sandbox,
            &writer(&format!("(call $write (global.get $s) (i32.const 0) (i32.const {size}))")),
            ROOMY,
        )
        .await;
        guest.run(vec![guest.message("x", Payload::nothing())]).await;
        guest.run(vec![GuestCall::Ready { stream: 1, credit: 64 * MIB as u32 }]).await;
        let report = guest.run(vec![GuestCall::Wake { token: 1 }, guest.message("writes", Payload::nothing())]).await;
        assert_eq!(report.crash.is_none(), passes, "{:?}", report.crash);
        assert_eq!(report.done.len(), if passes { 2 } else { 1 });
    }
    // Writes of one byte count as messages. Those of no bytes do not.
    for (bytes, passes) in [(0, true), (1, false)] {
        let write = format!("(drop (call $write (global.get $s) (i32.const 64) (i32.const {bytes})))");
        let many = repeat(limits::CALL_MESSAGES as u64 + 1, &write) + "(i32.const 0)";
        let guest = Guest::start(&sandbox, &writer(&many), ROOMY).await;
        guest.run(vec![guest.message("x", Payload::nothing())]).await;
        let report = guest.run(vec![guest.message("writes", Payload::nothing())]).await;
        assert_eq!(report.crash.is_none(), passes, "{:?}", report.crash);
    }
}

/// A guest that opens a stream, and writes on the message `writes`.
fn writer(write: &str) -> Bytes {
    let receive = format!(
        "(if (i32.eq (local.get 7) (i32.const 6)) (then (drop {write})) (else (global.set $s (call $open_stream)))) (i32.const 1)"
    );
    let more = "(global $s (mut i64) (i64.const 0))";
    Module { receive: &receive, more, memory: "1000", streams: Some([""; 3]), ..Module::default() }.wasm()
}

/// `wake-at` takes a time of 64 bits.
pub async fn wake_at_takes_a_time(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let receive = "(call $wake_at (i64.const 0x123456789ab) (i64.const -2)) (i32.const 1)";
    let guest = Guest::start(&sandbox, &Module { receive, ..Module::default() }.wasm(), LIMITS).await;
    let report = guest.run(vec![guest.message("x", Payload::nothing())]).await;
    let wake = GuestEffect::WakeAt { unix_ms: 0x123_4567_89ab, token: u64::MAX - 1 };
    assert_eq!(report.done[0].effects, [wake]);
}
