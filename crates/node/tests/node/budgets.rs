//! The limits of an actor, an app and a space, and the end of every message.

use starlane_node::{ActorLimits, LinkConfig, RequestId};
use starlane_protocol::{Failure, Payload};

use crate::{
    guest::app,
    with_app,
    world::{SERVER, World, address, origin, text},
};

fn world(actors: ActorLimits) -> World {
    with_app(SERVER, World::under(LinkConfig::default(), actors))
}

fn app_at(world: &mut World, app_address: &str) {
    let mut plan = app();
    plan.app = address(app_address);
    world.server().node.handle_install(1, plan);
}

fn view(world: &mut World, actor: &str) -> starlane_node::ActorView {
    let actors = world.server().node.actors();
    actors.into_iter().find(|view| view.address == address(actor)).expect("it was used")
}

fn tell(world: &mut World, to: &str, operation: &str, payload: Payload) -> Result<(), Failure> {
    let (now, to) = (world.now, address(to));
    let told = world.server().node.handle_notify(now, &origin(), &to, operation, payload);
    world.run();
    told
}

#[test]
fn unanswered_request_does_not_block_the_actor() {
    let mut world = world(ActorLimits::default());
    let never = world.request_within(SERVER, "acme:app:one", "never", text(""), 1_000);
    let next = world.request(SERVER, "acme:app:one", "count", text(""));
    assert_eq!(view(&mut world, "acme:app:one").unfinished, 1);
    world.pass(1_000);
    assert_eq!(world.outcome(SERVER, never).unwrap_err().code, "deadline");
    assert!(!world.server().outcomes.contains_key(&next), "the guest has some time more");
    world.pass(10_000);
    assert_eq!(world.outcome(SERVER, next).unwrap(), text("1"));
    assert_eq!((view(&mut world, "acme:app:one").unfinished, world.server().node.stats().overdue), (0, 1));
    assert!(
        world.server().logs.iter().any(|line| line.contains("`never` was not answered")),
        "{:?}",
        world.server().logs
    );
    assert_eq!(view(&mut world, "acme:app:one").crashes, 0);
}

#[test]
fn unended_one_way_message_becomes_a_dead_letter() {
    let mut world = world(ActorLimits::default());
    tell(&mut world, "acme:app:one", "never-told", text("")).unwrap();
    let next = world.request_within(SERVER, "acme:app:one", "count", text(""), 120_000);
    world.pass(59_000);
    assert_eq!(world.server().node.stats().dead_letters, 0);
    world.pass(2_000);
    assert_eq!(world.outcome(SERVER, next).unwrap(), text("1"));
    assert_eq!(world.server().node.stats().dead_letters, 1);
}

#[test]
fn message_that_ends_in_time_restarts_nothing() {
    let mut world = world(ActorLimits::default());
    for _ in 0..100 {
        let request = world.request_within(SERVER, "acme:app:one", "sleep", text(""), 100);
        world.pass(600);
        assert_eq!(world.outcome(SERVER, request).unwrap_err().code, "deadline", "the sender has a short timeout");
    }
    assert_eq!((world.server().node.stats().overdue, world.server().started.len()), (0, 1));
}

#[test]
fn all_keyed_actors_answer_when_few_may_be_awake() {
    let mut world = world(ActorLimits { awake_per_app: 1, ..ActorLimits::default() });
    world.limits.keys = 5_000;
    world.starts_late = true;
    let ask = |world: &mut World, n| world.request(SERVER, &format!("acme:app:keyed:k{n}"), "count", text(""));
    let asked: Vec<RequestId> = (0..20).map(|n| ask(&mut world, n)).collect();
    assert_eq!(world.server().started.len(), 1);
    world.starts_late = false;
    let first = world.server().started[0];
    world.start(SERVER, first);
    world.run();
    for request in asked {
        assert_eq!(world.outcome(SERVER, request).unwrap(), text("1"));
    }
}

#[test]
fn app_that_waits_for_slots_does_not_block_another() {
    let mut world = world(ActorLimits { awake_per_app: 1, ..ActorLimits::default() });
    app_at(&mut world, "bob:app");
    for n in 0..10 {
        world.request(SERVER, &format!("acme:app:keyed:k{n}"), "never", text(""));
    }
    assert_eq!(world.ask(SERVER, "bob:app:one", "count", text("")).unwrap(), text("1"));
    // Each request of the greedy app ends at its deadline.
    world.pass(500_000);
    assert_eq!(world.server().outcomes.len(), 10);
}

#[test]
fn call_without_a_requester_is_stopped() {
    let mut world = world(ActorLimits::default());
    world.ask(SERVER, "acme:app:one", "count", text("")).unwrap();
    world.runs_for_ever = true;
    let endless = world.request(SERVER, "acme:app:one", "count", text(""));
    let now = world.now;
    world.server().node.handle_cancel(now, endless);
    world.run();
    world.runs_for_ever = false;
    let next = world.request(SERVER, "acme:app:one", "count", text(""));
    world.pass(4_900);
    assert_eq!((world.server().stopped.len(), world.server().outcomes.len()), (0, 0), "it may end by itself");
    world.pass(200);
    assert_eq!((world.server().stopped.len(), world.server().node.stats().overdue), (1, 1));
    assert_eq!(world.outcome(SERVER, next).unwrap(), text("1"));
}

#[test]
fn call_with_a_requester_is_not_stopped() {
    let mut world = world(ActorLimits::default());
    world.ask(SERVER, "acme:app:one", "count", text("")).unwrap();
    world.runs_for_ever = true;
    world.request(SERVER, "acme:app:one", "count", text(""));
    world.pass(29_000);
    assert_eq!((world.server().stopped.len(), world.server().node.stats().overdue), (0, 0));
}

#[test]
fn unended_messages_do_not_block_the_pool() {
    let mut world = world(ActorLimits::default());
    for n in 0..2 {
        tell(&mut world, &format!("acme:app:keyed:k{n}"), "never-told", text("")).unwrap();
    }
    let waits = world.request_within(SERVER, "acme:app:one", "count", text(""), 120_000);
    assert!(world.server().outcomes.is_empty(), "both slots are taken");
    world.pass(61_000);
    assert_eq!(world.outcome(SERVER, waits).unwrap(), text("1"));
}

#[test]
fn host_without_room_is_asked_again() {
    let mut world = world(ActorLimits::default());
    world.starts_late = true;
    let request = world.request(SERVER, "acme:app:one", "count", text(""));
    let instance = world.server().started[0];
    let now = world.now;
    world.server().node.handle_started(now, instance, Err(Failure::new(503, "busy", "too many")));
    world.run();
    assert!(world.server().outcomes.is_empty());
    world.starts_late = false;
    world.pass(1_000);
    assert_eq!(world.outcome(SERVER, request).unwrap(), text("1"));
}

#[test]
fn wakes_and_timers_are_bounded_and_end_with_the_app() {
    let mut world = world(ActorLimits::default());
    world.ask(SERVER, "acme:app:one", "later", text("")).unwrap();
    let before = world.server().node.stats().crashes;
    let second = world.request(SERVER, "acme:app:one", "later", text(""));
    world.pass(200);
    assert_eq!(world.outcome(SERVER, second).unwrap(), text(""), "it was answered before it asked for too much");
    assert_eq!(world.server().node.stats().crashes, before + 1);
    assert_eq!(world.server().node.stats().refused.get("timers"), Some(&1));
    let now = world.now;
    world.server().node.handle_uninstall(now, &address("acme:app"));
    world.run();
    assert_eq!(world.server().node.next_timeout(), None, "no timer is left");
    let kept = world.server().kept["acme:app:one"].wakes.len();
    assert!(kept >= 1_024, "the wakes are kept for when the app is back: {kept}");
}

#[test]
fn actor_that_always_wakes_itself_leaves_time_for_others() {
    let mut world = world(ActorLimits::default());
    world.request(SERVER, "acme:app:one", "alarm", text(""));
    world.pass(1_000);
    let stats = world.server().node.stats().clone();
    assert!(stats.crashes >= 1, "1,000 wakes that ask for 1,000 wakes each are too many");
    assert!(world.server().batches < 3_000, "{} batches in a second", world.server().batches);
    assert_eq!(world.ask(SERVER, "acme:app:keyed:a", "count", text("")).unwrap(), text("1"));
}

#[test]
fn actor_that_answers_each_outcome_with_requests_is_ended() {
    let mut world = world(ActorLimits::default());
    world.request(SERVER, "acme:app:one", "bomb", text(""));
    world.pass(100_000);
    assert!(world.server().node.stats().crashes >= 1);
    assert_eq!(world.server().node.open_requests(), 0);
    assert_eq!(world.ask(SERVER, "acme:app:keyed:a", "count", text("")).unwrap(), text("1"));
}

#[test]
fn subscriptions_of_an_actor_are_bounded() {
    let mut world = world(ActorLimits { subscriptions: 100, ..ActorLimits::default() });
    world.request(SERVER, "acme:app:one", "listen", text(""));
    assert_eq!(world.server().node.stats().crashes, 1);
    assert_eq!(world.server().node.stats().refused.get("subscriptions"), Some(&1));
}

#[test]
fn message_too_large_for_an_actor_fails_without_a_crash() {
    let mut world = world(ActorLimits::default());
    // Its memory is 1 MiB.
    for size in [(1 << 18) + 1, 1 << 20, 16 << 20] {
        let payload = Payload::new("text/plain", vec![b'x'; size]);
        let failure = world.ask(SERVER, "acme:app:one", "echo", payload.clone()).unwrap_err();
        assert_eq!((failure.status, &*failure.code), (413, "too-large"), "{failure}");
        assert_eq!(tell(&mut world, "acme:app:one", "never-told", payload).unwrap_err().status, 413);
    }
    let fits = Payload::new("text/plain", vec![b'x'; 250_000]);
    assert_eq!(world.ask(SERVER, "acme:app:one", "echo", fits.clone()).unwrap(), fits);
    assert_eq!(world.server().node.stats().crashes, 0);
}

#[test]
fn waiting_bytes_are_bounded_and_released() {
    let mut world =
        world(ActorLimits { waiting_bytes: 1_000, waiting_bytes_per_space: 1_500, ..ActorLimits::default() });
    let sleeping = world.request(SERVER, "acme:app:one", "sleep", text(""));
    world.request(SERVER, "acme:app:keyed:a", "sleep", text(""));
    let half = || Payload::new("text/plain", vec![b'x'; 500]);
    let first = world.request(SERVER, "acme:app:one", "echo", half());
    assert_eq!(world.ask(SERVER, "acme:app:one", "echo", half()).unwrap_err().code, "mailbox-full");
    let other = world.request(SERVER, "acme:app:keyed:a", "echo", half());
    let failure = world.ask(SERVER, "acme:app:keyed:a", "echo", half()).unwrap_err();
    assert!(failure.message.contains("waiting-bytes"), "{failure}");
    world.pass(1_000);
    for request in [sleeping, first, other] {
        assert!(world.outcome(SERVER, request).is_ok());
    }
    for _ in 0..10 {
        assert_eq!(world.ask(SERVER, "acme:app:one", "echo", half()).unwrap(), half());
    }
}

#[test]
fn quarantine_ends_by_itself_or_by_a_restart() {
    let mut world = world(ActorLimits::default());
    let quarantine = |world: &mut World| {
        for _ in 0..4 {
            world.request(SERVER, "acme:app:one", "trap", text(""));
            world.pass(2_000);
        }
        assert_eq!(world.ask(SERVER, "acme:app:one", "count", text("")).unwrap_err().code, "quarantined");
    };
    quarantine(&mut world);
    world.pass(300_000);
    assert_eq!(world.ask(SERVER, "acme:app:one", "count", text("")).unwrap(), text("1"));
    quarantine(&mut world);
    let now = world.now;
    assert_eq!(world.server().node.handle_restart(now, &address("acme:app:one")), 1);
    world.run();
    assert!(world.ask(SERVER, "acme:app:one", "count", text("")).is_ok());
    quarantine(&mut world);
    let now = world.now;
    assert_eq!(world.server().node.handle_restart(now, &address("acme:app")), 1, "all of the app");
    assert_eq!(world.server().node.handle_restart(now, &address("acme:other")), 0);
    assert!(world.ask(SERVER, "acme:app:one", "count", text("")).is_ok());
}

#[test]
fn actor_with_an_open_message_can_be_restarted() {
    let mut world = world(ActorLimits::default());
    let never = world.request(SERVER, "acme:app:one", "never", text(""));
    let next = world.request(SERVER, "acme:app:one", "count", text(""));
    let now = world.now;
    world.server().node.handle_restart(now, &address("acme:app:one"));
    world.run();
    assert_eq!(world.outcome(SERVER, never).unwrap_err().code, "not-running");
    assert_eq!(world.outcome(SERVER, next).unwrap(), text("1"));
}

#[test]
fn lost_one_way_messages_are_logged() {
    let mut world = world(ActorLimits::default());
    let told = |world: &mut World| {
        for _ in 0..3 {
            tell(world, "acme:app:one", "never-told", text("")).unwrap();
        }
    };
    // One is with the guest, two wait.
    told(&mut world);
    let now = world.now;
    world.server().node.handle_uninstall(now, &address("acme:app"));
    world.run();
    assert_eq!(world.server().node.stats().dead_letters, 3);
    assert_eq!(world.server().logs.iter().filter(|line| line.contains("`never-told` was not delivered")).count(), 3);

    let mut world = self::world(ActorLimits::default());
    told(&mut world);
    let now = world.now;
    world.server().node.handle_close(now);
    world.run();
    assert_eq!(world.server().node.stats().dead_letters, 3);

    let mut world = self::world(ActorLimits::default());
    tell(&mut world, "acme:app:one", "html", Payload::new("text/plain", "x")).unwrap_err();
    tell(&mut world, "acme:app:one", "count", text("")).unwrap_err();
}

#[test]
fn dead_letters_are_counted_and_logged_at_a_bounded_rate() {
    let mut world = world(ActorLimits::default());
    world.request(SERVER, "acme:app:one", "never", text(""));
    for n in 0..1_000 {
        tell(&mut world, &format!("acme:app:keyed:k{}", n % 15), "never-told", text("")).ok();
    }
    let now = world.now;
    world.server().node.handle_uninstall(now, &address("acme:app"));
    world.run();
    let (counted, lines) = (world.server().node.stats().dead_letters, world.server().logs.len());
    assert!(counted >= 100 && lines < 50, "{counted} dead letters, {lines} lines");
}
