//! Checks of messages against a mechtron's contract, with the echo guest.

use std::rc::Rc;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use starlane_bundle::schema;
use starlane_node::guest::{GuestCall, GuestEffect, Kind, Level, Logged, Returned};
use starlane_protocol::{Message, Payload};

use super::fixture::{Guest, LIMITS, body, json, reply};
use crate::ports::Sandbox;

fn person() -> Value {
    json!({ "type": "object", "required": ["name"], "additionalProperties": false,
            "properties": { "name": { "type": "string", "maxLength": 5 }, "tags": { "items": { "type": "string" } } } })
}

async fn bound(sandbox: &Rc<dyn Sandbox>, echo: &Bytes, table: &str, name: &str, schema: Value) -> Guest {
    let mut contract = json!({ "requests": {}, "responses": {}, "events": {} });
    contract[table][name] = schema::normal_form(&schema).unwrap();
    Guest::start_under(sandbox, echo, LIMITS, &contract.to_string()).await
}

/// A request that does not match is refused with a pointer. Earlier and later calls of the batch run.
pub async fn a_request_that_does_not_fit_is_not_received(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = bound(&sandbox, &echo, "requests", "echo", person()).await;
    for (text, told) in [
        (r#"{ "name": 7 }"#, "at /name: "),
        (r#"{ "name": "too long" }"#, "at /name: "),
        (r#"{ "name": "ada", "tags": ["a", "b", 3] }"#, "at /tags/2: "),
        ("{}", "at its root: "),
        ("[]", "at its root: "),
        ("", "JSON"),
        ("{", "JSON"),
        ("\u{feff}{}", "JSON"),
        (r#"{ "name": "\ud800" }"#, "JSON"),
        (r#"{ "name": "ada", "tags": [1e400] }"#, "JSON"),
    ] {
        let calls = vec![
            guest.message("echo", json(r#"{ "name": "ada" }"#)),
            guest.message("echo", json(text)),
            guest.message("count", json("anything")),
        ];
        let report = guest.run(calls).await;
        assert_eq!(report.crash, None, "{text}");
        let [fits, misfit, other] = &report.done[..] else { panic!("three calls, not {:?}", report.done) };
        assert_eq!((&fits.returned, &other.returned), (&Returned::Received(true), &Returned::Received(true)), "{text}");
        let Returned::Misfit(reason) = &misfit.returned else { panic!("{text}: {misfit:?}") };
        assert!(
            reason.starts_with("the request `echo` does not fit its schema: ") && reason.contains(told),
            "{reason}"
        );
        assert_eq!(misfit.effects, [], "{text}");
    }
    let deep = format!("{{ \"name\": \"ada\", \"tags\": {}{} }}", "[".repeat(200), "]".repeat(200));
    let report = guest.run(vec![guest.message("echo", json(&deep))]).await;
    assert!(matches!(&report.done[0].returned, Returned::Misfit(reason) if reason.contains("JSON")), "{report:?}");
    let GuestCall::Receive { id, message } = guest.message("echo", json("7")) else { panic!("a message") };
    let one_way = GuestCall::Receive { id, message: Message { kind: Kind::Notify, ..message.clone() } };
    let event = GuestCall::Receive { id: id + 1000, message: Message { kind: Kind::Event, ..message } };
    let report = guest.run(vec![one_way, event]).await;
    assert!(matches!(report.done[0].returned, Returned::Misfit(_)), "{report:?}");
    assert!(
        matches!(report.done[1].returned, Returned::Received(_)),
        "an event is checked by the bind of who emits it"
    );
}

/// The requester gets 422 instead, and the log gets a line.
pub async fn a_response_that_does_not_fit_becomes_a_failure(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = bound(&sandbox, &echo, "responses", "echo", person()).await;
    let calls = [r#"{ "name": "ada" }"#, r#"{ "name": [] }"#, r#"{ "name": "eve" }"#];
    let report = guest.run(calls.iter().map(|text| guest.message("echo", json(text))).collect()).await;
    assert_eq!((report.crash, report.done.len()), (None, 3));
    assert_eq!(reply(&report.done[0].effects), Ok(json(calls[0])));
    assert_eq!(reply(&report.done[2].effects), Ok(json(calls[2])));
    let failure = reply(&report.done[1].effects).unwrap_err();
    assert_eq!((failure.status, failure.code.as_str()), (422, "schema-mismatch"));
    assert!(failure.message.starts_with("the response `echo` does not fit its schema: at /name: "), "{failure}");
    let said = |line: &Logged| line.level == Level::Error && line.text == failure.message;
    assert!(report.logs.iter().any(said), "{:?}", report.logs);
    assert_eq!(guest.ask("fail", Payload::nothing()).await.map_err(|failure| failure.status), Err(418));

    // A response from a later call.
    let later = bound(&sandbox, &echo, "responses", "sleep", json!({ "const": "never" })).await;
    let report = later.run(vec![later.message("sleep", json(r#"{ "ms": 5 }"#))]).await;
    let wakes = report.done[0].effects.iter().find_map(|effect| match effect {
        GuestEffect::WakeAfter { token, .. } => Some(*token),
        _ => None,
    });
    let report = later.run(vec![GuestCall::Wake { token: wakes.unwrap() }]).await;
    assert_eq!(reply(&report.done[0].effects).map_err(|failure| failure.status), Err(422));
}

/// Subscribers do not get the event, and the log gets a line. Other effects of the call happen.
pub async fn an_event_that_does_not_fit_is_dropped(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = bound(&sandbox, &echo, "events", "changed", person()).await;
    for (given, emitted) in [(json!({ "name": "ada" }), true), (json!({ "name": 1 }), false)] {
        let emit = json!({ "event": "changed", "body": given }).to_string();
        let report = guest.run(vec![guest.message("emit", json(&emit))]).await;
        let effects = &report.done[0].effects;
        let events = effects.iter().filter(|effect| matches!(effect, GuestEffect::Emit { .. })).count();
        assert_eq!(events, usize::from(emitted), "{effects:?}");
        assert!(reply(effects).is_ok());
        assert_eq!(report.logs.iter().any(|line| line.text.contains("the event `changed`")), !emitted);
    }
    let other = json!({ "event": "other", "body": 1 }).to_string();
    let report = guest.run(vec![guest.message("emit", json(&other))]).await;
    assert!(matches!(report.done[0].effects[0], GuestEffect::Emit { .. }), "there is no schema for it");
}

/// Both hosts have the same limit.
pub async fn what_readers_of_json_might_take_differently_is_refused(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let guest = bound(&sandbox, &echo, "requests", "count", json!({ "multipleOf": 1000 })).await;
    for (text, told) in [
        (nested(127), None),
        (nested(128), Some("JSON")),
        (r#"{ "a": 1, "b": 2, "a": 1 }"#.into(), Some("twice")),
        (r#"[{ "a": { "x": 1, "\u0078": 1 } }]"#.into(), Some("twice")),
        (r#"{ "a\"": [{ "a": 1 }, { "a": "\": \"a\"" }], "a\\" : "\\", "": {} }"#.into(), None),
        ("12345678901234567000".into(), Some("at its root: ")),
        ("1234567890123000".into(), None),
        ("1234567890123001".into(), Some("at its root: ")),
        ("-5e3".into(), None),
    ] {
        let report = guest.run(vec![guest.message("count", json(&text))]).await;
        match (&report.done[0].returned, told) {
            (Returned::Received(true), None) => {}
            (Returned::Misfit(reason), Some(told)) if reason.contains(told) => {}
            (returned, _) => panic!("{text}: {returned:?}"),
        }
    }
}

/// The cost of a body depends only on its size: no body ends a mechtron.
pub async fn hostile_bodies_are_checked_in_time(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let listed = |each: &dyn Fn(usize) -> String, count: usize| (0..count).map(each).collect::<Vec<_>>().join(",");
    let members = format!("{{ \"s\": {{ {} }} }}", listed(&|at| format!("\"m{at}\": \"\""), 200_000));
    let alike = format!("[{}]", listed(&|at| format!("[{}{at}]", "0,".repeat(1_000)), 1_024));
    let of = |kind: &str| json!({ "properties": { "s": { "additionalProperties": { "type": kind } } } });
    let zeros = format!("[{}]", listed(&|_| "0".to_owned(), 1_000_000));
    let either = json!({ "anyOf": [{ "type": "array", "items": { "type": "string" } }, { "type": "object" }] });
    // Each branch visits the members again.
    let closed =
        |n: usize| json!({ "additionalProperties": false, "properties": { format!("kind{n}"): { "const": n } } });
    let union = json!({ "properties": { "s": { "oneOf": (0..20).map(closed).collect::<Vec<_>>() } } });
    let tiny = format!("[{}]", listed(&|_| "1e-300".to_owned(), 100_000));
    let cents = format!("[{}]", listed(&|_| "4.35".to_owned(), 1_000_000));
    for (schema, text, fits) in [
        (either, &zeros, false),
        (json!({ "items": { "multipleOf": 0.01 } }), &cents, true),
        (json!({ "items": { "multipleOf": 0.01 } }), &tiny, false),
        (union, &members, false),
        (of("number"), &members, false),
        (json!({ "anyOf": [of("number"), of("string")] }), &members, true),
        (json!({ "properties": { "s": { "propertyNames": { "maxLength": 1 } } } }), &members, false),
        (json!({ "if": { "maxItems": 1024 }, "then": { "uniqueItems": true } }), &alike, true),
    ] {
        let guest = bound(&sandbox, &echo, "requests", "count", schema.clone()).await;
        let report = guest.run(vec![guest.message("count", json(text)), guest.message("echo", json("1"))]).await;
        assert_eq!((report.crash, report.done.len()), (None, 2), "{schema}");
        assert_eq!(matches!(report.done[0].returned, Returned::Received(true)), fits, "{schema}: {:?}", report.done[0]);
    }
    deep_bodies_have_room(&sandbox, &echo).await;
    dear_schemas_are_paid_for(&sandbox, &echo).await;
    // This is linear in the server's engine. A page may refuse it as too long, but other messages continue.
    let slow = json!({ "items": { "not": { "pattern": "^.*[ab]{0,26}a{0,255}b", "maxLength": 256 } } });
    let guest = bound(&sandbox, &echo, "requests", "count", slow).await;
    let texts = format!("[{}]", listed(&|_| format!("\"{}\"", "a".repeat(256)), 4_000));
    let mut calls = vec![guest.message("count", json(&texts)); 3];
    calls.push(guest.message("count", json("[\"c\"]")));
    let report = guest.run(calls).await;
    assert_eq!((report.crash, report.done.len()), (None, 4));
    for done in &report.done[..3] {
        match &done.returned {
            Returned::Misfit(reason) => assert!(reason.contains("its patterns take too long"), "{reason}"),
            returned => assert_eq!(*returned, Returned::Received(true)),
        }
    }
    assert_eq!(report.done[3].returned, Returned::Received(true));
    let guest =
        bound(&sandbox, &echo, "requests", "count", json!({ "additionalProperties": { "type": "string" } })).await;
    let long = format!("{{ \"größe/~{}\": 1 }}", "x".repeat(1_000_000));
    let report = guest.run(vec![guest.message("count", json(&long))]).await;
    let Returned::Misfit(reason) = &report.done[0].returned else { panic!("{report:?}") };
    assert!(reason.len() < 500 && reason.contains("größe"), "{reason}");
}

/// Recursive schemas with the maximum nesting, on bodies with the maximum depth.
async fn deep_bodies_have_room(sandbox: &Rc<dyn Sandbox>, echo: &Bytes) {
    type Wrap = fn(Value) -> Value;
    let within: [(&str, Wrap); 5] = [
        ("allOf", |schema| json!({ "allOf": [schema] })),
        ("anyOf", |schema| json!({ "anyOf": [schema] })),
        ("oneOf", |schema| json!({ "oneOf": [schema] })),
        ("if", |schema| json!({ "if": schema, "then": true, "else": false })),
        // Pairs of `not` cancel out.
        ("not", |schema| json!({ "not": schema })),
    ];
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    for (keyword, wrap) in within {
        let nested = |times: usize| {
            let body = (0..times).fold(json!({ "items": { "$ref": "#/$defs/0" } }), |schema, _| wrap(schema));
            json!({ "$ref": "#/$defs/0", "$defs": { "0": body } })
        };
        let most = (2..20).step_by(2).take_while(|times| schema::normal_form(&nested(*times)).is_ok()).last();
        let guest = bound(sandbox, echo, "requests", "count", nested(most.unwrap())).await;
        let report = guest.run(vec![guest.message("count", json(&deep))]).await;
        let returned = report.done.first().map(|done| &done.returned);
        assert_eq!(returned, Some(&Returned::Received(true)), "{keyword}, {most:?} times: {:?}", report.crash);
    }
}

/// A body with too many steps is refused. Both hosts count alike and have the same limit.
async fn dear_schemas_are_paid_for(sandbox: &Rc<dyn Sandbox>, echo: &Bytes) {
    let all = |make: fn(usize) -> Value, count: usize| (0..count).map(make).collect::<Vec<_>>();
    let named = |make: fn(usize) -> (String, Value), count: usize| (0..count).map(make).collect::<Map<_, _>>();
    let consts = json!({ "items": { "anyOf": all(|n| json!({ "const": n as i64 - 1 }), 9_000) } });
    let dependent = json!({ "items": { "dependentSchemas": named(|n| (format!("m{n}"), json!(true)), 9_000) } });
    let required = json!({ "items": { "anyOf": [{ "dependentRequired": { "a": all(|n| json!(format!("m{n}")), 5_000) } }, true] } });
    let first = json!({ "items": { "prefixItems": all(|_| json!({ "type": "string" }), 5_000) } });
    for (schema, item, many) in [
        (consts, "8998", Some(20_000)),
        (dependent, "{}", Some(20_000)),
        (required, r#"{ "a": 1 }"#, Some(5_000)),
        (first, "[]", None),
    ] {
        let guest = bound(sandbox, echo, "requests", "count", schema).await;
        for (count, fits) in [(Some(100), true), (many, false)] {
            let Some(count) = count else { continue };
            let text = format!("[{}]", vec![item; count].join(","));
            let report = guest.run(vec![guest.message("count", json(&text)), guest.message("echo", json("1"))]).await;
            assert_eq!((report.crash, report.done.len()), (None, 2), "{count} of {item}");
            match &report.done[0].returned {
                Returned::Received(true) if fits => {}
                Returned::Misfit(reason) if !fits && reason.contains("takes too long") => {}
                returned => panic!("{count} of {item}: {returned:?}"),
            }
        }
    }
}

/// In a page's own thread, a body that would block it for long is refused before it is read.
pub async fn long_bodies_are_not_checked_in_the_pages_own_thread(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let guest = bound(&sandbox, &echo, "requests", "count", json!({ "type": "string" })).await;
    for (length, fits) in [(262_144, true), (262_145, false)] {
        let text = format!("\"{}\"", "x".repeat(length - 2));
        let report = guest.run(vec![guest.message("count", json(&text))]).await;
        match &report.done[0].returned {
            Returned::Received(true) if fits => {}
            Returned::Misfit(reason) if !fits && reason.contains("without `inline`") => {}
            returned => panic!("{length} bytes: {returned:?}"),
        }
    }
}

/// Other guests of the sandbox answer while a body of nearly the maximum size is checked.
pub async fn eight_megabytes_are_checked(sandbox: Rc<dyn Sandbox>, echo: Bytes) {
    let tags = |last: &str| format!(r#"{{ "name": "ada", "tags": [{}{last}] }}"#, r#""0123456","#.repeat(800_000));
    let guest = bound(&sandbox, &echo, "requests", "count", person()).await;
    let fits = guest.message("count", json(&tags("\"x\"")));
    let misfit = guest.message("count", json(&tags("8")));
    let report = guest.run(vec![fits, misfit]).await;
    assert_eq!(report.crash, None);
    assert_eq!(body(reply(&report.done[0].effects)), json!(1));
    let reason = format!("{:?}", report.done[1].returned);
    assert!(reason.contains("at /tags/800000: "), "{reason}");
}
