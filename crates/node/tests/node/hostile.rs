//! Messages that are not as they should be: whatever a guest, a handler or a peer says, the link that carries it stays.

use starlane_node::{LinkConfig, Operations, Origin, Principal};
use starlane_protocol::{Failure, Payload, frame::Frame};

use crate::{
    guest::app,
    peers::Peers,
    with_app, with_service,
    world::{PAGE, SERVER, World, address, somebody, text, topic},
};

const ECHO: &str = "acme:service";

/// A small generator of numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    /// Mostly short and well formed, sometimes neither.
    fn text(&mut self, good: &str) -> String {
        let length = [0, 1, 100, 256, 600, 9_000, 70_000, 2_000_000][self.roll(8) as usize];
        match self.roll(6) {
            0..3 => good.to_owned(),
            3 => "x".repeat(length),
            4 => "é\r\n".repeat(length / 4),
            _ => format!("{good}\0"),
        }
    }

    fn payload(&mut self) -> Payload {
        let count = [0, 1, 2, 128, 129, 5_000][self.roll(6) as usize];
        let (name, value) = (self.text("x-own"), self.text("value"));
        let mut payload = Payload::new(&self.text("text/plain"), vec![b'x'; self.roll(200_000) as usize]);
        if name.len().max(value.len()) * count < 20_000_000 {
            payload.headers = vec![(name, value); count];
        }
        payload
    }
}

#[test]
fn whatever_is_said_becomes_a_frame_or_a_failure_and_the_link_stays() {
    let mut world = with_app(PAGE, with_app(SERVER, with_service(World::linked())));
    let mut dice = Dice(42);
    let long = vec!["a".repeat(60); 8].join(":");
    for _ in 0..600 {
        let from = if dice.roll(3) == 0 { &*long } else { "starlane:test" };
        let origin = Origin { address: address(from), caller: Principal::named(&dice.text("ada")) };
        let (operation, payload, now) = (dice.text("echo"), dice.payload(), world.now);
        let to = [ECHO, "acme:app:one", "acme:other:one"][dice.roll(3) as usize];
        let at = &mut world.sides[PAGE];
        match dice.roll(3) {
            0 => drop(at.node.handle_notify(now, &origin, &address(to), &operation, payload)),
            1 => {
                world.server().hold = true;
                let request = world.page().node.handle_request(now, &origin, &address(ECHO), "echo", text(""), 1_000);
                world.run();
                let outcome = match dice.roll(2) {
                    0 => Ok(payload),
                    _ => Err(Failure::new(dice.roll(70_000) as u16, &dice.text("conflict"), dice.text("why"))),
                };
                for held in std::mem::take(&mut world.server().held) {
                    world.server().node.handle_reply(now, held, outcome.clone());
                }
                world.server().hold = false;
                world.run();
                world.server().outcomes.clear();
                let _ = request;
            }
            _ => drop(at.node.handle_request(now, &origin, &address(to), &operation, payload, 1_000)),
        }
        let emitted = world.server().node.handle_emit(now, &address(ECHO), "said", dice.payload());
        drop(emitted);
        world.pass(1_001);
        for side in &world.sides {
            assert_eq!(side.hangups, [], "{:?}", side.logs.last());
        }
        world.page().outcomes.clear();
    }
    assert_eq!(world.ask(PAGE, ECHO, "echo", text("still")).unwrap(), text("still"));
}

#[test]
fn failures_and_payloads_of_guests_are_what_http_can_carry() {
    let mut world = with_app(SERVER, World::linked());
    for status in ["0", "101", "200", "204", "304", "399", "600", "65535"] {
        let failure = world.ask(PAGE, "acme:app:one", "fail", text(status)).unwrap_err();
        assert_eq!((failure.status, &*failure.code), (500, "guest-failed"), "{status}");
        assert!(failure.message.len() < 10_000, "{} bytes", failure.message.len());
    }
    for count in ["129", "100"] {
        let failure = world.ask(PAGE, "acme:app:one", "headers", text(count)).unwrap_err();
        assert_eq!((failure.status, &*failure.code), (500, "guest-failed"), "{count}");
    }
    assert_eq!(world.ask(PAGE, "acme:app:one", "headers", text("60")).unwrap().headers.len(), 60);
    for content_type in ["text/plain\r\nx: y", "text", "\u{0}", &"x/".repeat(300)] {
        let failure = world.ask(PAGE, "acme:app:one", "content-type", text(content_type)).unwrap_err();
        assert_eq!((failure.status, &*failure.code), (500, "guest-failed"), "{content_type:?}");
    }
    assert!(world.page().hangups.is_empty() && world.server().node.stats().crashes == 0);
}

#[test]
fn one_way_messages_that_a_broken_link_may_have_lost_are_told() {
    let mut world = with_service(World::linked());
    let origin = crate::world::origin();
    world.cut = true;
    for n in 0..3 {
        let now = world.now;
        let told = world.page().node.handle_notify(now, &origin, &address(ECHO), "echo", text(&n.to_string()));
        told.unwrap();
        world.run();
    }
    world.cut = false;
    world.break_link();
    assert_eq!(world.page().node.stats().dead_letters, 3);
    assert!(world.page().logs.iter().any(|line| line.starts_with("3 one-way messages")), "{:?}", world.page().logs);
    world.pass(2_000);
    let now = world.now;
    world.page().node.handle_notify(now, &origin, &address(ECHO), "echo", text("x")).unwrap();
    world.pass(2_000);
    world.break_link();
    assert_eq!(world.page().node.stats().dead_letters, 3, "what was acknowledged was not lost");
}

#[test]
fn an_address_that_gets_too_long_on_its_way_is_refused() {
    let mut world = with_service(World::linked());
    // 509 bytes: with the name of its host it is longer than an address may be.
    let from = address(&vec!["a".repeat(50); 10].join(":"));
    let origin = Origin { address: from, caller: Principal::named("ada") };
    let now = world.now;
    let request = world.page().node.handle_request(now, &origin, &address(ECHO), "echo", text(""), 0);
    world.run();
    assert_eq!(world.outcome(PAGE, request).unwrap_err().status, 413);
    assert!(world.page().hangups.is_empty());
}

#[test]
fn what_can_not_be_announced_is_not_served() {
    let mut world = World::linked();
    let many = (0..257).map(|n| format!("o{n}")).collect();
    assert_eq!(world.page().node.handle_serve(&address(ECHO), Operations::Named(many)).unwrap_err().status, 413);
    let long = Operations::Named(vec!["x".repeat(129)]);
    assert_eq!(world.page().node.handle_serve(&address(ECHO), long).unwrap_err().status, 413);
    for n in 0..2_000 {
        world.page().node.handle_serve(&address(&format!("acme:s{n}")), Operations::Any).unwrap();
    }
    world.run();
    assert!(world.page().hangups.is_empty());
}

#[test]
fn a_one_way_message_that_nobody_takes_is_told_to_its_sender() {
    let mut world = with_app(SERVER, with_service(World::linked()));
    let mut taken = |side: usize, to: &str, operation: &str| {
        let (now, origin) = (world.now, crate::world::origin());
        let request = world.sides[side].node.handle_notify_taken(now, &origin, &address(to), operation, text("x"));
        world.run();
        world
            .outcome(side, request)
            .map(|payload| assert_eq!(payload, Payload::nothing()))
            .map_err(|failure| failure.code)
    };
    for side in [PAGE, SERVER] {
        assert_eq!(taken(side, "acme:app:one", "never-told"), Ok(()));
        assert_eq!(taken(side, ECHO, "anything"), Ok(()));
        for (to, operation, code) in [
            ("acme:app:one", "count", "schema-mismatch"),
            ("acme:app:one", "cuont", "no-operation"),
            ("acme:app:one", "html", "schema-mismatch"),
            ("acme:app:onee", "never-told", "no-resource"),
        ] {
            assert_eq!(taken(side, to, operation), Err(code.to_owned()), "{to} {operation}");
        }
    }
    let delivered = &world.server().delivered;
    assert!(
        delivered.iter().all(|incoming| incoming.request.is_none() && incoming.payload == text("x")),
        "{delivered:?}"
    );
}

#[test]
fn subscriptions_to_what_is_not_there_are_refused() {
    let mut world = with_app(SERVER, World::linked());
    let mut refused = |side: usize, text: &str| {
        world.sides[side].notices.clear();
        let subscription = world.sides[side].node.handle_subscribe(topic(text));
        world.run();
        let notices = std::mem::take(&mut world.sides[side].notices);
        assert!(notices.iter().all(|(who, _)| *who == subscription));
        notices.into_iter().find_map(|(_, notice)| match notice {
            starlane_node::Notice::Refused(failure) => Some(failure.code),
            _ => None,
        })
    };
    for side in [PAGE, SERVER] {
        assert_eq!(refused(side, "acme:app:one#changes"), None);
        assert_eq!(refused(side, "acme:app:keyed:ada#changes"), None);
        for (wrong, code) in [
            ("acme:app:one#chagnes", "no-event"),
            ("acme:app:keyed:ada#change", "no-event"),
            ("acme:app:onee#changes", "no-resource"),
            ("acme:ap:one#changes", "no-resource"),
            ("acme:app:keyed#changes", "no-resource"),
            ("acme:app#changes", "no-resource"),
        ] {
            assert_eq!(refused(side, wrong).as_deref(), Some(code), "{wrong}");
        }
    }
    let served = world.server().node.handle_serve(&address(ECHO), Operations::Any).unwrap();
    world.server().node.handle_events(served, vec!["said".into()]);
    for (event, known) in [("said", true), ("sayd", false)] {
        let anybody = somebody("ada", &["subscribe **#*"], None).principal;
        let result = world.server().node.admit_subscriber(&anybody, &topic(&format!("{ECHO}#{event}")));
        assert_eq!(result.map_err(|failure| failure.code), if known { Ok(()) } else { Err("no-event".to_owned()) });
    }
    let _ = app();
}

#[test]
fn a_ping_before_hello_ends_the_link() {
    let mut peers = Peers::new(LinkConfig::default());
    peers.accept(1);
    peers.say(1, &[Frame::Ping { nonce: 1 }]);
    assert_eq!(peers.end(), Some("malformed"));
}

#[test]
fn of_many_pings_the_last_is_answered() {
    let mut peers = Peers::one(LinkConfig::default());
    for at in 0..100 {
        let pings: Vec<_> = (0..1_000).map(|n| Frame::Ping { nonce: at * 1_000 + n }).collect();
        peers.say(1, &pings);
    }
    assert_eq!(peers.read(1), [Frame::Pong { nonce: 99_999 }]);
}

#[test]
fn a_peer_that_sends_more_than_the_rate_of_frames_or_bytes_is_ended() {
    let config = || LinkConfig { frames_per_second: 1_000, ..LinkConfig::default() };
    let pings = |count: u64| (0..count).map(|nonce| Frame::Ping { nonce }).collect::<Vec<_>>();
    let mut peers = Peers::one(config());
    for _ in 0..5 {
        peers.say(1, &pings(900));
        peers.pass(1_000, 1);
    }
    assert_eq!(peers.end(), None, "it keeps to the rate");
    peers.say(1, &pings(900));
    peers.say(1, &pings(900));
    assert_eq!(peers.end(), Some("too-many"));

    let mut peers = Peers::one(LinkConfig { frames_per_second: 100, ..LinkConfig::default() });
    peers.pass(1_000, 1);
    let lasted = (0..100).find(|_| {
        peers.say(1, &[Frame::Renew { token: "x".repeat(16_000) }]);
        peers.read(1);
        !peers.hangups.is_empty()
    });
    assert_eq!((lasted, peers.end()), (Some(25), Some("too-many")), "each of them counts as 4");
}

#[test]
fn a_peer_that_renews_its_token_and_does_not_read_is_ended() {
    let mut peers = Peers::one(LinkConfig::default());
    for n in 0..1_000 {
        peers.say(1, &[Frame::Renew { token: n.to_string() }]);
    }
    assert_eq!(peers.end(), Some("slow-consumer"));
}

#[test]
fn answers_that_are_not_read_become_failures_and_at_last_the_link_ends() {
    let mut peers = Peers::one(LinkConfig { held_bytes: 1 << 20, window_bytes: 1_000, ..LinkConfig::default() });
    (0..40).for_each(|id| peers.ask(1, id, 60_000));
    let ended = peers.read_all(1);
    let good = ended.iter().filter(|(_, status)| *status == 200).count();
    assert_eq!(ended.len(), 40, "each request ends");
    assert!((16..=18).contains(&good) && ended[good..].iter().all(|(_, status)| *status == 429), "{ended:?}");
    assert_eq!((peers.end(), peers.node.open_requests()), (None, 0));
    // Who has read is answered again.
    peers.ask(1, 40, 60_000);
    assert_eq!(peers.read_all(1), [(40, 200)]);
    let lasted = (41..10_000).find(|id| {
        peers.ask(1, *id, 60_000);
        peers.pass(0, 1);
        !peers.hangups.is_empty()
    });
    assert_eq!(peers.end(), Some("slow-consumer"));
    assert!(lasted.unwrap() < 1_000, "{lasted:?}");
}

#[test]
fn what_waits_for_all_links_of_a_principal_is_bounded() {
    let mut peers = Peers::under(LinkConfig { window_bytes: 1_000, ..LinkConfig::default() }, 1 << 20);
    for peer in 1..=4 {
        peers.admit(peer);
        (0..10).for_each(|id| peers.ask(peer, id, 60_000));
    }
    let good = |peers: &mut Peers, peer| peers.read_all(peer).iter().filter(|(_, status)| *status == 200).count();
    assert_eq!([1, 2, 3, 4].map(|peer| good(&mut peers, peer)), [10, 7, 0, 0]);
    peers.ask(4, 10, 60_000);
    peers.ask(3, 10, 60_000);
    peers.node.handle_closed(1, starlane_node::SocketId(3));
    assert_eq!(good(&mut peers, 4), 1, "who has read is answered again");
    (11..27).for_each(|id| peers.ask(4, id, 60_000));
    assert_eq!(good(&mut peers, 4), 16, "what waited for a link that is gone does not count");
}

#[test]
fn open_requests_of_a_link_are_bounded() {
    let mut peers = Peers::one(LinkConfig { open_requests: 10, ..LinkConfig::default() });
    peers.hold = true;
    (0..15).for_each(|id| peers.ask(1, id, 1));
    assert_eq!(peers.read_all(1), (10..15).map(|id| (id, 429)).collect::<Vec<_>>());
    peers.reply(Ok(text("done")));
    peers.ask(1, 20, 1);
    assert_eq!((peers.read_all(1), peers.held.len()), (vec![(9, 200)], 10));
}

#[test]
fn topics_and_served_addresses_of_a_link_are_bounded() {
    let mut peers = Peers::one(LinkConfig { topics: 3, served: 2, ..LinkConfig::default() });
    for n in [0, 1, 2, 1, 3] {
        peers.subscribe(1, &format!("{ECHO}#e{n}"));
        peers.tell(1, |seq| Frame::Serve { seq, address: address(&format!("acme:s{n}")), operations: Vec::new() });
    }
    match &peers.read(1)[..] {
        [Frame::Ack { .. }, Frame::Refused { topic, failure, .. }] => {
            assert_eq!((&*topic.event, failure.status, &*failure.code), ("e3", 429, "too-many"));
            assert!(failure.message.contains("`topics`"), "{failure}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(peers.node.links()[0].serves.len(), 2);
    let unsubscribed = topic(&format!("{ECHO}#e0"));
    peers.tell(1, |seq| Frame::Unsubscribe { seq, topic: unsubscribed });
    peers.subscribe(1, &format!("{ECHO}#e3"));
    assert!(peers.read(1).iter().all(|frame| matches!(frame, Frame::Ack { .. })));
}

#[test]
fn refused_subscriptions_that_are_not_read_end_the_link() {
    let mut peers = Peers::one(LinkConfig { held_bytes: 100_000, ..LinkConfig::default() });
    let lasted = (0..10_000).find(|n| {
        peers.subscribe(1, &format!("acme:nothing{n}#e"));
        peers.pass(0, 1);
        !peers.hangups.is_empty()
    });
    assert!(lasted.is_some_and(|lasted| lasted < 1_000), "{lasted:?}");
    assert_eq!(peers.end(), Some("slow-consumer"));
}

#[test]
fn a_peer_that_answers_pings_and_acknowledges_nothing_is_ended() {
    let mut peers = Peers::one(LinkConfig { window_frames: 2, ..LinkConfig::default() });
    (0..3).for_each(|id| peers.ask(1, id, 1));
    assert!(peers.read(1).len() >= 2);
    peers.pass(120_000, 1);
    assert_eq!(peers.end(), Some("slow-consumer"));
}

#[test]
fn links_take_turns_and_one_without_room_holds_up_none() {
    let mut peers = Peers::new(LinkConfig::default());
    for peer in 1..=3 {
        peers.admit(peer);
        (0..20).for_each(|id| peers.ask(peer, id, 60_000));
    }
    let turns: Vec<_> = std::iter::from_fn(|| peers.node.poll_transmit(1, |socket| socket.0 != 2))
        .map(|(socket, _)| socket.0)
        .collect();
    assert_eq!(turns[..4], [1, 3, 1, 3]);
    assert!(!peers.read(2).is_empty(), "it has room now");
}
