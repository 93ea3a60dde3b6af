//! The beginning and the end of instances.

use std::rc::Rc;

use bytes::Bytes;
use serde_json::json;
use starlane_bundle::Digest;
use starlane_node::guest::{GuestCall, GuestEffect, GuestPlan, InstanceId, Level, Returned, Saved};
use starlane_protocol::Payload;

use super::{
    fixture::{Guest, LIMITS, body, context, logged},
    wat::Module,
};
use crate::ports::{Sandbox, SandboxError};

/// `start` may return an error.
pub async fn a_refused_start_gives_its_reason(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::make(&sandbox, &echo, LIMITS).await.expect("an instance");
    let start = GuestCall::Start(context(r#"{ "refuse": "not töday" }"#));
    let report = guest.run(vec![start, guest.message("count", Payload::nothing())]).await;
    assert_eq!(report.crash, None, "a refusal is not a crash");
    assert_eq!(report.done.len(), 1, "what comes after a refused start is not run");
    assert_eq!(report.done[0].returned, Returned::Refused("not töday".into()));
}

/// `save`, and `start` with its result.
pub async fn state_goes_from_one_instance_to_the_next(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let first = Guest::start(&sandbox, &echo, LIMITS).await;
    for count in 1..=3 {
        assert_eq!(body(first.ask("count", Payload::nothing()).await), json!(count));
    }
    let report = first.run(vec![GuestCall::Save]).await;
    let Returned::Saved(state) = &report.done[0].returned else { panic!("a state: {report:?}") };
    assert_eq!(state.format, 1);
    assert_eq!(body(first.ask("count", Payload::nothing()).await), json!(4), "it lives on after `save`");
    let next = Guest::start_from(&sandbox, &echo, LIMITS, Some(state.clone())).await;
    assert_eq!(body(next.ask("count", Payload::nothing()).await), json!(4));
    let damaged = Saved { format: 1, data: Bytes::from_static(b"\xff\xff") };
    let guest = Guest::make(&sandbox, &echo, LIMITS).await.expect("an instance");
    let mut told = context("{}");
    told.state = Some(damaged);
    let report = guest.run(vec![GuestCall::Start(told)]).await;
    assert!(matches!(report.done[0].returned, Returned::Refused(_)), "{report:?}");
}

/// Earlier calls stay done; later calls do not run.
pub async fn a_trap_ends_the_instance_and_keeps_its_log(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let report = guest.run(["count", "trap", "count"].map(|name| guest.message(name, Payload::nothing())).into()).await;
    assert_eq!(report.done.len(), 1, "the calls up to the trap");
    let crash = report.crash.expect("a crash");
    assert!(crash.to_lowercase().contains("unreachable"), "{crash}");
    let panic = logged(&report.logs).into_iter().find(|(level, _)| *level == Level::Error).expect("a panic's message");
    assert!(panic.1.contains("trapped as asked"), "{panic:?}");
    let gone = guest.run(vec![guest.message("count", Payload::nothing())]).await;
    assert!(gone.crash.is_some() && gone.done.is_empty(), "{gone:?}");
}

/// Instances do not share memory.
pub async fn instances_share_nothing(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let one = Guest::start(&sandbox, &echo, LIMITS).await;
    let other = Guest::start(&sandbox, &echo, LIMITS).await;
    for count in 1..=2 {
        assert_eq!(body(one.ask("count", Payload::nothing()).await), json!(count));
        assert_eq!(body(other.ask("count", Payload::nothing()).await), json!(count));
    }
    drop(one);
    assert_eq!(body(other.ask("count", Payload::nothing()).await), json!(3));
    assert!(!sandbox.place(other.id).is_empty());
}

/// `run` completes even if the instance never existed or was stopped.
pub async fn an_instance_that_is_gone_says_so(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let report = sandbox.run(InstanceId(u64::MAX), vec![GuestCall::Save]).await;
    assert!(report.crash.expect("a crash").contains("no such instance"));
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    sandbox.stop(guest.id);
    sandbox.stop(guest.id);
    let report = guest.run(vec![guest.message("count", Payload::nothing())]).await;
    assert!(report.crash.expect("a crash").contains("no such instance"));
    assert!(report.done.is_empty());
}

/// `start` needs `compile`.
pub async fn a_module_that_was_never_compiled_starts_nothing(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let wasm = Digest::of(b"never compiled");
    assert!(!sandbox.has_module(&wasm, LIMITS.memory));
    let plan = GuestPlan {
        instance: InstanceId(u64::MAX),
        group: "x".into(),
        wasm,
        limits: LIMITS,
        contract: "".into(),
        inline: false,
    };
    assert!(matches!(sandbox.start(&plan).await, Err(SandboxError::Module { digest, .. }) if digest == wasm));
}

/// `_initialize` is optional, and runs first.
pub async fn initialize_runs_once_before_start(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let count = "(i32.store (i32.const 32) (i32.add (i32.load (i32.const 32)) (i32.const 1)))";
    let initialize = format!("{count} (call $log (i32.const 2) (i32.const 64) (i32.const 3))");
    let start = "(i32.store (i32.const 36) (i32.const 0)) (if (i32.eqz (i32.load (i32.const 32))) (then unreachable)) \
                 (i32.const 16)";
    let wasm = Module { initialize: Some(&initialize), start, ..Module::default() }.wasm();
    let guest = Guest::make(&sandbox, &wasm, LIMITS).await.expect("an instance");
    let report = guest.run(vec![GuestCall::Start(context("{}")), GuestCall::Save]).await;
    assert_eq!(report.crash, None);
    let once = Saved { format: 1, data: Bytes::new() };
    assert_eq!(report.done[1].returned, Returned::Saved(once));
    assert_eq!(logged(&report.logs), [(Level::Info, "a:b".to_owned())], "it may log");
}

/// `cabi_post_…` comes after lifting.
pub async fn results_are_read_before_the_guest_frees_them(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    // `save` returns 3 bytes at 64; the function after it overwrites them.
    let save = "(i32.store (i32.const 36) (i32.const 64)) (i32.store (i32.const 40) (i32.const 3)) (i32.const 32)";
    let post = "(i32.store (local.get 0) (i32.const 9)) (i32.store8 (i32.const 64) (i32.const 65)) \
                (call $log (i32.const 0) (i32.const 64) (i32.const 3))";
    let wasm = Module { save, post_save: Some(post), ..Module::default() }.wasm();
    let guest = Guest::start(&sandbox, &wasm, LIMITS).await;
    let report = guest.run(vec![GuestCall::Save, GuestCall::Save]).await;
    assert_eq!(report.crash, None);
    let states: Vec<_> = report.done.into_iter().map(|done| done.returned).collect();
    let saved = |format, data: &'static str| Returned::Saved(Saved { format, data: Bytes::from(data) });
    assert_eq!(states, [saved(0, "a:b"), saved(9, "A:b")]);
    assert_eq!(logged(&report.logs), [(Level::Trace, "A:b".to_owned()), (Level::Trace, "A:b".to_owned())]);
}

/// A trap during a call drops the messages that this call has queued, and nothing else.
pub async fn a_crashed_call_queues_nothing(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let receive = "(call $wake_after (i32.const 7) (i64.const 9)) (call $log (i32.const 3) (i32.const 64) (i32.const 3)) \
                   (if (i64.eq (local.get 0) (i64.const 2)) (then unreachable)) (i32.const 1)";
    let guest = Guest::start(&sandbox, &Module { receive, ..Module::default() }.wasm(), LIMITS).await;
    let report = guest.run((0..3).map(|_| guest.message("x", Payload::nothing())).collect()).await;
    assert!(report.crash.is_some());
    let effects: Vec<_> = report.done.into_iter().flat_map(|done| done.effects).collect();
    assert_eq!(effects, [GuestEffect::WakeAfter { delay_ms: 7, token: 9 }]);
    assert_eq!(logged(&report.logs), vec![(Level::Warn, "a:b".to_owned()); 2], "logs of the crashed call count");
}
