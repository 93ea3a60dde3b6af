//! Many links and actors that do nothing cost a message nothing.

use std::cell::Cell;

use starlane_node::{LinkConfig, state::ActorState};

use crate::{
    peers::Peers,
    with_app,
    world::{SERVER, World, address, text, topic},
};

#[test]
fn a_message_asks_after_no_link_that_is_idle() {
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
fn ten_thousand_actors_sleep_while_one_works() {
    let mut world = World::new();
    let token = 6_000;
    for n in 0..10_000 {
        let actor = address(&format!("acme:app:keyed:a{n}"));
        let state = ActorState {
            address: actor.clone(),
            made_for: "ada".to_owned(),
            saved: None,
            subscriptions: vec![topic(&format!("acme:app:keyed:b{n}#changes"))],
            wakes: vec![(1_000_000_000, token)],
        };
        world.server().kept.insert(actor.to_string(), state);
    }
    world = with_app(SERVER, world);
    world.run();
    assert_eq!(world.server().node.actors().len(), 10_000);
    for _ in 0..2_000 {
        world.ask(SERVER, "acme:app:keyed:a77", "count", text("")).unwrap();
        world.now += 1;
    }
}
