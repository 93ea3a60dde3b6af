//! Malformed messages: the link stays up, whatever a guest, a handler or a peer sends.

use starlane_node::{Operations, Origin, Principal};
use starlane_protocol::{Failure, Payload};
use starlane_testkit::random::Random;

use crate::{
    guest::app,
    with_app, with_service,
    world::{PAGE, SERVER, World, address, somebody, text, topic},
};

const ECHO: &str = "acme:service";

/// Makes texts and payloads.
struct Dice(Random);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0.below(sides)
    }

    /// Mostly short and well-formed texts, sometimes neither.
    fn text(&mut self, good: &str) -> String {
        let length = [0, 1, 100, 256, 600, 9_000, 70_000, 2_000_000][self.roll(8)];
        match self.roll(6) {
            0..3 => good.to_owned(),
            3 => "x".repeat(length),
            4 => "é\r\n".repeat(length / 4),
            _ => format!("{good}\0"),
        }
    }

    fn payload(&mut self) -> Payload {
        let count = [0, 1, 2, 128, 129, 5_000][self.roll(6)];
        let (name, value) = (self.text("x-own"), self.text("value"));
        let mut payload = Payload::new(&self.text("text/plain"), vec![b'x'; self.roll(200_000)]);
        if name.len().max(value.len()) * count < 20_000_000 {
            payload.headers = vec![(name, value); count];
        }
        payload
    }
}

#[test]
fn any_message_becomes_a_frame_or_a_failure_and_the_link_stays_up() {
    let mut world = with_app(PAGE, with_app(SERVER, with_service(World::linked())));
    let mut dice = Dice(Random::new(42));
    let long = vec!["a".repeat(60); 8].join(":");
    for _ in 0..600 {
        let from = if dice.roll(3) == 0 { &*long } else { "starlane:test" };
        let origin = Origin { address: address(from), caller: Principal::named(&dice.text("ada")) };
        let (operation, payload, now) = (dice.text("echo"), dice.payload(), world.now);
        let to = [ECHO, "acme:app:one", "acme:other:one"][dice.roll(3)];
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
fn failures_and_payloads_of_guests_fit_http() {
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
fn one_way_messages_lost_with_a_link_are_logged() {
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
    world.kill_server();
    world.break_link();
    world.pass(2_000);
    assert_eq!(world.page().node.stats().dead_letters, 3);
    assert!(world.page().logs.iter().any(|line| line.contains("it may have arrived")), "{:?}", world.page().logs);
    world.pass(2_000);
    let now = world.now;
    world.page().node.handle_notify(now, &origin, &address(ECHO), "echo", text("x")).unwrap();
    world.pass(2_000);
    world.break_link();
    assert_eq!(world.page().node.stats().dead_letters, 3, "acknowledged messages are not lost");
}

#[test]
fn address_that_gets_too_long_in_transit_is_refused() {
    let mut world = with_service(World::linked());
    // 509 bytes: with the name of its host it exceeds the maximum of an address.
    let from = address(&vec!["a".repeat(50); 10].join(":"));
    let origin = Origin { address: from, caller: Principal::named("ada") };
    let now = world.now;
    let request = world.page().node.handle_request(now, &origin, &address(ECHO), "echo", text(""), 0);
    world.run();
    assert_eq!(world.outcome(PAGE, request).unwrap_err().status, 413);
    assert!(world.page().hangups.is_empty());
}

#[test]
fn address_that_cannot_be_announced_is_not_served() {
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
fn sender_learns_that_its_one_way_message_failed() {
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
fn subscriptions_to_missing_resources_or_events_are_refused() {
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
