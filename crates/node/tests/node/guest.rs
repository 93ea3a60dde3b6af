//! A guest written in Rust, and the app whose mechtrons it is.

use std::collections::HashMap;

use litemap::LiteMap;
use starlane_bundle::{Bind, Body, Digest, Durability, Operation};
use starlane_node::{
    AppPlan, MechtronPlan,
    guest::{BatchReport, CallReport, GuestCall, GuestEffect, GuestLimits, Returned, Saved},
};
use starlane_protocol::{Failure, Grant, Message, Payload};

use crate::{
    mirror::Mirror,
    world::{address, text},
};

/// A guest, run as a sandbox would.
#[derive(Default)]
pub(crate) struct Guest {
    count: i64,
    woken: i64,
    heard: i64,
    /// It waits for a wake of its own, so it is not at rest.
    dozes: bool,
    unfinished: Vec<u64>,
    /// Messages that it reports to a service when they continue.
    tells: Vec<u64>,
    waiting: HashMap<u64, u64>,
    next_request: u64,
    pub(crate) mirror: Mirror,
    /// Whether it answers each outcome with as many requests as it may send.
    bomb: bool,
}

/// A wake that does nothing.
const LATER: u64 = 6_000;

/// This many wakes at once, each of which asks for as many again.
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
                        let text = std::str::from_utf8(&state.data).unwrap();
                        let numbers: Vec<i64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
                        (self.count, self.woken, self.heard) = (numbers[0], numbers[1], numbers[2]);
                    }
                    (Returned::Done, Vec::new())
                }
                GuestCall::Receive { .. } if !self.unfinished.is_empty() => return report,
                GuestCall::Receive { message, .. } if message.operation == "trap" => {
                    report.crash = Some("unreachable".into());
                    return report;
                }
                GuestCall::Receive { id, message } => self.receive(id, message),
                GuestCall::Settle { .. } if self.bomb => (Returned::Done, self.requests_to_nowhere()),
                GuestCall::Settle { request, outcome } => {
                    let message = self.waiting.remove(&request).expect("it asked");
                    self.unfinished.retain(|id| *id != message);
                    let reply = GuestEffect::Reply { id: message, outcome };
                    (Returned::Done, self.told(message).chain([reply]).collect())
                }
                GuestCall::Wake { token: 0 } => (Returned::Done, alarms(1_000)),
                GuestCall::Wake { token: LATER } => (Returned::Done, Vec::new()),
                GuestCall::Wake { token: DOZE } => {
                    self.dozes = false;
                    (Returned::Done, Vec::new())
                }
                GuestCall::Wake { token: WAKE } => {
                    self.woken += 1;
                    (Returned::Done, Vec::new())
                }
                GuestCall::Wake { token } => {
                    let id = token & !DOZE;
                    self.unfinished.retain(|unfinished| *unfinished != id);
                    let reply = GuestEffect::Reply { id, outcome: Ok(text("woken")) };
                    (Returned::Done, self.told(id).chain([reply]).collect())
                }
                GuestCall::Part { .. } | GuestCall::Ended { .. } | GuestCall::Ready { .. } => {
                    let effects = self.mirror.call(call);
                    for effect in &effects {
                        if let GuestEffect::Reply { id, .. } = effect {
                            self.unfinished.retain(|unfinished| unfinished != id);
                        }
                    }
                    (Returned::Done, effects)
                }
                GuestCall::Save => {
                    assert!(self.unfinished.is_empty() && !self.dozes, "it is not at rest");
                    let data = format!("{} {} {}", self.count, self.woken, self.heard).into();
                    (Returned::Saved(Saved { format: 1, data }), Vec::new())
                }
            };
            report.done.push(CallReport { returned, effects });
        }
        report
    }

    /// Reports to a service that a message continues.
    fn told(&mut self, message: u64) -> impl Iterator<Item = GuestEffect> + use<> {
        let tells = self.tells.extract_if(.., |id| *id == message).count();
        let payload = text("it goes on");
        let notify = GuestEffect::Notify { target: "acme:service".into(), operation: "told".into(), payload };
        std::iter::repeat_n(notify, tells)
    }

    fn receive(&mut self, id: u64, message: Message) -> (Returned, Vec<GuestEffect>) {
        let reply = |payload| vec![GuestEffect::Reply { id, outcome: Ok(payload) }];
        match message.operation.as_str() {
            "echo" => (Returned::Received(true), reply(message.payload)),
            // Answers with a copy of the stream in the message.
            "mirror" => {
                let (copy, mut effects) = self.mirror.begin(&message.payload);
                effects.extend(reply(copy));
                (Returned::Received(true), effects)
            }
            // Answers with the number of bytes when the stream has ended.
            "read-all" => {
                self.unfinished.push(id);
                self.mirror.read(&message.payload, id);
                (Returned::Received(false), Vec::new())
            }
            // Takes nothing, and grants more than it was given.
            "greedy" => {
                let stream = message.payload.stream.expect("it has a stream").id.0;
                self.unfinished.push(id);
                (Returned::Received(false), vec![GuestEffect::Grant { stream, bytes: u32::MAX }; 10])
            }
            // Answers before the stream has ended, and copies it to nobody.
            "swallow" => {
                let (_, mut effects) = self.mirror.begin(&message.payload);
                effects.extend(reply(text("thanks")));
                (Returned::Received(true), effects)
            }
            "who" => (Returned::Received(true), reply(text(&format!("{} {}", message.from, message.caller.name())))),
            "count" => {
                self.count += 1;
                (Returned::Received(true), reply(text(&self.count.to_string())))
            }
            // Asks the address in the body, and answers with its reply.
            "call" => {
                let request = self.next_request;
                self.next_request += 1;
                self.waiting.insert(request, id);
                self.unfinished.push(id);
                let target = String::from_utf8(message.payload.body.to_vec()).unwrap();
                let effect = GuestEffect::Request {
                    id: request,
                    target,
                    operation: "echo".into(),
                    payload: text("from a guest"),
                    timeout_ms: 0,
                };
                (Returned::Received(false), vec![effect])
            }
            "call-back" => {
                let (mut returned, mut effects) = self.receive(id, Message { operation: "call".into(), ..message });
                if let Some(GuestEffect::Request { operation, payload, .. }) = effects.first_mut() {
                    *operation = "call".into();
                    *payload = text("acme:app:keyed:a");
                }
                if let Returned::Received(finished) = &mut returned {
                    *finished = false;
                }
                (returned, effects)
            }
            // The same, with a report to a service before the answer.
            "call-told" => {
                self.tells.push(id);
                self.receive(id, Message { operation: "call".into(), ..message })
            }
            // Like a sleep of the SDK, with a report to a service before the answer.
            "sleep-told" => {
                self.tells.push(id);
                self.unfinished.push(id);
                (Returned::Received(false), vec![GuestEffect::WakeAfter { delay_ms: 500, token: DOZE | id }])
            }
            "sleep" => {
                self.unfinished.push(id);
                (Returned::Received(false), vec![GuestEffect::WakeAfter { delay_ms: 500, token: id }])
            }
            "emit" => {
                let mut effects = reply(text("emitted"));
                effects.push(GuestEffect::Emit { event: "changes".into(), payload: message.payload });
                (Returned::Received(true), effects)
            }
            // The message is not ended now and never will be.
            "never" | "never-told" => {
                self.unfinished.push(id);
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
                (Returned::Received(true), vec![GuestEffect::Reply { id, outcome }])
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
            "changes" => {
                self.heard += 1;
                (Returned::Received(true), Vec::new())
            }
            "numbers" => {
                (Returned::Received(true), reply(text(&format!("{} {} {}", self.count, self.woken, self.heard))))
            }
            "subscribe" => {
                let topic = String::from_utf8(message.payload.body.to_vec()).unwrap();
                let mut effects = reply(text("subscribed"));
                effects.push(GuestEffect::Subscribe { topic });
                (Returned::Received(true), effects)
            }
            // Asks for a wake after the milliseconds in the body.
            "wake" => {
                let delay_ms = std::str::from_utf8(&message.payload.body).unwrap().parse().unwrap();
                let mut effects = reply(text("asked"));
                effects.push(GuestEffect::WakeAfter { delay_ms, token: WAKE });
                (Returned::Received(true), effects)
            }
            "doze" => {
                self.dozes = true;
                let mut effects = reply(text("dozing"));
                effects.push(GuestEffect::WakeAfter { delay_ms: 5_000, token: DOZE });
                (Returned::Received(true), effects)
            }
            // Counts one more, and reports it as an event to itself and as a message to a service.
            "count-aloud" => {
                self.count += 1;
                let mut effects = reply(text(&self.count.to_string()));
                let payload = text(&self.count.to_string());
                effects.push(GuestEffect::Emit { event: "changes".into(), payload: payload.clone() });
                effects.push(GuestEffect::Notify { target: "acme:service".into(), operation: "told".into(), payload });
                (Returned::Received(true), effects)
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

/// The token of a counted wake.
const WAKE: u64 = 7_000;

/// A token of the instance itself, like those of the SDK.
const DOZE: u64 = 1 << 63;

/// An app at `acme:app` with the mechtrons `one` and `keyed:{key}`.
pub(crate) fn app() -> AppPlan {
    let body = Body::default;
    let answering = || Operation { request: body(), response: Some(body()) };
    let mut operations: LiteMap<String, Operation> =
        "echo who count call call-back sleep emit trap silent never alarm later bomb listen fail headers content-type \
         numbers subscribe wake doze count-aloud call-told sleep-told"
            .split(' ')
            .map(|name| (name.to_owned(), answering()))
            .collect();
    let stream = || Body { stream: true, ..Body::default() };
    operations.insert("mirror".into(), Operation { request: stream(), response: Some(stream()) });
    for name in ["read-all", "greedy"] {
        operations.insert(name.into(), Operation { request: stream(), response: Some(body()) });
    }
    operations.insert("swallow".into(), Operation { request: stream(), response: Some(body()) });
    operations.insert(
        "html".into(),
        Operation { request: Body { content_type: "text/html".into(), ..Body::default() }, response: None },
    );
    operations.insert("never-told".into(), Operation { request: body(), response: None });
    let events = [("changes".to_owned(), body())].into_iter().collect();
    let bind = Bind { name: "test".into(), description: String::new(), operations, events };
    let mechtron = |name: &str, keyed| MechtronPlan {
        name: name.into(),
        keyed,
        bundle: address("acme:repo:app:1.0.0"),
        publisher: "ed25519:test".into(),
        wasm: Digest::of(b"wasm"),
        mechtron: name.into(),
        bind: bind.clone(),
        contract: "".into(),
        settings: "{}".into(),
        allow: ["request **", "notify **", "request ~*::**", "subscribe **#*"]
            .map(|text| Grant::parse(text, None).unwrap())
            .into(),
        state: Durability::Idle,
        limits: GuestLimits { memory: 1 << 20, call_ms: 250, concurrency: 1 },
        mailbox: 8,
        restart_intensity: 3,
        restart_within_ms: 10_000,
        inline: false,
    };
    let sure = |name: &str, keyed| MechtronPlan { state: Durability::Each, ..mechtron(name, keyed) };
    AppPlan {
        app: address("acme:app"),
        mechtrons: vec![mechtron("one", false), mechtron("keyed", true), sure("sure", false), sure("sures", true)],
    }
}
