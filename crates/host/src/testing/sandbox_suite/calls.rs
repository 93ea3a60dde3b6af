//! Calls and their results, with the echo guest.

use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Value, json};
use starlane_node::guest::{GuestCall, GuestEffect, GuestLimits, Kind, Level, Returned};
use starlane_protocol::{Failure, Message, Payload, Principal};

use super::{
    fixture::{Guest, LIMITS, body, json, logged, reply},
    wat,
};
use crate::ports::Sandbox;

/// A whole payload, with text beyond ASCII and a large body, passes unchanged in both directions.
pub async fn a_message_comes_back_with_its_headers_and_a_megabyte(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let mut payload = Payload::new("application/x-größe", vec![0xa5; 1024 * 1024]);
    for index in 0..20 {
        payload.headers.push((format!("x-{index}"), "ż".repeat(index)));
    }
    for _ in 0..3 {
        assert!(guest.ask("echo", payload.clone()).await == Ok(payload.clone()), "the payload came back changed");
    }
}

/// An empty payload stays empty.
pub async fn empty_strings_and_lists_pass(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    assert_eq!(guest.ask("echo", Payload::nothing()).await, Ok(Payload::nothing()));
    let mut payload = Payload::nothing();
    payload.headers.push((String::new(), String::new()));
    assert_eq!(guest.ask("echo", payload.clone()).await, Ok(payload));
    let GuestCall::Receive { message, .. } = guest.message("", Payload::nothing()) else { panic!("a message") };
    let message = Message { caller: Principal::default(), remaining_ms: 0, ..message };
    let report = guest.run(vec![GuestCall::Receive { id: u64::MAX, message }]).await;
    assert_eq!(report.crash, None);
    assert!(reply(&report.done[0].effects).is_err(), "there is no operation without a name");
}

/// Status, code and message of a failure.
pub async fn a_failure_is_an_outcome(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    assert_eq!(guest.ask("fail", Payload::nothing()).await.map_err(|failure| failure.status), Err(418));
    let asked = json(r#"{ "status": 599, "code": "odd", "message": "wörds" }"#);
    assert_eq!(guest.ask("fail", asked).await, Err(Failure::new(599, "odd", "wörds")));
}

/// A hundred calls in one batch.
pub async fn a_batch_runs_in_order(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let report = guest.run((0..100).map(|_| guest.message("count", Payload::nothing())).collect()).await;
    assert_eq!(report.crash, None);
    let counts: Vec<Value> = report.done.iter().map(|done| body(reply(&done.effects))).collect();
    assert_eq!(counts, (1..=100).map(Value::from).collect::<Vec<_>>());
}

/// `receive` waits while `concurrency` messages are unfinished.
pub async fn a_batch_ends_before_a_message_too_many(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    for concurrency in 1..=3 {
        let guest = Guest::start(&sandbox, &echo, GuestLimits { concurrency, ..LIMITS }).await;
        let calls = (0..5).map(|_| guest.message("sleep", json(r#"{ "ms": 1000 }"#))).collect();
        let report = guest.run(calls).await;
        assert_eq!(report.crash, None);
        let returned: Vec<_> = report.done.into_iter().map(|done| done.returned).collect();
        assert_eq!(returned, vec![Returned::Received(false); concurrency as usize]);
        let again = guest.run(vec![guest.message("echo", Payload::nothing())]).await;
        assert_eq!((again.crash, again.done), (None, vec![]), "no room, and no crash either");
    }
}

/// With a concurrency of 2, a second message is received and answered while the first is unfinished; with 1 it waits.
pub async fn calls_interleave_up_to_the_concurrency(sandbox: Rc<dyn Sandbox>, _echo: Bytes) {
    let reply = |id| GuestEffect::Reply { id, outcome: Ok(Payload::nothing()) };
    let guest = Guest::start(&sandbox, &wat::holder(), GuestLimits { concurrency: 2, ..LIMITS }).await;
    for (id, operation, returned, effects) in [
        (1, "hold", false, vec![]),
        (2, "go", true, vec![reply(2)]),
        (3, "go", true, vec![reply(3)]),
        (4, "release", true, vec![reply(1), reply(4)]),
    ] {
        let report = guest.run(vec![guest.message(operation, Payload::nothing())]).await;
        assert_eq!(report.crash, None, "message {id}");
        assert_eq!(report.done[0].returned, Returned::Received(returned), "message {id}");
        assert_eq!(report.done[0].effects, effects, "message {id}");
    }
    let guest = Guest::start(&sandbox, &wat::holder(), GuestLimits { concurrency: 1, ..LIMITS }).await;
    let report = guest.run(["hold", "go"].map(|operation| guest.message(operation, Payload::nothing())).into()).await;
    assert_eq!((report.crash, report.done.len()), (None, 1));
}

/// A one-way message has the kind that it was sent with. Nothing answers it, not even a failure.
pub async fn a_one_way_message_is_received_and_not_answered(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    for operation in ["count", "fail", "unknown", "count"] {
        let GuestCall::Receive { id, message } = guest.message(operation, Payload::nothing()) else { panic!() };
        let message = Message { kind: Kind::Notify, remaining_ms: 0, ..message };
        let report = guest.run(vec![GuestCall::Receive { id, message }]).await;
        assert_eq!((report.crash, report.done.len()), (None, 1), "{operation}");
        assert_eq!(report.done[0].returned, Returned::Received(true), "{operation}");
        assert_eq!(report.done[0].effects, [], "{operation}");
    }
    assert_eq!(body(guest.ask("count", Payload::nothing()).await), json!(3));
    let forwarded = json(r#"{ "target": "acme:x", "operation": "y" }"#);
    let GuestCall::Receive { id, message } = guest.message("tell", forwarded) else { panic!() };
    let message = Message { kind: Kind::Notify, remaining_ms: 0, ..message };
    let report = guest.run(vec![GuestCall::Receive { id, message }]).await;
    assert!(matches!(&report.done[0].effects[..], [GuestEffect::Notify { target, .. }] if target == "acme:x"));
}

/// A message is unfinished until its reply.
pub async fn a_reply_from_another_call_makes_room(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let report = guest.run(vec![guest.message("sleep", json(r#"{ "ms": 20 }"#))]).await;
    let Some(GuestEffect::WakeAfter { delay_ms, token }) = report.done[0].effects.first() else {
        panic!("a sleep is a wake: {:?}", report.done)
    };
    assert_eq!(*delay_ms, 20);
    let report = guest.run(vec![GuestCall::Wake { token: *token }, guest.message("count", Payload::nothing())]).await;
    assert_eq!(report.crash, None);
    assert_eq!(report.done.len(), 2, "the reply made room for the next message of the same batch");
    assert!(matches!(report.done[0].effects.as_slice(), [GuestEffect::Reply { id: 1, outcome: Ok(_) }]));
    assert_eq!(body(reply(&report.done[1].effects)), json!(1));
}

/// A guest sends a request and gets its outcome.
pub async fn a_request_is_settled_with_either_outcome(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let mut ids = Vec::new();
    for outcome in [Ok(json("\"yes\"")), Err(Failure::new(409, "conflict", "no"))] {
        let asked = json(r#"{ "target": ".:other", "operation": "do", "body": [1], "timeout": 1234 }"#);
        let report = guest.run(vec![guest.message("call", asked)]).await;
        assert_eq!(report.done[0].returned, Returned::Received(false));
        let [GuestEffect::Request { id, target, operation, payload, timeout_ms }] = &report.done[0].effects[..] else {
            panic!("one request: {:?}", report.done)
        };
        assert_eq!((target.as_str(), operation.as_str(), *timeout_ms), (".:other", "do", 1234));
        assert_eq!(payload.body, Bytes::from("[1]"));
        ids.push(*id);
        let report = guest.run(vec![GuestCall::Settle { request: *id, outcome: outcome.clone() }]).await;
        assert_eq!(report.crash, None);
        assert_eq!(report.done[0].returned, Returned::Done);
        assert_eq!(reply(&report.done[0].effects), outcome);
    }
    assert_ne!(ids[0], ids[1], "each request has an id of its own");
    let unknown = GuestCall::Settle { request: 999_999, outcome: Ok(Payload::nothing()) };
    assert_eq!(guest.run(vec![unknown]).await.crash, None, "whoever gave up does not mind");
}

/// Tokens and events reach the guest unchanged.
pub async fn wakes_and_events_arrive(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let report = guest.run(vec![guest.message("wake-me", json(r#"{ "ms": 77 }"#))]).await;
    let wanted = GuestEffect::WakeAfter { delay_ms: 77, token: 77 };
    assert!(report.done[0].effects.contains(&wanted), "{:?}", report.done);
    let report = guest.run(vec![GuestCall::Wake { token: 77 }, GuestCall::Wake { token: 5 }]).await;
    assert_eq!((report.crash, report.done.len()), (None, 2));
    assert_eq!(body(guest.ask("woken", Payload::nothing()).await), json!([77, 5]));

    let GuestCall::Receive { id, message } = guest.message("changes", json("[1,2]")) else { panic!("a message") };
    let message = Message { kind: Kind::Event, caller: Principal::default(), remaining_ms: 0, ..message };
    let report = guest.run(vec![GuestCall::Receive { id, message }]).await;
    assert_eq!(report.crash, None);
    assert_eq!(report.done[0].returned, Returned::Received(true));
    let seen = json!({ "from": "acme:test:sender", "event": "changes", "body": [1, 2] });
    assert_eq!(body(guest.ask("last-event", Payload::nothing()).await), seen);
}

/// One-way messages, events and subscriptions.
pub async fn what_a_guest_asks_of_the_mesh_comes_out_as_it_was_said(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let cases = [
        ("tell", json!({ "target": "acme:x", "operation": "y", "body": { "z": 1 } })),
        ("emit", json!({ "event": "changed", "body": { "z": 1 } })),
        ("subscribe", json!(".:other#changes")),
        ("unsubscribe", json!(".:other#changes")),
    ];
    let calls = cases.iter().map(|(operation, body)| guest.message(operation, json(&body.to_string()))).collect();
    let report = guest.run(calls).await;
    assert_eq!(report.crash, None);
    let first: Vec<_> = report.done.iter().filter_map(|done| done.effects.first().cloned()).collect();
    let payload = json(r#"{"z":1}"#);
    let topic = ".:other#changes".to_owned();
    let wanted = [
        GuestEffect::Notify { target: "acme:x".into(), operation: "y".into(), payload: payload.clone() },
        GuestEffect::Emit { event: "changed".into(), payload },
        GuestEffect::Subscribe { topic: topic.clone() },
        GuestEffect::Unsubscribe { topic },
    ];
    assert_eq!(first, wanted);
}

/// The level and the text of log lines.
pub async fn logs_come_with_their_level(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = Guest::start(&sandbox, &echo, LIMITS).await;
    let report = guest.run(vec![guest.message("log", json(r#"{ "text": "näh" }"#))]).await;
    assert_eq!(logged(&report.logs), [(Level::Info, "näh".to_owned())]);
    let report = guest.run(vec![guest.message("echo", Payload::nothing())]).await;
    assert_eq!(report.logs, [], "a log comes once");
}
