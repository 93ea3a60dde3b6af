//! Idle links and actors must not slow a message down.

use std::cell::Cell;

use starlane_node::{ActorLimits, LinkConfig, SocketId, state::ActorState};

use crate::{
    guest::app,
    peers::Peers,
    with_app,
    world::{PAGE, SERVER, World, address, origin, text, topic},
};

#[test]
fn message_touches_no_idle_link() {
    let mut peers = Peers::new(LinkConfig::default());
    (1..=2_000).for_each(|peer| peers.admit(peer));
    assert_eq!(peers.node.links().len(), 2_000);
    for n in 0..1_000 {
        peers.ask(n % 2_000 + 1, n, 10);
        let asked = Cell::new(0);
        let sent = peers.node.poll_transmit(peers.now, |_| {
            asked.set(asked.get() + 1);
            true
        });
        assert_eq!((sent.map(|(socket, _)| socket.0), asked.get()), (Some(n % 2_000 + 1), 1));
    }
}

#[test]
fn sockets_without_room_are_polled_once() {
    let mut peers = Peers::new(LinkConfig::default());
    (1..=1_000).for_each(|peer| peers.admit(peer));
    (1..=1_000).for_each(|peer| peers.ask(peer, 0, 10));
    let mut asked = 0;
    for n in 1..=1_000 {
        peers.ask(1, n, 10);
        while let Some((socket, _)) = peers.node.poll_transmit(peers.now, |socket| {
            asked += 1;
            socket == SocketId(1)
        }) {
            assert_eq!(socket, SocketId(1));
        }
    }
    assert!(asked <= 3_000, "{asked}");
    peers.ask(7, 1, 10);
    assert_eq!(peers.read_all(7), [(0, 200), (1, 200)], "it has room now");
}

#[test]
fn link_without_room_continues_on_its_next_socket() {
    let mut world = World::linked();
    let now = world.now;
    let page = &mut world.sides[PAGE].node;
    page.handle_notify(now, &origin(), &address("acme:service"), "echo", text("x")).unwrap();
    assert_eq!(page.poll_transmit(now, |_| false), None);
    world.break_link();
    world.pass(2_000);
    assert!(world.page().node.links()[0].up);
}

/// Actors that the store knows and that have a wake much later.
fn keep_awaited(world: &mut World, count: usize) {
    for n in 0..count {
        let actor = address(&format!("acme:app:keyed:a{n}"));
        let state = ActorState {
            address: actor.clone(),
            made_for: format!("somebody{n}"),
            saved: None,
            subscriptions: vec![topic(&format!("acme:app:keyed:b{n}#changes"))],
            wakes: vec![(1_000_000_000, 6_000)],
        };
        world.server().kept.insert(actor.to_string(), state);
    }
}

#[test]
fn ten_thousand_actors_sleep_while_one_works() {
    let mut world = World::new();
    keep_awaited(&mut world, 10_000);
    world = with_app(SERVER, world);
    world.run();
    assert_eq!(world.server().node.actors().len(), 10_000);
    for _ in 0..2_000 {
        world.ask(SERVER, "acme:app:keyed:a77", "count", text("")).unwrap();
        world.now += 1;
    }
}

#[test]
fn room_for_an_actor_is_found_behind_many_that_must_stay() {
    let limits = ActorLimits { actors_per_app: 400, awake_per_app: 1, ..ActorLimits::default() };
    let mut world = World::under(LinkConfig::default(), limits);
    keep_awaited(&mut world, 399);
    world = with_app(SERVER, world);
    world.run();
    world.ask(SERVER, "acme:app:keyed:idle", "echo", text("")).unwrap();
    world.pass(10_000);
    world.ask(SERVER, "acme:app:keyed:a0", "echo", text("")).unwrap();
    let mut ask = |key: &str| world.ask(SERVER, &format!("acme:app:keyed:{key}"), "echo", text("")).is_ok();
    // Each try looks at some of them.
    let tries = (1..6).find(|_| ask("new"));
    assert!(tries.is_some(), "each try continues where the last one ended");
    assert!((0..10).all(|_| !ask("newer")), "only the actor that is awake can be forgotten");
}

#[test]
fn waiting_requests_are_cancelled_in_any_order() {
    const MANY: usize = 50_000;
    let mut world = World::new();
    let mut plan = app();
    plan.mechtrons.iter_mut().for_each(|mechtron| mechtron.mailbox = MANY);
    world.server().node.handle_install(1, plan);
    world.run();
    let asked: Vec<_> = (0..=MANY).map(|_| world.request(SERVER, "acme:app:one", "never", text(""))).collect();
    let waiting = |world: &mut World| world.server().node.actors()[0].mailbox;
    assert_eq!(waiting(&mut world), MANY, "the first is with the guest");
    // Starts in the middle, which is farthest from both ends.
    for (n, request) in asked[MANY / 2..].iter().enumerate() {
        world.sides[SERVER].node.handle_cancel(1, *request);
        assert!(n % 1_000 > 0 || waiting(&mut world) == MANY - n - 1, "{n} were cancelled");
    }
    assert_eq!(waiting(&mut world), MANY / 2 - 1);
    world.pass(30_000);
    assert_eq!((waiting(&mut world), world.server().outcomes.len()), (0, MANY / 2), "the others end at one time");
}
