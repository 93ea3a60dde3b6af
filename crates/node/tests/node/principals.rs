//! The principal of a link: its permissions, their expiry, and their changes.

use starlane_node::{LinkState, Notice, Operations};

use crate::world::{PAGE, SERVER, World, address, somebody, text, topic};

const ECHO: &str = "acme:service";

/// A page with a token, linked to a server that serves an echo.
fn linked_as(grants: &[&str], remaining_ms: Option<u64>) -> World {
    let mut world = World::new();
    world.tokens.insert("ada".into(), somebody("ada", grants, remaining_ms));
    world.server().node.handle_serve(&address(ECHO), Operations::Any).unwrap();
    world.connect();
    world.run();
    world
}

#[test]
fn principal_does_only_what_its_grants_allow() {
    let mut world = linked_as(&["request acme:service echo", "subscribe acme:service#said"], None);
    assert!(world.ask(PAGE, ECHO, "echo", text("hi")).is_ok());
    for (to, operation) in [(ECHO, "fail"), ("acme:other", "echo"), ("other:service", "echo")] {
        let failure = world.ask(PAGE, to, operation, text("hi")).unwrap_err();
        assert_eq!((failure.status, failure.code.as_str()), (403, "no-grant"));
        assert!(failure.message.contains(&format!("\"request {to} {operation}\"")), "{failure}");
    }
    let name = world.server().node.name();
    assert!(world.ask(PAGE, &format!("{name}::{ECHO}"), "echo", text("hi")).is_ok(), "the same address");
    assert!(world.ask(PAGE, &format!("{name}::{ECHO}"), "fail", text("hi")).is_err());
    assert_eq!(world.server().delivered.len(), 2, "a refused message is not delivered");
}

#[test]
fn forbidden_subscription_is_refused() {
    let mut world = linked_as(&["subscribe acme:service#said"], None);
    let allowed = world.page().node.handle_subscribe(topic("acme:service#said"));
    let refused = world.page().node.handle_subscribe(topic("acme:service#secret"));
    world.run();
    let now = world.now;
    for event in ["said", "secret"] {
        world.server().node.handle_emit(now, &address(ECHO), event, text(event)).unwrap();
    }
    world.run();
    let notices = &world.page().notices;
    assert!(matches!(&notices[0], (id, Notice::Refused(failure)) if *id == refused && failure.code == "no-grant"));
    assert!(matches!(&notices[1], (id, Notice::Event { .. }) if *id == allowed));
    assert_eq!(notices.len(), 2);
}

#[test]
fn token_is_renewed_before_it_expires() {
    let mut world = linked_as(&["request acme:**"], Some(100_000));
    world.tokens.insert("fresh".into(), somebody("ada", &["request acme:**"], None));
    world.fresh = Some("fresh".into());
    world.pass(79_999);
    assert_eq!(world.renewals, 0);
    world.pass(1_000_000);
    assert_eq!((world.renewals, world.dials), (1, 1));
    assert!(world.ask(PAGE, ECHO, "echo", text("hi")).is_ok());
}

#[test]
fn expired_token_ends_the_link_and_the_next_dial_sends_a_fresh_one() {
    let mut world = linked_as(&["request acme:**"], Some(100_000));
    world.tokens.insert("fresh".into(), somebody("ada", &["request acme:**"], None));
    world.token = "fresh".into();
    world.pass(99_000);
    assert_eq!((world.renewals, world.dials), (2, 1), "the token is requested again");
    world.pass(2_000);
    assert_eq!(world.page().hangups.last().unwrap().code, "expired");
    assert_eq!((world.dials, world.state()), (2, Some(LinkState::Up)));
}

#[test]
fn renewing_with_a_bad_token_ends_the_link_for_good() {
    let mut world = linked_as(&["request acme:**"], Some(100_000));
    (world.fresh, world.token) = (Some("bad".into()), "bad".into());
    world.pass(90_000);
    let status = world.page().states.last().unwrap();
    assert_eq!((status.state, status.next), (LinkState::Refused, None));
    assert_eq!(status.reason.as_ref().unwrap().code, "auth-refused");
    assert_eq!(world.dials, 2, "the token is asked for once more");
    assert_eq!(world.ask(PAGE, ECHO, "echo", text("hi")).unwrap_err().code, "auth-refused");
}

#[test]
fn old_token_is_asked_for_once_more_and_then_refused() {
    let mut world = linked_as(&["request acme:**"], Some(100_000));
    world.token = "old".into();
    world.pass(101_000);
    let reasons: Vec<_> = world.page().states.iter().filter_map(|status| status.reason.clone()).collect();
    assert!(reasons.iter().all(|reason| reason.code == "expired") && reasons.len() >= 2, "{reasons:?}");
    world.pass(20_000);
    assert_eq!((world.state(), world.dials), (Some(LinkState::Refused), 3));
    assert_eq!(world.ask(PAGE, ECHO, "echo", text("hi")).unwrap_err().code, "auth-refused");
}

#[test]
fn page_of_another_principal_gets_a_new_name_and_a_new_link() {
    let mut world = linked_as(&["request acme:**"], Some(100_000));
    world.tokens.insert("grace".into(), somebody("grace", &["admin **"], None));
    (world.fresh, world.token) = (Some("grace".into()), "grace".into());
    let name = world.page().node.name();
    world.pass(90_000);
    assert_eq!((world.state(), world.dials), (Some(LinkState::Up), 2));
    assert_ne!(world.page().node.name(), name);
    assert_eq!(world.server().node.links().len(), 1);
    assert!(world.ask(PAGE, ECHO, "echo", text("hi")).is_ok());
    assert_eq!(world.server().delivered.last().unwrap().caller.name(), "grace");
}

#[test]
fn revoked_permissions_end_at_once() {
    let mut world = linked_as(&["request acme:**", "subscribe acme:**#*"], None);
    let subscription = world.page().node.handle_subscribe(topic("acme:service#said"));
    world.run();
    world.tokens.insert("ada".into(), somebody("ada", &["request acme:other"], None));
    world.server().node.handle_reauthenticate();
    world.run();
    assert!(matches!(world.page().notices[..], [(id, Notice::Refused(_))] if id == subscription));
    assert_eq!(world.ask(PAGE, ECHO, "echo", text("hi")).unwrap_err().code, "no-grant");
    world.tokens.clear();
    world.server().node.handle_reauthenticate();
    world.pass(1_000);
    assert_eq!(world.state(), Some(LinkState::Refused));
    assert!(world.server().node.links().is_empty());
}

#[test]
fn pages_of_one_principal_reach_each_other() {
    let mut world = linked_as(&["request acme:**"], None);
    world.page().node.handle_serve(&address("acme:ui"), Operations::Any).unwrap();
    world.run();
    let (own, server) = (world.page().node.name(), world.server().node.name());
    // A host of the same principal needs no grant.
    let ada = somebody("ada", &[], None).principal;
    let grace = somebody("grace", &["request **"], None).principal;
    let permits =
        |world: &mut World, who, to: &str| world.sides[SERVER].node.admit(1, who, &address(to), "confirm").is_ok();
    assert!(permits(&mut world, &ada, &format!("{own}::acme:ui")));
    assert!(!permits(&mut world, &grace, &format!("{own}::acme:ui")), "another's page needs `~*::`");
    assert!(permits(&mut world, &grace, &format!("{server}::acme:ui")), "the server's own name is not another host");
    assert!(!permits(&mut world, &ada, "acme:ui"));
}

#[test]
fn principal_must_not_exceed_its_limits() {
    let mut world = linked_as(&["request acme:**"], None);
    let limits = world.limits;
    let mut refused = 0;
    for _ in 0..=limits.messages_per_second {
        refused +=
            usize::from(world.ask(PAGE, ECHO, "echo", text("hi")).is_err_and(|failure| failure.code == "too-many"));
    }
    assert_eq!(refused, 1);
    world.pass(1_000);
    world.server().hold = true;
    let first = world.request(PAGE, ECHO, "echo", text(&"x".repeat(limits.bytes_in_flight)));
    assert_eq!(world.ask(PAGE, ECHO, "echo", text("more")).unwrap_err().code, "too-many");
    let held = world.server().held.pop().unwrap();
    let now = world.now;
    world.server().node.handle_reply(now, held, Ok(text("done")));
    world.run();
    assert!(world.outcome(PAGE, first).is_ok());
    world.server().hold = false;
    assert!(world.ask(PAGE, ECHO, "echo", text("again")).is_ok());
}

#[test]
fn only_keys_with_state_are_bounded() {
    let mut world = linked_as(&["request acme:**"], None);
    world.sides[SERVER].node.handle_install(1, crate::guest::app());
    let keys = world.limits.keys;
    world.keeps_nothing = true;
    for n in 0..keys * 2 {
        let answer = world.ask(PAGE, &format!("acme:app:keyed:a{n}"), "echo", text("hi"));
        assert!(answer.is_ok(), "{n}: {answer:?}");
        world.pass(1);
    }
    world.keeps_nothing = false;
    let refused = (0..keys * 2).filter(|n| {
        let answer = world.ask(PAGE, &format!("acme:app:keyed:b{n}"), "count", text(""));
        answer.is_err_and(|failure| failure.code == "too-many")
    });
    assert!((keys - 2..=keys + 2).contains(&refused.count()));
    assert!(world.ask(PAGE, "acme:app:keyed:b0", "count", text("")).is_ok(), "an existing actor still answers");
}
