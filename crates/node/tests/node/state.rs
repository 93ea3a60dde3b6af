//! The kept state of actors over sleep, crashes, upgrades and restarts, and the messages that wait for it.

use starlane_node::{ActorLimits, Allow, AppPlan, LinkConfig, Notice, Operations, state::StateError};

use crate::{
    guest::app,
    world::{SERVER, World, address, text, topic},
};

const ONE: &str = "acme:app:one";
const SURE: &str = "acme:app:sure";

fn with_app() -> World {
    let mut world = World::new();
    install(&mut world, app());
    world
}

fn install(world: &mut World, plan: AppPlan) {
    let now = world.now;
    world.server().node.handle_install(now, plan);
    world.run();
}

/// Another version of the app, in which every mechtron has changed.
fn next_version() -> AppPlan {
    let mut plan = app();
    for mechtron in &mut plan.mechtrons {
        mechtron.wasm = starlane_bundle::Digest::of(b"another");
        mechtron.bundle = address("acme:repo:app:2.0.0");
    }
    plan
}

fn count(world: &mut World, actor: &str) -> String {
    let counted = world.ask(SERVER, actor, "count", text("")).unwrap();
    String::from_utf8(counted.body.to_vec()).unwrap()
}

fn numbers(world: &mut World, actor: &str) -> String {
    let numbers = world.ask(SERVER, actor, "numbers", text("")).unwrap();
    String::from_utf8(numbers.body.to_vec()).unwrap()
}

fn kept(world: &mut World, actor: &str) -> String {
    let saved = world.server().kept[actor].saved.clone().unwrap();
    String::from_utf8(saved.data.to_vec()).unwrap()
}

#[test]
fn change_is_saved_once_within_a_second() {
    let mut world = with_app();
    count(&mut world, ONE);
    count(&mut world, ONE);
    assert!(world.server().kept.is_empty());
    world.pass(999);
    assert_eq!((kept(&mut world, ONE).as_str(), world.server().written), ("2 0 0", 1));
    world.pass(60_000);
    world.ask(SERVER, ONE, "echo", text("no change")).unwrap();
    world.pass(60_000);
    assert_eq!((world.server().written, world.server().node.unsaved()), (1, 0));
}

#[test]
fn busy_actor_is_saved() {
    let mut world = with_app();
    for _ in 0..20 {
        count(&mut world, ONE);
        world.pass(100);
    }
    let saved: u32 = kept(&mut world, ONE).split(' ').next().unwrap().parse().unwrap();
    assert!(saved >= 11 && world.server().written <= 4, "{saved} in {} writes", world.server().written);
}

#[test]
fn guest_with_open_work_is_not_asked_to_save() {
    let mut world = with_app();
    count(&mut world, ONE);
    world.ask(SERVER, ONE, "doze", text("")).unwrap();
    world.pass(4_000);
    assert!(world.server().kept.is_empty());
    world.pass(2_000);
    assert_eq!(kept(&mut world, ONE), "1 0 0");
    let waiting = world.request(SERVER, ONE, "sleep", text(""));
    count_later(&mut world, ONE);
    world.pass(499);
    assert_eq!(world.server().written, 1);
    world.pass(1_501);
    world.outcome(SERVER, waiting).unwrap();
    assert_eq!(kept(&mut world, ONE), "2 0 0");
    // A wake of the instance itself is not kept.
    world.ask(SERVER, ONE, "doze", text("")).unwrap();
    world.ask(SERVER, ONE, "trap", text("")).unwrap_err();
    world.pass(1_000);
    count(&mut world, ONE);
    world.pass(1_000);
    assert_eq!((kept(&mut world, ONE).as_str(), world.server().kept[ONE].wakes.len()), ("3 0 0", 0));
}

fn count_later(world: &mut World, actor: &str) {
    let _ = world.request(SERVER, actor, "count", text(""));
}

#[test]
fn crashed_actor_starts_from_its_last_save() {
    let mut world = with_app();
    count(&mut world, ONE);
    world.pass(1_000);
    count(&mut world, ONE);
    world.ask(SERVER, ONE, "trap", text("")).unwrap_err();
    world.pass(1_000);
    assert_eq!(count(&mut world, ONE), "2");
}

#[test]
fn answer_waits_until_its_change_is_saved() {
    let mut world = with_app();
    world.server().node.handle_serve(&address("acme:service"), Operations::Any).unwrap();
    world.server().node.handle_subscribe(topic("acme:app:sure#changes"));
    world.server().hold_saves = true;
    let first = world.request(SERVER, SURE, "count-aloud", text(""));
    let second = world.request(SERVER, SURE, "count-aloud", text(""));
    let side = world.server();
    assert_eq!((side.outcomes.len(), side.notices.len(), side.delivered.len()), (0, 0, 0));
    assert_eq!(side.saves.len(), 1, "one message at a time");
    world.let_save(SERVER);
    assert_eq!(world.outcome(SERVER, first).unwrap(), text("1"));
    assert_eq!(world.outcome(SERVER, second).unwrap(), text("2"));
    let side = world.server();
    let events = side.notices.iter().filter(|(_, notice)| matches!(notice, Notice::Event { .. })).count();
    assert_eq!((events, side.delivered.len()), (2, 2));
    assert_eq!(kept(&mut world, SURE), "2 0 0");
}

#[test]
fn message_without_a_change_waits_for_no_save() {
    let mut world = with_app();
    count(&mut world, SURE);
    world.server().hold_saves = true;
    assert_eq!(numbers(&mut world, SURE), "1 0 0");
    assert!(world.server().saves.is_empty());
}

#[test]
fn failed_save_fails_the_answer_and_undoes_the_change() {
    let mut world = with_app();
    world.server().node.handle_subscribe(topic("acme:app:sure#changes"));
    count(&mut world, SURE);
    for (error, status, code) in [
        (StateError::Full("no room".to_owned()), 507, "state-not-saved"),
        (StateError::Failed("no disk".to_owned()), 500, "state-not-saved"),
    ] {
        world.server().refuses_saves = Some(error);
        let failure = world.ask(SERVER, SURE, "count-aloud", text("")).unwrap_err();
        assert_eq!((failure.status, failure.code.as_str()), (status, code), "{failure}");
    }
    world.server().refuses_saves = Some(StateError::TooLarge("over".to_owned()));
    assert_eq!(world.ask(SERVER, SURE, "count-aloud", text("")).unwrap_err().code, "state-too-large");
    world.server().refuses_saves = None;
    world.pass(1_000);
    assert!(world.server().notices.is_empty(), "its messages were not sent either");
    assert_eq!(count(&mut world, SURE), "2");
}

#[test]
fn actors_that_save_each_message_can_ask_each_other() {
    let mut world = with_app();
    // It asks the other actor, which saves before it answers.
    let answer = world.ask(SERVER, SURE, "call", text("acme:app:sures:a")).unwrap();
    assert_eq!(answer, text("from a guest"));
    // While one waits for the other, further requests go to both.
    world.server().hold_saves = true;
    let asked: Vec<_> = [
        (SURE, "count", ""),
        (SURE, "call", "acme:app:sures:a"),
        (SURE, "count", ""),
        ("acme:app:sures:a", "count", ""),
        ("acme:app:sures:a", "call", SURE),
        ("acme:app:sures:a", "count", ""),
    ]
    .into_iter()
    .map(|(to, operation, body)| world.request(SERVER, to, operation, text(body)))
    .collect();
    world.let_save(SERVER);
    world.pass(2_000);
    for (n, request) in asked.into_iter().enumerate() {
        let outcome = world.server().outcomes.remove(&request);
        // Requests that would make a deadlock fail.
        let is_fine = outcome.as_ref().is_some_and(|outcome| match outcome {
            Ok(_) => true,
            Err(failure) => failure.code == "cycle",
        });
        assert!(is_fine, "{n}: {outcome:?}; {:?}", world.server().node.actors());
    }
}

#[test]
fn failed_save_is_retried() {
    let mut world = with_app();
    world.server().refuses_saves = Some(StateError::Full("no room".to_owned()));
    count(&mut world, ONE);
    world.pass(3_000);
    assert!(world.server().kept.is_empty() && world.server().node.unsaved() == 1);
    assert!(world.server().logs.iter().any(|line| line.contains("no room")));
    world.server().refuses_saves = None;
    world.pass(3_000);
    assert_eq!((kept(&mut world, ONE).as_str(), world.server().node.unsaved()), ("1 0 0", 0));
}

#[test]
fn too_large_state_is_a_crash() {
    let mut world = with_app();
    count(&mut world, ONE);
    world.pass(1_000);
    world.server().refuses_saves = Some(StateError::TooLarge("it has 9 bytes".to_owned()));
    count(&mut world, ONE);
    world.pass(1_000);
    world.server().refuses_saves = None;
    assert!(world.server().logs.iter().any(|line| line.contains("crashed: it has 9 bytes")));
    world.pass(1_000);
    assert_eq!(count(&mut world, ONE), "2");
}

#[test]
fn host_that_lost_an_app_stops_its_actors() {
    let mut world = with_app();
    count(&mut world, ONE);
    count(&mut world, SURE);
    world.server().epoch += 1;
    assert_eq!(world.ask(SERVER, SURE, "count", text("")).unwrap_err().code, "fenced");
    assert_eq!(world.ask(SERVER, SURE, "numbers", text("")).unwrap_err().code, "fenced");
    world.pass(2_000);
    assert_eq!(world.ask(SERVER, ONE, "numbers", text("")).unwrap_err().code, "fenced");
    assert_eq!(kept(&mut world, SURE), "1 0 0");
}

#[test]
fn next_version_keeps_state_and_messages() {
    let mut world = with_app();
    count(&mut world, ONE);
    let slow = world.request(SERVER, "acme:app:keyed:a", "sleep", text(""));
    install(&mut world, next_version());
    let waiting = world.request(SERVER, "acme:app:keyed:a", "count", text(""));
    assert_eq!(count(&mut world, ONE), "2");
    world.pass(1_000);
    assert_eq!(world.outcome(SERVER, slow).unwrap(), text("woken"), "it ends the open message");
    assert_eq!(world.outcome(SERVER, waiting).unwrap(), text("1"));
    assert_eq!(world.server().started.len(), 4);
}

#[test]
fn old_version_that_does_not_come_to_rest_is_ended() {
    let mut world = with_app();
    world.server().node.handle_serve(&address("acme:service"), Operations::Any).unwrap();
    world.server().hold = true;
    let slow = world.request(SERVER, ONE, "call", text("acme:service"));
    install(&mut world, next_version());
    let waiting = world.request(SERVER, ONE, "count", text(""));
    world.pass(5_000);
    assert_eq!(world.outcome(SERVER, slow).unwrap_err().code, "swapped");
    assert_eq!(world.outcome(SERVER, waiting).unwrap(), text("1"));
}

#[test]
fn unchanged_mechtron_is_not_restarted() {
    let mut world = with_app();
    count(&mut world, ONE);
    let mut plan = app();
    plan.mechtrons.retain(|mechtron| mechtron.name != "keyed");
    install(&mut world, plan);
    assert_eq!(count(&mut world, ONE), "2");
    assert_eq!((world.server().started.len(), world.server().stopped.len()), (1, 0));
    assert_eq!(world.ask(SERVER, "acme:app:keyed:a", "count", text("")).unwrap_err().code, "no-resource");
}

#[test]
fn removed_app_is_saved_and_can_come_back() {
    let mut world = with_app();
    world.ask(SERVER, ONE, "subscribe", text("acme:app:keyed:a#changes")).unwrap();
    world.ask(SERVER, ONE, "wake", text("1000")).unwrap();
    count(&mut world, ONE);
    let now = world.now;
    world.server().node.handle_uninstall(now, &address("acme:app"));
    world.run();
    assert_eq!(kept(&mut world, ONE), "1 0 0");
    assert!(world.server().node.actors().is_empty());
    world.pass(5_000);
    install(&mut world, app());
    world.ask(SERVER, "acme:app:keyed:a", "emit", text("")).unwrap();
    world.pass(100);
    assert_eq!(numbers(&mut world, ONE), "1 1 1");
}

#[test]
fn wakes_survive_a_crash() {
    let mut world = with_app();
    world.ask(SERVER, ONE, "wake", text("60000")).unwrap();
    world.ask(SERVER, ONE, "trap", text("")).unwrap_err();
    assert_eq!(world.server().kept[ONE].wakes.len(), 1);
    let now = world.now;
    world.server().node.handle_uninstall(now, &address("acme:app"));
    world.run();
    assert_eq!(world.server().kept[ONE].wakes.len(), 1);
}

#[test]
fn subscriptions_and_wakes_survive_a_kill_and_start_their_actor() {
    let mut world = with_app();
    world.ask(SERVER, ONE, "subscribe", text("acme:app:keyed:a#changes")).unwrap();
    for ms in ["2000", "30000"] {
        world.ask(SERVER, ONE, "wake", text(ms)).unwrap();
    }
    count(&mut world, ONE);
    world.pass(1_000);
    world.kill_server();
    world.now += 10_000;
    install(&mut world, app());
    assert_eq!(world.server().started.len(), 0);
    world.pass(100);
    assert_eq!(world.server().started.len(), 1, "a wake is overdue");
    world.ask(SERVER, "acme:app:keyed:a", "emit", text("")).unwrap();
    assert_eq!(numbers(&mut world, ONE), "1 1 1");
    world.pass(30_000);
    assert_eq!(numbers(&mut world, ONE), "1 2 1");
    world.kill_server();
    install(&mut world, app());
    world.pass(60_000);
    assert_eq!(world.server().started.len(), 0, "a delivered wake is not delivered again");
    assert_eq!(world.server().kept[ONE].subscriptions, [topic("acme:app:keyed:a#changes")]);
}

#[test]
fn forbidden_subscription_is_not_restored() {
    let mut world = with_app();
    world.ask(SERVER, ONE, "subscribe", text("acme:app:keyed:a#changes")).unwrap();
    world.pass(1_000);
    let mut plan = app();
    for mechtron in &mut plan.mechtrons {
        mechtron.allow = Vec::new();
    }
    install(&mut world, plan);
    world.ask(SERVER, "acme:app:keyed:a", "emit", text("")).unwrap();
    assert_eq!(numbers(&mut world, ONE), "0 0 0");
    assert!(world.server().logs.iter().any(|line| line.contains("its subscription to")));
    world.pass(1_000);
    assert!(!world.server().kept.contains_key(ONE) || world.server().kept[ONE].subscriptions.is_empty());
}

#[test]
fn permissions_of_an_app_change_while_its_actors_run() {
    let mut world = with_app();
    count(&mut world, ONE);
    world.ask(SERVER, ONE, "subscribe", text("acme:app:keyed:a#changes")).unwrap();
    world.ask(SERVER, "acme:app:keyed:a", "emit", text("")).unwrap();
    assert_eq!(numbers(&mut world, ONE), "1 0 1");
    let allow = |world: &mut World, texts: &[&str]| {
        let grants = texts.iter().map(|text| starlane_protocol::Grant::parse(text, None).unwrap()).collect();
        let allow = [Allow { name: "one".into(), keyed: false, grants }];
        world.server().node.handle_allow(&address("acme:app"), &allow);
        world.run();
    };
    allow(&mut world, &["request acme:app:keyed:b echo"]);
    world.ask(SERVER, "acme:app:keyed:a", "emit", text("")).unwrap();
    assert_eq!(numbers(&mut world, ONE), "1 0 1", "its state is unchanged, and it gets no more events");
    let ask = |world: &mut World, to: &str| world.ask(SERVER, ONE, "call", text(to));
    assert_eq!(ask(&mut world, "acme:app:keyed:a").unwrap_err().code, "no-grant");
    ask(&mut world, "acme:app:keyed:b").unwrap();
    allow(&mut world, &["request acme:app:keyed:a echo"]);
    ask(&mut world, "acme:app:keyed:a").unwrap();
}

#[test]
fn state_of_sleeping_actors_is_only_in_the_store() {
    let mut world = with_app();
    count(&mut world, ONE);
    world.pass(1_000);
    world.kill_server();
    install(&mut world, app());
    assert_eq!(world.server().loaded, 0);
    assert_eq!((count(&mut world, ONE).as_str(), world.server().loaded), ("2", 1));
}

#[test]
fn host_saves_everything_before_it_ends() {
    let mut world = with_app();
    count(&mut world, ONE);
    count(&mut world, "acme:app:keyed:a");
    assert_eq!(world.server().node.unsaved(), 2);
    let now = world.now;
    world.server().node.handle_save_all(now);
    world.run();
    assert_eq!((world.server().node.unsaved(), world.server().written), (0, 2));
}

#[test]
fn actors_with_state_can_exceed_the_memory_limit() {
    let limits = ActorLimits { actors_per_app: 3, awake_per_app: 1, ..ActorLimits::default() };
    let mut world = World::under(LinkConfig::default(), limits);
    install(&mut world, app());
    for round in 1..=4_u32 {
        for key in 0..20 {
            assert_eq!(count(&mut world, &format!("acme:app:keyed:k{key}")), round.to_string(), "k{key}");
            world.pass(1_000);
        }
        assert_eq!(world.server().node.actors().len(), 20, "all are shown");
        if round == 2 {
            let loaded = world.server().loaded;
            assert!(loaded >= 17, "{loaded} were loaded: the others stayed in memory, where 3 may be");
            world.kill_server();
            install(&mut world, app());
            let shown = world.server().node.actors();
            assert_eq!(shown.len(), 20, "all are known, even without a wake");
            assert!(shown.iter().all(|actor| actor.state == "asleep"));
        }
    }
}
