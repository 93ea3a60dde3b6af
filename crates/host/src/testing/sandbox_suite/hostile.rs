//! Guests that break the interface, by mistake or on purpose. They end, and everything else continues.

use std::rc::Rc;

use bytes::Bytes;
use starlane_abi::limits;
use starlane_node::guest::{GuestCall, GuestLimits, Returned};
use starlane_protocol::{Failure, Payload};

use super::{
    fixture::{Guest, LIMITS, MIB, context},
    wat::{Module, notify, repeat},
};
use crate::ports::Sandbox;

/// Runs a guest with this `receive`, and checks that the reason of its end contains a text.
async fn crash_of_receive(sandbox: &Rc<dyn Sandbox>, receive: &str, names: &str) {
    let guest = Guest::start(sandbox, &Module { receive, ..Module::default() }.wasm(), LIMITS).await;
    let reason = guest.crash(guest.message("x", Payload::nothing())).await;
    assert!(reason.contains(names), "`{names}` is not named by {reason:?}, for {receive}");
}

/// Invalid pointers, texts and cases in arguments of imports.
pub async fn broken_arguments_end_the_instance(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let (text, none) = ((64, 3), (0, 0));
    let good = Module { receive: &(notify(text, (80, 1), text) + "(i32.const 1)"), ..Module::default() }.wasm();
    let guest = Guest::start(&sandbox, &good, LIMITS).await;
    let report = guest.run(vec![guest.message("x", Payload::nothing())]).await;
    assert_eq!((report.crash, report.done.len()), (None, 1), "good arguments pass");

    let notifies = [
        notify((65_535, 2), none, none),
        notify((-1, 1), none, none),
        notify((64, -1), none, none),
        notify((72, 3), none, none),
        notify(text, (82, 1), none),
        notify(text, (65_528, 1), none),
        notify(text, (0, 0x1000_0000), none),
        notify(text, (80, 129), none),
        notify(text, none, (1, 65_536)),
        notify(text, none, (-16, 32)),
    ];
    for call in notifies {
        crash_of_receive(&sandbox, &format!("{call} (i32.const 1)"), "notify").await;
    }
    let others = [
        (
            "reply",
            "(i64.const 1) (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)",
        ),
        (
            "reply",
            "(i64.const 1) (i32.const 1) (i32.const 400) (i32.const 72) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0)",
        ),
        ("subscribe", "(i32.const 72) (i32.const 2)"),
        ("log", "(i32.const 5) (i32.const 64) (i32.const 3)"),
        ("log", "(i32.const -1) (i32.const 64) (i32.const 3)"),
        ("log", "(i32.const 2) (i32.const 72) (i32.const 3)"),
        ("log", "(i32.const 2) (i32.const 65535) (i32.const 3)"),
    ];
    for (import, arguments) in others {
        crash_of_receive(&sandbox, &format!("(call ${import} {arguments}) (i32.const 1)"), import).await;
    }
}

/// Invalid results of `start` and `save`.
pub async fn broken_results_end_the_instance(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let starts = [
        "(i32.const 18)",
        "(i32.const 65528)",
        "(i32.const -4)",
        "(i32.store8 (i32.const 16) (i32.const 2)) (i32.const 16)",
        "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const -1)) \
         (i32.store (i32.const 24) (i32.const 1)) (i32.const 16)",
        "(i32.store8 (i32.const 16) (i32.const 1)) (i32.store (i32.const 20) (i32.const 72)) \
         (i32.store (i32.const 24) (i32.const 2)) (i32.const 16)",
    ];
    for start in starts {
        let wasm = Module { start, ..Module::default() }.wasm();
        let guest = Guest::make(&sandbox, &wasm, LIMITS).await.expect("an instance");
        let reason = guest.crash(GuestCall::Start(context("{}"))).await;
        assert!(reason.contains("start"), "{reason}");
    }
    let saves = [
        "(i32.const 33)",
        "(i32.const 65532)",
        "(i32.store (i32.const 36) (i32.const 65535)) (i32.store (i32.const 40) (i32.const 2)) (i32.const 32)",
    ];
    for save in saves {
        let guest = Guest::start(&sandbox, &Module { save, ..Module::default() }.wasm(), LIMITS).await;
        let reason = guest.crash(GuestCall::Save).await;
        assert!(reason.contains("save"), "{reason}");
    }
}

/// The host also checks the places to which it writes.
pub async fn a_broken_allocator_ends_the_instance(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let out_of_bounds = "(i32.const 65535)";
    let negative = "(i32.const -8)";
    let misaligned = "(select (i32.const 4097) (i32.const 4096) (i32.gt_u (local.get 2) (i32.const 1)))";
    for realloc in [out_of_bounds, negative, misaligned] {
        let wasm = Module { realloc, ..Module::default() }.wasm();
        let guest = Guest::make(&sandbox, &wasm, LIMITS).await.expect("an instance");
        let mut payload = Payload::nothing();
        payload.headers.push(("a".into(), "b".into()));
        let report = guest.run(vec![GuestCall::Start(context("{}")), guest.message("x", payload)]).await;
        let reason = report.crash.expect("a crash");
        assert!(reason.contains("cabi_realloc"), "{reason}");
    }
}

/// A failing or lying allocator does not end the guest: it does not get the message or outcome, and continues.
pub async fn what_a_guest_has_no_memory_for_is_not_its_crash(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let gives_up = "(if (i32.gt_u (local.get 3) (i32.const 5000)) (then unreachable)) (i32.const 4096)";
    let lies = "(select (i32.const -16) (i32.const 4096) (i32.gt_u (local.get 3) (i32.const 5000)))";
    for realloc in [gives_up, lies] {
        let guest = Guest::start(&sandbox, &Module { realloc, ..Module::default() }.wasm(), LIMITS).await;
        let heavy = || {
            let mut headers = Payload::nothing();
            headers.headers.push(("x-long".into(), "v".repeat(6_000)));
            [Payload::new("text/plain", vec![b'x'; 6_000]), headers, Payload::new(&"x".repeat(6_000), "x")]
        };
        let mut calls = Vec::new();
        for payload in heavy() {
            calls.push(GuestCall::Settle { request: 1, outcome: Ok(payload.clone()) });
            calls.push(guest.message("x", payload));
            calls.push(guest.message("x", Payload::new("text/plain", "light")));
        }
        let failure = Failure::new(500, "long", "x".repeat(6_000));
        calls.push(GuestCall::Settle { request: 1, outcome: Err(failure) });
        calls.push(guest.message("x", Payload::nothing()));
        let (count, report) = (calls.len(), guest.run(calls).await);
        assert_eq!((report.crash, report.done.len()), (None, count));
        let too_large =
            |returned: &Returned| matches!(returned, Returned::TooLarge(why) if why.contains("cabi_realloc"));
        let given = report.done.iter().map(|done| too_large(&done.returned));
        assert_eq!(given.collect::<Vec<_>>(), [true, true, false, true, true, false, true, true, false, true, false]);
        assert!(report.done.iter().all(|done| done.effects.is_empty()));
    }
}

/// The limit for queued messages applies to all calls of a batch together. One call exceeds it.
pub async fn outcomes_and_wakes_wait_when_a_batch_queued_enough(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let many = repeat(600, "(call $wake_after (i32.const 1) (i64.const 1))");
    let large = notify((64, 3), (80, 1), (65_536, 10 << 20));
    let limits = GuestLimits { memory: 64 * MIB, ..LIMITS };
    for settle in [many, large] {
        let module = Module { settle: &settle, memory: "300", ..Module::default() };
        let guest = Guest::start(&sandbox, &module.wasm(), limits).await;
        let settle = || GuestCall::Settle { request: 1, outcome: Ok(Payload::nothing()) };
        let report = guest.run(vec![settle(), settle(), settle(), GuestCall::Wake { token: 1 }]).await;
        assert_eq!((report.crash, report.done.len()), (None, 2));
        let report = guest.run(vec![settle(), GuestCall::Wake { token: 1 }, GuestCall::Save]).await;
        assert_eq!((report.crash, report.done.len()), (None, 3));
    }
}

/// Only the five calls may use the mesh.
pub async fn the_mesh_is_closed_before_start_and_in_the_allocator(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let quiet = "(drop (call $now_ms)) (drop (call $random)) (call $log (i32.const 1) (i32.const 64) (i32.const 3))";
    let wasm = Module { initialize: Some(quiet), ..Module::default() }.wasm();
    Guest::start(&sandbox, &wasm, LIMITS).await;

    let loud = notify((64, 3), (0, 0), (0, 0));
    let wasm = Module { initialize: Some(&loud), ..Module::default() }.wasm();
    assert!(Guest::make(&sandbox, &wasm, LIMITS).await.is_err(), "`_initialize` may not send");

    let realloc = format!("{loud} (i32.const 4096)");
    let wasm = Module { realloc: &realloc, ..Module::default() }.wasm();
    let guest = Guest::make(&sandbox, &wasm, LIMITS).await.expect("an instance");
    let reason = guest.crash(GuestCall::Start(context("{}"))).await;
    assert!(reason.contains("notify"), "{reason}");
}

/// The limit for messages applies to each call.
pub async fn a_call_queues_so_many_messages_and_no_more(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let wake = "(call $wake_after (i32.const 1) (i64.const 1))";
    let most = limits::CALL_MESSAGES as u64;
    let receive = repeat(most, wake) + "(i32.const 1)";
    let guest = Guest::start(&sandbox, &Module { receive: &receive, ..Module::default() }.wasm(), LIMITS).await;
    let report = guest.run(vec![guest.message("x", Payload::nothing()), guest.message("x", Payload::nothing())]).await;
    assert_eq!(report.crash, None);
    assert!(report.done.iter().all(|done| done.effects.len() == limits::CALL_MESSAGES));
    crash_of_receive(&sandbox, &(repeat(most + 1, wake) + "(i32.const 1)"), "1024").await;
}

/// The limit for bytes applies to each call.
pub async fn a_call_queues_so_many_bytes_and_no_more(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let limits = GuestLimits { memory: 64 * MIB, ..LIMITS };
    for (size, passes) in [(limits::CALL_BYTES as i64 - 64, true), (limits::CALL_BYTES as i64 + 1, false)] {
        let receive = notify((64, 3), (80, 1), (65_536, size)) + "(i32.const 1)";
        let wasm = Module { receive: &receive, memory: "300", ..Module::default() }.wasm();
        let guest = Guest::start(&sandbox, &wasm, limits).await;
        let report = guest.run(vec![guest.message("x", Payload::nothing())]).await;
        assert_eq!(report.crash.is_none(), passes, "{:?}", report.crash);
    }
}

/// A long log is not a crash.
pub async fn a_log_is_cut_where_it_is_too_long(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let whole = "(memory.fill (i32.const 1024) (i32.const 120) (i32.const 1000000)) \
                 (call $log (i32.const 2) (i32.const 1024) (i32.const 1000000)) ";
    let receive = repeat(100_000, "(call $log (i32.const 2) (i32.const 64) (i32.const 0))") + whole + "(i32.const 1)";
    for receive in [whole.to_owned() + whole + "(i32.const 1)", receive] {
        let wasm = Module { receive: &receive, memory: "20", ..Module::default() }.wasm();
        let guest = Guest::start(&sandbox, &wasm, LIMITS).await;
        let report = guest.run(vec![guest.message("x", Payload::nothing())]).await;
        assert_eq!(report.crash, None);
        assert_eq!(report.done[0].returned, Returned::Received(true));
        let bytes: usize = report.logs.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= limits::CALL_LOG, "{bytes} bytes");
        assert!(report.logs.len() <= limits::CALL_LOG, "{} lines", report.logs.len());
    }
}

/// The guest's stack ends before the host's stack.
pub async fn endless_recursion_is_a_crash(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let more = "(func $deep (param i32) (result i32) (i32.add (local.get 0) (call $deep (i32.add (local.get 0) (i32.const 1)))))";
    let receive = "(call $deep (i32.const 0))";
    let guest = Guest::start(&sandbox, &Module { receive, more, ..Module::default() }.wasm(), LIMITS).await;
    guest.crash(guest.message("x", Payload::nothing())).await;
}
