//! The decisions of one or two nodes, on virtual time.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod bodies;
mod budgets;
mod flows;
mod greedy;
mod guest;
mod hostile;
mod mirror;
mod peers;
mod principals;
mod scale;
mod state;
mod streams;
mod traces;
mod world;

use guest::app;
use starlane_node::{LinkConfig, LinkState, Notice, Operations, SocketId};
use starlane_protocol::{Grant, HostSecret, Payload};
use world::{PAGE, SERVER, World, address, origin, text, topic};

const ECHO: &str = "acme:service";

fn with_service(mut world: World) -> World {
    world.server().node.handle_serve(&address(ECHO), Operations::Any).unwrap();
    world
}

fn with_app(side: usize, mut world: World) -> World {
    world.sides[side].node.handle_install(1, app());
    world
}

#[test]
fn request_crosses_the_link_and_is_answered() {
    let mut world = with_service(World::linked());
    let states: Vec<_> = world.page().states.iter().map(|status| status.state).collect();
    assert_eq!(states, [LinkState::Connecting, LinkState::Up]);
    assert_eq!(world.ask(PAGE, ECHO, "echo", text("hi")).unwrap(), text("hi"));
    let seen = world.server().delivered.pop().unwrap();
    // The page's host has the secret [1; 32]; its principal comes from its token.
    assert_eq!(Some(seen.from), origin().address.on_host(&HostSecret([1; 32]).name()));
    assert_eq!(seen.caller.name(), "ada");
    assert_eq!(world.ask(PAGE, ECHO, "fail", text("")).unwrap_err().code, "conflict");
    assert_eq!(world.server().node.open_requests() + world.page().node.open_requests(), 0);
}

#[test]
fn bodies_of_any_allowed_size_arrive_complete() {
    let mut world = with_service(World::linked());
    for size in [0, 1, 65_535, 65_536, 65_537, 1 << 20, 5 << 20, 16 << 20] {
        let body: Vec<u8> = (0..size).map(|i: u32| (i % 251) as u8).collect();
        let payload = Payload::new("application/octet-stream", body);
        assert_eq!(world.ask(PAGE, ECHO, "echo", payload.clone()).unwrap(), payload, "{size}");
    }
    let payload = Payload::new("application/octet-stream", vec![0; (16 << 20) + 1]);
    assert_eq!(world.ask(PAGE, ECHO, "echo", payload).unwrap_err().code, "too-large");
}

#[test]
fn request_waits_for_the_link_and_then_ends_unreachable() {
    let mut world = with_service(World::new());
    world.cut = true;
    world.connect();
    let request = world.request_within(PAGE, ECHO, "echo", text("hi"), 1_000);
    world.pass(999);
    assert!(world.page().outcomes.is_empty());
    world.pass(1);
    let failure = world.outcome(PAGE, request).unwrap_err();
    assert_eq!((failure.status, failure.code.as_str()), (503, "unreachable"));
    assert_eq!(failure.address, Some(address(ECHO)));
}

#[test]
fn waiting_request_is_sent_when_the_link_comes_up() {
    let mut world = with_service(World::new());
    world.cut = true;
    world.connect();
    let request = world.request(PAGE, ECHO, "echo", text("hi"));
    world.pass(2_000);
    // The link is down after the first failed dial, even while it is retried.
    assert!(world.dials > 1, "{} dials", world.dials);
    let states = &world.sides[PAGE].states;
    assert_eq!((states[0].state, &states[0].reason), (LinkState::Connecting, &None));
    for (n, status) in states.iter().enumerate().skip(1) {
        let attempt = n.div_ceil(2) as u32;
        assert_eq!((status.state, status.attempt, status.since), (LinkState::Down, attempt, states[1].since));
        assert!(status.reason.as_ref().is_some_and(|reason| reason.code == "unreachable"));
        assert_eq!(status.next.is_some(), n % 2 == 1, "while it dials, no next dial is due");
    }
    world.cut = false;
    world.pass(11_000);
    assert_eq!(world.outcome(PAGE, request).unwrap(), text("hi"));
}

#[test]
fn waiting_messages_survive_sockets_that_break_before_the_link_is_up() {
    let mut world = with_service(World::new());
    let (now, page) = (world.now, &mut world.sides[PAGE].node);
    page.handle_connect(now);
    while page.poll_effect(0).is_some() {}
    page.handle_dialled(now, SocketId(9), None, 1);
    let request = page.handle_request(now, &origin(), &address(ECHO), "echo", text("1"), 0);
    page.handle_notify(now, &origin(), &address(ECHO), "echo", text("2")).unwrap();
    page.handle_closed(now, SocketId(9));
    world.pass(1_000);
    assert_eq!(world.outcome(PAGE, request).unwrap(), text("1"));
    let delivered: Vec<_> = world.server().delivered.iter().map(|incoming| incoming.payload.clone()).collect();
    assert_eq!((delivered, world.page().node.stats().dead_letters), (vec![text("1"), text("2")], 0));
}

#[test]
fn one_way_message_that_waits_too_long_for_the_link_is_logged() {
    let mut world = with_service(World::new());
    world.cut = true;
    world.connect();
    let now = world.now;
    world.page().node.handle_notify(now, &origin(), &address(ECHO), "echo", text("1")).unwrap();
    world.pass(29_000);
    assert_eq!(world.page().node.stats().dead_letters, 0);
    world.pass(20_000);
    assert_eq!(world.page().node.stats().dead_letters, 1);
    assert!(world.page().logs[0].contains("did not come up in time"), "{:?}", world.page().logs);
}

#[test]
fn open_requests_survive_a_cut_and_end_with_the_link() {
    let mut world = with_service(World::linked());
    world.server().hold = true;
    let first = world.request(PAGE, ECHO, "echo", text("1"));
    world.break_link();
    assert!(world.page().outcomes.is_empty());
    let second = world.request(PAGE, ECHO, "echo", text("2"));
    world.pass(1_000);
    assert_eq!(world.state(), Some(LinkState::Up));
    assert_eq!((world.server().held.len(), world.server().abandoned.len()), (2, 0));
    for request in std::mem::take(&mut world.server().held) {
        let now = world.now;
        world.server().node.handle_reply(now, request, Ok(text("late")));
    }
    world.run();
    assert_eq!([first, second].map(|request| world.outcome(PAGE, request)), [Ok(text("late")), Ok(text("late"))]);

    let third = world.request(PAGE, ECHO, "echo", text("3"));
    world.cut = true;
    world.break_link();
    let fourth = world.request(PAGE, ECHO, "echo", text("4"));
    world.kill_server();
    world.cut = false;
    let mut world = with_service(world);
    world.pass(20_000);
    let failure = world.outcome(PAGE, third).unwrap_err();
    assert_eq!((&*failure.code, failure.sent), ("link-lost", Some(true)));
    assert_eq!(world.outcome(PAGE, fourth), Ok(text("4")), "it had not left");
}

#[test]
fn link_without_a_socket_ends_when_its_time_is_over() {
    let mut world = with_service(World::linked());
    world.server().hold = true;
    let request = world.request_within(PAGE, ECHO, "echo", text("1"), 200_000);
    world.cut = true;
    world.break_link();
    world.pass(119_000);
    assert_eq!((world.server().node.links().len(), world.server().abandoned.len()), (1, 0));
    world.pass(1_000);
    assert_eq!((world.server().node.links().len(), world.server().abandoned.len()), (0, 1));
    assert_eq!(world.outcome(PAGE, request).unwrap_err().code, "link-lost");
    world.cut = false;
    world.pass(11_000);
    world.server().hold = false;
    assert!(world.ask(PAGE, ECHO, "echo", text("again")).is_ok());
}

#[test]
fn redials_slow_down_and_never_stop() {
    let mut world = World::new();
    world.cut = true;
    world.connect();
    world.pass(60_000);
    let minute = world.dials;
    assert!((8..=30).contains(&minute), "{minute} dials in the first minute");
    world.pass(600_000);
    assert!(world.dials > minute + 30);
}

#[test]
fn silence_reveals_a_dead_socket() {
    let mut world = World::linked();
    world.cut = true;
    world.pass(46_000);
    assert_eq!(world.page().hangups.last().unwrap().code, "silent");
    assert_eq!(world.server().hangups.last().unwrap().code, "silent");
}

#[test]
fn a_quiet_link_stays_up() {
    let mut world = World::linked();
    world.pass(600_000);
    assert!(world.page().hangups.is_empty());
}

#[test]
fn deadlines_end_unanswered_requests() {
    let mut world = with_service(World::linked());
    world.server().hold = true;
    let request = world.request_within(PAGE, ECHO, "echo", text("hi"), 700);
    world.pass(700);
    assert_eq!(world.outcome(PAGE, request).unwrap_err().code, "deadline");
    assert_eq!(world.server().abandoned.len(), 1, "the server got the cancel");
}

#[test]
fn cancel_reaches_the_responder() {
    let mut world = with_service(World::linked());
    world.server().hold = true;
    let request = world.request(PAGE, ECHO, "echo", text("hi"));
    world.sides[PAGE].node.handle_cancel(world.now, request);
    world.run();
    assert_eq!(world.server().abandoned.len(), 1);
    assert!(world.page().outcomes.is_empty());
}

#[test]
fn failures_name_unknown_addresses_and_operations() {
    let mut world = with_app(SERVER, with_service(World::linked()));
    assert_eq!(world.ask(PAGE, "acme:nothing", "echo", text("")).unwrap_err().code, "no-resource");
    let failure = world.ask(PAGE, "acme:app:one", "nope", text("")).unwrap_err();
    assert_eq!(failure.code, "no-operation");
    assert!(failure.message.contains("echo"), "{}", failure.message);
    assert_eq!(failure.address, Some(address("acme:app:one")));
    assert_eq!(world.ask(PAGE, "acme:app:one", "html", text("")).unwrap_err().code, "schema-mismatch");
    assert_eq!(world.ask(PAGE, "acme:app:one:x", "echo", text("")).unwrap_err().code, "no-resource");
}

#[test]
fn local_resource_is_found_first() {
    let mut world = with_app(PAGE, with_app(SERVER, World::linked()));
    world.ask(PAGE, "acme:app:keyed:a", "count", text("")).unwrap();
    assert_eq!(world.page().started.len(), 1);
    assert!(world.server().started.is_empty());
}

#[test]
fn the_server_asks_a_page_by_its_host_name() {
    let mut world = with_app(PAGE, with_app(SERVER, World::linked()));
    let page = world.page().node.name();
    let there = format!("{page}::acme:app:keyed:a");
    let reply = world.ask(SERVER, "acme:app:one", "call", text(&there)).unwrap();
    assert_eq!(reply, text("from a guest"));
    assert_eq!(world.page().started.len(), 1);
    // Only mechtrons of a launched app may send.
    assert_eq!(world.ask(SERVER, &there, "echo", text("")).unwrap_err().code, "no-grant");
}

#[test]
fn events_reach_a_page_and_a_lost_link_causes_a_gap() {
    let mut world = with_app(SERVER, World::linked());
    let subscription = world.page().node.handle_subscribe(topic("acme:app:one#changes"));
    world.run();
    world.ask(SERVER, "acme:app:one", "emit", text("1")).unwrap();
    let from = address("acme:app:one");
    assert_eq!(world.page().notices, [(subscription, Notice::Event { from: from.clone(), payload: text("1") })]);
    world.break_link();
    world.ask(SERVER, "acme:app:one", "emit", text("2")).unwrap();
    world.pass(1_000);
    let notices: Vec<_> = world.page().notices.drain(..).skip(1).map(|(_, notice)| notice).collect();
    assert_eq!(notices, [Notice::Event { from: from.clone(), payload: text("2") }], "a cut loses nothing");
    world.kill_server();
    world.break_link();
    let mut world = with_app(SERVER, world);
    world.pass(1_000);
    world.ask(SERVER, "acme:app:one", "emit", text("3")).unwrap();
    let notices: Vec<_> = world.page().notices.drain(..).map(|(_, notice)| notice).collect();
    assert_eq!(notices, [Notice::Gap, Notice::Event { from, payload: text("3") }]);
    world.page().node.handle_unsubscribe(subscription);
    world.run();
    world.ask(SERVER, "acme:app:one", "emit", text("3")).unwrap();
    assert!(world.page().notices.is_empty());
}

#[test]
fn broken_bytes_end_their_link_with_a_reason() {
    for (bytes, code) in [(vec![0x61, 0x62], "malformed"), (vec![0; (1 << 20) + 1], "too-large")] {
        let mut world = World::linked();
        world.raw_to_server(&bytes);
        assert_eq!(world.server().hangups[0].code, code);
        assert_eq!(world.page().hangups[0].code, code, "the peer gets a goodbye");
    }
}

#[test]
fn silent_socket_is_closed() {
    let mut world = World::new();
    world.sides[SERVER].node.handle_accepted(1, starlane_node::SocketId(7));
    world.pass(5_000);
    assert_eq!(world.server().hangups[0].code, "silent");
}

#[test]
fn messages_to_one_actor_are_handled_one_at_a_time_in_order() {
    let mut world = with_app(SERVER, World::new());
    let slow = world.request(SERVER, "acme:app:one", "sleep", text(""));
    let next: Vec<_> = (0..3).map(|_| world.request(SERVER, "acme:app:one", "count", text(""))).collect();
    assert!(world.server().outcomes.is_empty(), "the actor waits, so do the messages behind it");
    world.pass(500);
    assert_eq!(world.outcome(SERVER, slow).unwrap(), text("woken"));
    let counts: Vec<_> = next.into_iter().map(|id| world.outcome(SERVER, id).unwrap()).collect();
    assert_eq!(counts, [text("1"), text("2"), text("3")]);
}

#[test]
fn full_mailbox_refuses_a_message() {
    let mut world = with_app(SERVER, World::new());
    world.request(SERVER, "acme:app:one", "sleep", text(""));
    for _ in 0..8 {
        world.request(SERVER, "acme:app:one", "count", text(""));
    }
    assert_eq!(world.ask(SERVER, "acme:app:one", "count", text("")).unwrap_err().code, "mailbox-full");
}

#[test]
fn crash_ends_one_request_and_the_actor_starts_again() {
    let mut world = with_app(SERVER, World::new());
    let failure = world.ask(SERVER, "acme:app:one", "trap", text("")).unwrap_err();
    assert_eq!((failure.status, failure.code.as_str()), (500, "guest-failed"));
    assert!(failure.message.contains("unreachable"));
    let behind = world.request(SERVER, "acme:app:one", "count", text(""));
    world.pass(100);
    assert_eq!(world.outcome(SERVER, behind).unwrap(), text("1"));
    assert_eq!(world.server().started.len(), 2);
}

#[test]
fn actor_that_crashes_too_often_is_quarantined() {
    let mut world = with_app(SERVER, World::new());
    for _ in 0..4 {
        let request = world.request(SERVER, "acme:app:one", "trap", text(""));
        world.pass(2_000);
        assert_eq!(world.outcome(SERVER, request).unwrap_err().code, "guest-failed");
    }
    assert_eq!(world.ask(SERVER, "acme:app:one", "count", text("")).unwrap_err().code, "quarantined");
    assert!(world.ask(SERVER, "acme:app:keyed:a", "count", text("")).is_ok(), "other actors continue");
}

#[test]
fn request_without_an_answer_fails() {
    let mut world = with_app(SERVER, World::new());
    assert_eq!(world.ask(SERVER, "acme:app:one", "silent", text("")).unwrap_err().code, "guest-failed");
}

#[test]
fn least_recently_used_actor_sleeps_and_wakes_with_its_state() {
    let mut world = with_app(SERVER, World::new());
    for key in ["a", "b", "c", "d"] {
        world.ask(SERVER, &format!("acme:app:keyed:{key}"), "count", text("")).unwrap();
        world.now += 1;
    }
    let awake = world.server().node.actors().iter().filter(|actor| actor.state == "awake").count();
    assert_eq!(awake, 2, "max_awake");
    assert_eq!(world.ask(SERVER, "acme:app:keyed:a", "count", text("")).unwrap(), text("2"));
}

#[test]
fn deadlock_of_actors_is_refused() {
    let mut world = with_app(SERVER, World::new());
    // a asks b, and b asks a: a deadlock.
    let failure = world.ask(SERVER, "acme:app:keyed:a", "call-back", text("acme:app:keyed:b")).unwrap_err();
    assert_eq!(failure.code, "cycle");
    assert_eq!(world.ask(SERVER, "acme:app:keyed:a", "call", text("acme:app:keyed:a")).unwrap_err().code, "cycle");
}

#[test]
fn removed_app_fails_waiting_requests() {
    let mut world = with_app(SERVER, World::new());
    let request = world.request(SERVER, "acme:app:one", "sleep", text(""));
    world.sides[SERVER].node.handle_uninstall(world.now, &address("acme:app"));
    world.run();
    assert_eq!(world.outcome(SERVER, request).unwrap_err().code, "not-running");
    assert_eq!(world.server().stopped.len(), 1);
    assert_eq!(world.ask(SERVER, "acme:app:one", "count", text("")).unwrap_err().code, "no-resource");
}

#[test]
fn instance_that_starts_after_its_app_was_removed_is_stopped() {
    let mut world = with_app(SERVER, World::new());
    world.starts_late = true;
    world.request(SERVER, "acme:app:one", "count", text(""));
    world.sides[SERVER].node.handle_uninstall(world.now, &address("acme:app"));
    world.run();
    world.server().stopped.clear();
    let instance = world.server().started[0];
    world.sides[SERVER].node.handle_started(world.now, instance, Ok(()));
    world.run();
    assert_eq!(world.server().stopped, [instance]);
}

#[test]
fn waiting_messages_are_bounded() {
    let mut world = with_service(World::with(LinkConfig { waiting_messages: 2, ..LinkConfig::default() }));
    world.cut = true;
    world.connect();
    world.request(PAGE, ECHO, "echo", text("1"));
    world.request(PAGE, ECHO, "echo", text("2"));
    assert_eq!(world.ask(PAGE, ECHO, "echo", text("3")).unwrap_err().code, "link-full");
}

#[test]
fn mechtron_does_only_what_its_app_allows() {
    let mut world = World::linked();
    let mut plan = app();
    for mechtron in &mut plan.mechtrons {
        let allow = ["request .:keyed:a echo", "request ~*::.:keyed:b"];
        mechtron.allow = allow.map(|text| Grant::parse(text, Some(&plan.app)).unwrap()).into();
    }
    world.server().node.handle_install(1, plan);
    world = with_app(PAGE, with_service(world));
    let own = format!("{}::acme:app:keyed:a", world.server().node.name());
    let page = world.page().node.name();
    for (target, may) in [
        ("acme:app:keyed:a", true),
        (".:keyed:a", true),
        // The address with this host's own name is the same resource.
        (&*own, true),
        (&format!("{page}::acme:app:keyed:b"), true),
        ("acme:app:keyed:b", true),
        ("acme:app:keyed:c", false),
        (&format!("{page}::acme:app:keyed:a"), false),
        (ECHO, false),
    ] {
        let outcome = world.ask(SERVER, "acme:app:one", "call", text(target));
        match outcome {
            Ok(reply) => assert!(may && reply == text("from a guest"), "{target} is not allowed"),
            Err(failure) => {
                assert!(!may && failure.code == "no-grant", "{target}: {failure}");
                assert!(failure.message.contains("\"request ") && failure.message.contains(" echo\""), "{failure}");
            }
        }
    }
    // The grant covers only `echo`.
    let failure = world.ask(SERVER, "acme:app:one", "call-back", text("acme:app:keyed:a")).unwrap_err();
    assert_eq!((failure.status, &*failure.code), (403, "no-grant"));
    // It may always ask itself, but this message is a deadlock.
    assert_eq!(world.ask(SERVER, "acme:app:one", "call", text("acme:app:one")).unwrap_err().code, "cycle");
}
