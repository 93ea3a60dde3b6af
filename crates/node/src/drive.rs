//! For unit tests: a node whose guests answer at once.

use starlane_bundle::{Bind, Body, Digest, Durability, Operation};
use starlane_protocol::{Address, Grant, HostSecret, Payload};

use crate::{
    ActorLimits, AppPlan, Effect, LinkConfig, MechtronPlan, Node, NodeConfig, Origin, Principal, PrincipalLimits,
    guest::{BatchReport, CallReport, GuestCall, GuestEffect, GuestLimits, Returned, Saved},
    state::Owned,
};

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

/// A node with apps that have one mechtron, which is keyed.
pub(crate) fn node(actors: ActorLimits, max_awake: usize, apps: &[&str]) -> Node {
    let body = Body::default;
    let answering = |name: &str| (name.to_owned(), Operation { request: body(), response: Some(body()) });
    let operations = ["echo", "never", "spread", "storm"].map(answering).into_iter().collect();
    let bind = Bind { name: "test".into(), description: String::new(), operations, events: Default::default() };
    let mechtron = MechtronPlan {
        name: "keyed".into(),
        keyed: true,
        bundle: address("acme:repo:app:1.0.0"),
        publisher: "ed25519:test".into(),
        wasm: Digest::of(b"wasm"),
        mechtron: "keyed".into(),
        bind,
        contract: "".into(),
        settings: "{}".into(),
        allow: [Grant::parse("request **", None).unwrap()].into(),
        state: Durability::Idle,
        limits: GuestLimits { memory: 1 << 20, call_ms: 250, concurrency: 1 },
        mailbox: 8,
        restart_intensity: 3,
        restart_within_ms: 10_000,
        inline: false,
    };
    let mut node = Node::new(NodeConfig {
        secret: HostSecret([1; 32]),
        link: LinkConfig::default(),
        max_awake,
        limits: PrincipalLimits::default(),
        actors,
        seed: [1; 32],
    });
    for app in apps {
        node.handle_install(1, AppPlan { app: address(app), mechtrons: vec![mechtron.clone()] });
    }
    run(&mut node, 1);
    node
}

/// Carries out the node's effects. Guests answer at once, except for `never`, and for `spread` and `storm`, which ask a thousand
/// actors or one actor a thousand times. Returns how many requests ended.
pub(crate) fn run(node: &mut Node, now: u64) -> usize {
    let mut ended = 0;
    while let Some(effect) = node.poll_effect(now) {
        match effect {
            Effect::TakeState { app, number, .. } => {
                node.handle_state_taken(now, &app, number, Ok(Owned { epoch: 1, actors: Vec::new() }));
            }
            Effect::StartGuest(plan) => node.handle_started(now, plan.instance, Ok(())),
            Effect::SaveState { write, .. } => node.handle_state_saved(now, write, Ok(())),
            Effect::LoadState { instance, .. } => node.handle_state_loaded(now, instance, Ok(None)),
            Effect::RunGuest { instance, calls } => {
                let done = calls.into_iter().map(|call| match call {
                    GuestCall::Receive { message, .. } if message.operation == "never" => {
                        CallReport { returned: Returned::Received(false), effects: Vec::new() }
                    }
                    GuestCall::Receive { message, .. } if ["spread", "storm"].contains(&&*message.operation) => {
                        let effects = (0..1_000).map(|n| match &*message.operation {
                            "spread" => request(n, format!("acme:app:keyed:t{n}"), "never"),
                            _ => request(n, "acme:app:keyed:b".into(), "echo"),
                        });
                        CallReport { returned: Returned::Received(false), effects: effects.collect() }
                    }
                    GuestCall::Receive { id, message } => {
                        let effects = vec![GuestEffect::Reply { id, outcome: Ok(message.payload) }];
                        CallReport { returned: Returned::Received(true), effects }
                    }
                    GuestCall::Save => {
                        let saved = Saved { format: 1, data: Default::default() };
                        CallReport { returned: Returned::Saved(saved), effects: Vec::new() }
                    }
                    _ => CallReport { returned: Returned::Done, effects: Vec::new() },
                });
                let report = BatchReport { done: done.collect(), ..BatchReport::default() };
                node.handle_ran(now, instance, report);
            }
            Effect::Settle { .. } => ended += 1,
            _ => {}
        }
    }
    ended
}

fn request(id: u64, target: String, operation: &str) -> GuestEffect {
    GuestEffect::Request {
        id,
        target,
        operation: operation.into(),
        payload: Payload::new("text/plain", "x"),
        timeout_ms: 0,
    }
}

/// Sends a request. Returns how many requests ended.
pub(crate) fn ask(node: &mut Node, now: u64, to: &str, operation: &str) -> usize {
    ask_as("ada", node, now, to, operation)
}

pub(crate) fn ask_as(who: &str, node: &mut Node, now: u64, to: &str, operation: &str) -> usize {
    let origin = Origin { address: address("starlane:test"), caller: Principal::named(who) };
    node.handle_request(now, &origin, &address(to), operation, Payload::new("text/plain", "x"), 0);
    run(node, now)
}
