//! A guest written in Rust, and the app whose mechtrons it is.

use std::{collections::HashMap, rc::Rc};

use litemap::LiteMap;
use starlane_bundle::{Bind, Body, Digest, Operation};
use starlane_node::{
    AppPlan, MechtronPlan,
    guest::{BatchReport, CallReport, GuestCall, GuestEffect, GuestLimits, Message, Returned, Saved},
};
use starlane_protocol::{Failure, Grant, Payload};

use crate::world::{address, text};

/// A guest, run as a sandbox would.
#[derive(Default)]
pub(crate) struct Guest {
    count: i64,
    unfinished: Vec<u64>,
    waiting: HashMap<u64, u64>,
    next_request: u64,
    /// Whether each outcome makes it send as many requests as it may.
    bomb: bool,
}

/// A wake that does nothing.
const LATER: u64 = u64::MAX;

/// So many wakes at once, each of which asks for as many again.
fn alarms(count: usize) -> Vec<GuestEffect> {
    vec![GuestEffect::WakeAfter { delay_ms: 0, token: 0 }; count]
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self { next_request: 1, ..Self::default() }
    }

    /// Makes the calls, up to the first that has to wait or traps.
    pub(crate) fn run(&mut self, calls: Vec<GuestCall>) -> BatchReport {
        let mut report = BatchReport::default();
        for call in calls {
            let (returned, effects) = match call {
                GuestCall::Start(context) => {
                    if let Some(state) = context.state {
                        self.count = std::str::from_utf8(&state.data).unwrap().parse().unwrap();
                    }
                    (Returned::Done, Vec::new())
                }
                GuestCall::Receive(_) if !self.unfinished.is_empty() => return report,
                GuestCall::Receive(message) if message.operation == "trap" => {
                    report.crash = Some("unreachable".into());
                    return report;
                }
                GuestCall::Receive(message) => self.receive(message),
                GuestCall::Settle { .. } if self.bomb => (Returned::Done, self.requests_to_nowhere()),
                GuestCall::Settle { request, outcome } => {
                    let message = self.waiting.remove(&request).expect("it asked");
                    self.unfinished.retain(|id| *id != message);
                    (Returned::Done, vec![GuestEffect::Reply { id: message, outcome }])
                }
                GuestCall::Wake { token: 0 } => (Returned::Done, alarms(1_000)),
                GuestCall::Wake { token: LATER } => (Returned::Done, Vec::new()),
                GuestCall::Wake { token } => {
                    self.unfinished.retain(|id| *id != token);
                    (Returned::Done, vec![GuestEffect::Reply { id: token, outcome: Ok(text("woken")) }])
                }
                GuestCall::Save => {
                    let data = self.count.to_string().into();
                    (Returned::Saved(Saved { format: 1, data }), Vec::new())
                }
            };
            report.done.push(CallReport { returned, effects });
        }
        report
    }

    fn receive(&mut self, message: Message) -> (Returned, Vec<GuestEffect>) {
        let reply = |payload| vec![GuestEffect::Reply { id: message.id, outcome: Ok(payload) }];
        match message.operation.as_str() {
            "echo" => (Returned::Received(true), reply(message.payload)),
            "who" => (Returned::Received(true), reply(text(&format!("{} {}", message.sender, message.caller)))),
            "count" => {
                self.count += 1;
                (Returned::Received(true), reply(text(&self.count.to_string())))
            }
            // Asks the address in the body, and answers with what that answers.
            "call" => {
                let id = self.next_request;
                self.next_request += 1;
                self.waiting.insert(id, message.id);
                self.unfinished.push(message.id);
                let target = String::from_utf8(message.payload.body.to_vec()).unwrap();
                let effect = GuestEffect::Request {
                    id,
                    target,
                    operation: "echo".into(),
                    payload: text("from a guest"),
                    timeout_ms: 0,
                };
                (Returned::Received(false), vec![effect])
            }
            "call-back" => {
                let (mut returned, mut effects) = self.receive(Message { operation: "call".into(), ..message });
                if let Some(GuestEffect::Request { operation, payload, .. }) = effects.first_mut() {
                    *operation = "call".into();
                    *payload = text("acme:app:keyed:a");
                }
                if let Returned::Received(finished) = &mut returned {
                    *finished = false;
                }
                (returned, effects)
            }
            "sleep" => {
                self.unfinished.push(message.id);
                (Returned::Received(false), vec![GuestEffect::WakeAfter { delay_ms: 500, token: message.id }])
            }
            "emit" => {
                let mut effects = reply(text("emitted"));
                effects.push(GuestEffect::Emit { event: "changes".into(), payload: message.payload });
                (Returned::Received(true), effects)
            }
            // It has not ended it, and never will.
            "never" | "never-told" => {
                self.unfinished.push(message.id);
                (Returned::Received(false), Vec::new())
            }
            "alarm" => (Returned::Received(true), [reply(text("")), alarms(1_000)].concat()),
            "later" => {
                let later = GuestEffect::WakeAfter { delay_ms: 100_000, token: LATER };
                (Returned::Received(true), [reply(text("")), vec![later; 600]].concat())
            }
            "bomb" => {
                self.bomb = true;
                (Returned::Received(true), [reply(text("")), self.requests_to_nowhere()].concat())
            }
            "listen" => {
                let topic = |n| GuestEffect::Subscribe { topic: format!("acme:other:{n}#changes") };
                (Returned::Received(true), reply(text("")).into_iter().chain((0..200).map(topic)).collect())
            }
            "fail" => {
                let status = std::str::from_utf8(&message.payload.body).unwrap().parse().unwrap();
                let outcome = Err(Failure::new(status, "a code", "x".repeat(2 << 20)));
                (Returned::Received(true), vec![GuestEffect::Reply { id: message.id, outcome }])
            }
            "headers" => {
                let count: usize = std::str::from_utf8(&message.payload.body).unwrap().parse().unwrap();
                let mut payload = text("");
                payload.headers = (0..count).map(|n| (format!("x-{n}"), "v".repeat(1_000))).collect();
                (Returned::Received(true), reply(payload))
            }
            "content-type" => {
                let content_type = String::from_utf8(message.payload.body.to_vec()).unwrap();
                (Returned::Received(true), reply(Payload::new(&content_type, "x")))
            }
            "silent" => (Returned::Received(true), Vec::new()),
            other => unreachable!("the node let `{other}` through"),
        }
    }

    fn requests_to_nowhere(&mut self) -> Vec<GuestEffect> {
        let request = |id| GuestEffect::Request {
            id,
            target: "acme:nowhere:at:all".into(),
            operation: "echo".into(),
            payload: text("x"),
            timeout_ms: 0,
        };
        let from = self.next_request;
        self.next_request += 1_000;
        (from..self.next_request).map(request).collect()
    }
}

/// An app at `acme:app` with the mechtrons `one` and `keyed:{key}`.
pub(crate) fn app() -> AppPlan {
    let body = || Body { content_type: "*/*".into(), schema: None };
    let answering = || Operation { request: body(), response: Some(body()) };
    let mut operations: LiteMap<String, Operation> =
        "echo who count call call-back sleep emit trap silent never alarm later bomb listen fail headers content-type"
            .split(' ')
            .map(|name| (name.to_owned(), answering()))
            .collect();
    operations.insert(
        "html".into(),
        Operation { request: Body { content_type: "text/html".into(), schema: None }, response: None },
    );
    operations.insert("never-told".into(), Operation { request: body(), response: None });
    let events = [("changes".to_owned(), body())].into_iter().collect();
    let bind = Rc::new(Bind { name: "test".into(), description: String::new(), operations, events });
    let mechtron = |name: &str, keyed| MechtronPlan {
        name: name.into(),
        keyed,
        bundle: address("acme:repo:app:1.0.0"),
        publisher: "ed25519:test".into(),
        wasm: Digest::of(b"wasm"),
        mechtron: name.into(),
        bind: Rc::clone(&bind),
        contract: "".into(),
        settings: "{}".into(),
        allow: ["request **", "request ~*::**", "subscribe **#*"].map(|text| Grant::parse(text, None).unwrap()).into(),
        limits: GuestLimits { memory: 1 << 20, call_ms: 250, concurrency: 1 },
        mailbox: 8,
        restart_intensity: 3,
        restart_within_ms: 10_000,
        inline: false,
    };
    AppPlan { app: address("acme:app"), mechtrons: vec![mechtron("one", false), mechtron("keyed", true)] }
}
