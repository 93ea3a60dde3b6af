//! Compute time and memory: what a guest takes is bounded, and never another guest's.

use std::{cell::Cell, pin::pin, rc::Rc};

use bytes::Bytes;
use futures_util::future::{Either, select};
use serde_json::json;
use starlane_node::guest::{GuestCall, GuestLimits};
use starlane_protocol::Payload;

use super::{
    fixture::{Guest, LIMITS, MIB, body, context, json},
    wat::Module,
};
use crate::ports::{Sandbox, SandboxError};

/// A pure loop ends at its budget; until then another instance answers, wherever the two run. The budget is short: WebKit optimises a
/// loop that runs for seconds, and cannot end it any more.
pub async fn a_runaway_call_is_stopped_while_others_answer(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let limits = GuestLimits { call_ms: 300, ..LIMITS };
    let runaways = [Guest::start(&sandbox, &echo, limits).await, Guest::start(&sandbox, &echo, limits).await];
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let answered = Cell::new(0);
    let spinning = async {
        let [first, second] = runaways.each_ref().map(|guest| guest.crash(guest.message("spin", Payload::nothing())));
        (futures_util::future::join(first, second).await, answered.get())
    };
    let answering = async {
        for count in 1..=5 {
            assert_eq!(body(guest.ask("count", Payload::nothing()).await), json!(count));
            answered.set(count);
        }
    };
    let (((first, second), meanwhile), ()) = futures_util::future::join(spinning, answering).await;
    assert!(first.contains("300 ms") && second.contains("300 ms"), "{first} {second}");
    assert!(meanwhile > 0, "no answer came while both computed");
    assert_eq!(body(guest.ask("count", Payload::nothing()).await), json!(6), "what answered lives on");
}

/// Initialising, allocating and starting are bounded as all calls are.
pub async fn a_runaway_start_is_stopped_wherever_it_runs(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let limits = GuestLimits { call_ms: 100, ..LIMITS };
    let forever = "(loop $l (br $l)) unreachable";
    let wasm = Module { initialize: Some(forever), ..Module::default() }.wasm();
    let made = Guest::make(&sandbox, &wasm, limits).await.map(|guest| guest.id);
    assert!(matches!(&made, Err(SandboxError::Instance(reason)) if reason.contains("100 ms")), "{made:?}");
    for module in [Module { realloc: forever, ..Module::default() }, Module { start: forever, ..Module::default() }] {
        let guest = Guest::make(&sandbox, &module.wasm(), limits).await.expect("an instance");
        let reason = guest.crash(GuestCall::Start(context("{}"))).await;
        assert!(reason.contains("100 ms"), "{reason}");
    }
}

/// `stop` does not wait for a call to end: this one never would.
pub async fn stop_ends_a_call_in_its_middle(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let runaway = Guest::start(&sandbox, &echo, GuestLimits { call_ms: 3_600_000, ..LIMITS }).await;
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let spinning = pin!(runaway.run(vec![runaway.message("spin", Payload::nothing())]));
    let answering = pin!(async {
        for _ in 0..20 {
            guest.ask("count", Payload::nothing()).await.expect("a count");
        }
    });
    let Either::Left(((), spinning)) = select(answering, spinning).await else { panic!("it never ends by itself") };
    sandbox.stop(runaway.id);
    let report = spinning.await;
    assert!(report.crash.is_some() && report.done.is_empty(), "{report:?}");
    guest.ask("count", Payload::nothing()).await.expect("what answered lives on");
}

/// Both what a module begins with and what it grows to.
pub async fn memory_ends_where_the_limit_says(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let limits = GuestLimits { memory: 8 * MIB, ..LIMITS };
    let guest = Guest::start(&sandbox, &echo, limits).await;
    assert_eq!(body(guest.ask("grow", json(r#"{ "bytes": 4000000 }"#)).await), json!(4_000_000));
    guest.crash(guest.message("grow", json(r#"{ "bytes": 5000000 }"#))).await;

    let wasm = Module { memory: "129", ..Module::default() }.wasm();
    let made = Guest::make(&sandbox, &wasm, limits).await.map(|guest| guest.id);
    let Err(SandboxError::Module { reason, .. }) = made else { panic!("{made:?}") };
    assert_eq!(reason, "it begins with 8454144 bytes of memory; its limit is 8388608");
    let start = "(if (i32.eq (memory.grow (i32.const 127)) (i32.const -1)) (then unreachable)) \
                 (if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (i32.const 16)";
    drop(Guest::start(&sandbox, &Module { start, ..Module::default() }.wasm(), limits).await);
}

/// A table grows up to the bound of all guests.
pub async fn tables_end_where_the_limit_says(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let start = "(if (i32.eq (table.grow 0 (ref.null func) (i32.const 9000)) (i32.const -1)) (then unreachable)) \
                 (if (i32.ne (table.grow 0 (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable)) (i32.const 16)";
    let wasm = Module { start, more: "(table 1 10000 funcref)", ..Module::default() }.wasm();
    drop(Guest::start(&sandbox, &wasm, LIMITS).await);
}
