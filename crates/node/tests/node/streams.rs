//! Streams between two nodes: their bytes, their credit, and every way in which they end.

use starlane_node::Operations;
use starlane_protocol::{Failure, Outcome, StreamId};

use crate::{
    flows::is_pattern,
    world::{PAGE, SERVER, World, address},
};

const LONG: usize = 3_000_000;
const SERVICE: &str = "acme:service";

/// A page and a server that serves a handler and an app.
fn world() -> World {
    let mut world = World::linked();
    world.server().node.handle_serve(&address(SERVICE), Operations::Any).unwrap();
    world.server().node.handle_install(1, crate::guest::app());
    world.run();
    world
}

/// Sends a stream of the page to the server. Returns it and the number that the server has for it.
fn upload(world: &mut World, operation: &str) -> (crate::flows::Source, StreamId) {
    let (source, payload) = world.open(PAGE);
    world.server().hold = operation == "held";
    world.request(PAGE, SERVICE, operation, payload);
    let id = *world.server().flows.came.last().expect("it arrived");
    (source, id)
}

fn download(world: &mut World) -> (crate::flows::Source, StreamId) {
    let (source, payload) = world.open(SERVER);
    world.server().flows.answers = Some(payload);
    world.request(PAGE, SERVICE, "download", crate::world::text("please"));
    let id = *world.page().flows.came.last().expect("the answer came");
    (source, id)
}

#[test]
fn stream_arrives_complete_in_both_directions() {
    let mut world = world();
    let (mut source, id) = upload(&mut world, "take");
    assert_eq!(world.write(&mut source, LONG), LONG);
    world.finish(&source, None);
    let bytes = &world.server().flows.bytes[&id];
    assert!(bytes.len() == LONG && is_pattern(bytes));
    assert_eq!(world.server().flows.code(id), Some(String::new()));
    let (mut source, id) = download(&mut world);
    assert_eq!(world.write(&mut source, LONG), LONG);
    world.finish(&source, None);
    let bytes = &world.page().flows.bytes[&id];
    assert!(bytes.len() == LONG && is_pattern(bytes));
    assert_eq!((world.page().flows.code(id), world.open_streams()), (Some(String::new()), [0, 0]));
}

#[test]
fn reader_that_does_not_read_stops_the_writer() {
    let mut world = world();
    world.server().flows.is_slow = true;
    let (mut source, id) = upload(&mut world, "take");
    let written = world.write(&mut source, LONG);
    // One credit at the reader, and one that this host may have under way.
    assert!((96 * 1024..=128 * 1024).contains(&written), "{written}");
    assert_eq!(world.server().flows.bytes[&id].len(), 64 * 1024);
    // Others are not held up.
    assert!(world.ask(PAGE, SERVICE, "echo", crate::world::text("hi")).is_ok());
    world.server().flows.is_slow = false;
    let now = world.now;
    world.server().node.handle_consumed(now, id, 64 * 1024);
    world.run();
    assert_eq!(world.write(&mut source, LONG), LONG);
    world.finish(&source, None);
    assert!(is_pattern(&world.server().flows.bytes[&id]));
    assert_eq!(world.open_streams(), [0, 0]);
}

#[test]
fn cut_loses_nothing_of_a_stream() {
    let mut world = world();
    let (mut up, up_id) = upload(&mut world, "take");
    let (mut down, down_id) = download(&mut world);
    let mut written = [0, 0];
    for _ in 0..20 {
        written[0] += world.write(&mut up, 70_000);
        world.break_link();
        // Without a socket it is as much as the credit.
        written[1] += world.write(&mut down, 70_000);
        world.pass(5_000);
    }
    world.finish(&up, None);
    world.finish(&down, None);
    let (received, returned) = (&world.sides[SERVER].flows.bytes[&up_id], &world.sides[PAGE].flows.bytes[&down_id]);
    assert!(is_pattern(received) && is_pattern(returned));
    assert_eq!([received.len(), returned.len()], written);
    assert_eq!(world.open_streams(), [0, 0]);
}

#[test]
fn guest_copies_a_stream() {
    for side in [PAGE, SERVER] {
        let mut world = world();
        let (mut source, payload) = world.open(side);
        let request = world.request(side, "acme:app:one", "mirror", payload);
        let outcome: Outcome = world.outcome(side, request);
        assert_eq!(outcome.unwrap().content_type, "application/octet-stream");
        let id = *world.sides[side].flows.came.last().unwrap();
        assert_eq!(world.write(&mut source, LONG), LONG);
        world.finish(&source, None);
        let bytes = &world.sides[side].flows.bytes[&id];
        assert!(bytes.len() == LONG && is_pattern(bytes), "{} bytes came back", bytes.len());
        assert_eq!((world.sides[side].flows.code(id), world.open_streams()), (Some(String::new()), [0, 0]));
    }
}

#[test]
fn both_ends_learn_of_every_end_and_nothing_stays() {
    type End = fn(&mut World, &crate::flows::Source, StreamId);
    let stops = |world: &World, source: &crate::flows::Source| {
        world.sides[PAGE].flows.stops.get(&source.id).map(|failure| failure.code.clone())
    };
    // The way, and the codes that the reader and the writer hear.
    let ways: [(&str, End, Option<&str>, Option<&str>); 8] = [
        ("the writer completes it", |world, source, _| world.finish(source, None), Some(""), None),
        (
            "the writer fails",
            |world, source, _| world.finish(source, Some(Failure::conflict("no more paper"))),
            Some("conflict"),
            None,
        ),
        (
            "the reader goes away",
            |world, _, id| {
                let now = world.now;
                world.server().node.handle_stop(now, id, Failure::cancelled("enough"));
            },
            None,
            Some("cancelled"),
        ),
        (
            "the request is refused",
            |world, _, _| {
                let (now, request) = (world.now, world.sides[SERVER].held[0]);
                world.server().node.handle_reply(now, request, Err(Failure::conflict("not now")));
            },
            Some("conflict"),
            Some("conflict"),
        ),
        ("nothing moves", |world, _, _| world.pass(151_000), Some("idle"), Some("idle")),
        (
            "the link is gone for too long",
            |world, _, _| {
                world.cut = true;
                world.break_link();
                world.pass(130_000);
            },
            Some("link-lost"),
            Some("link-lost"),
        ),
        (
            "the writer's host closes",
            |world, _, _| {
                let now = world.now;
                world.page().node.handle_close(now);
            },
            Some("closed"),
            Some("closed"),
        ),
        (
            "the reader's host closes",
            |world, _, _| {
                let now = world.now;
                world.server().node.handle_close(now);
            },
            Some("closed"),
            Some("closed"),
        ),
    ];
    for (name, way, read, written) in ways {
        let mut world = world();
        // A one-way message has no deadline of its own, so only the request that is refused is a request.
        let (mut source, id) = match name {
            "the request is refused" => upload(&mut world, "held"),
            _ => {
                let (source, payload) = world.open(PAGE);
                let now = world.now;
                let (origin, to) = (crate::world::origin(), address(SERVICE));
                world.page().node.handle_notify(now, &origin, &to, "take", payload).unwrap();
                world.run();
                let id = *world.server().flows.came.last().expect("it arrived");
                (source, id)
            }
        };
        world.write(&mut source, 10_000);
        way(&mut world, &source, id);
        world.run();
        world.pass(1_000);
        assert_eq!(world.server().flows.code(id).as_deref(), read, "{name}");
        assert_eq!(stops(&world, &source).as_deref(), written, "{name}");
        assert_eq!(world.open_streams(), [0, 0], "{name}");
    }
}

#[test]
fn cancelled_request_ends_its_stream_and_that_of_a_late_answer() {
    let mut world = world();
    let (mut source, payload) = world.open(PAGE);
    world.server().hold = true;
    let request = world.request(PAGE, SERVICE, "take", payload);
    let id = world.server().flows.came[0];
    world.write(&mut source, 10);
    let now = world.now;
    world.page().node.handle_cancel(now, request);
    world.run();
    assert_eq!(world.server().flows.code(id).as_deref(), Some("cancelled"));
    assert_eq!(world.page().flows.stops[&source.id].code, "cancelled");
    // The handler answers too late, with a stream.
    let (late, payload) = world.open(SERVER);
    let held = world.server().held[0];
    world.server().node.handle_reply(now, held, Ok(payload));
    world.run();
    assert_eq!(world.server().flows.stops[&late.id].code, "cancelled");
    assert_eq!(world.open_streams(), [0, 0]);
}

#[test]
fn stream_whose_message_is_dropped_ends() {
    let mut world = world();
    // A message that is never sent, one to nobody, one to an operation without a stream.
    let (unsent, payload) = world.open(PAGE);
    drop(payload);
    world.run();
    assert_eq!(world.page().flows.stops[&unsent.id].code, "cancelled");
    for (to, operation, code) in [
        ("acme:nobody", "take", "no-resource"),
        ("acme:app:one", "echo", "no-streams"),
        ("acme:app:one", "x", "no-operation"),
    ] {
        let (source, payload) = world.open(PAGE);
        let request = world.request(PAGE, to, operation, payload);
        assert_eq!(world.outcome(PAGE, request).unwrap_err().code, code);
        assert_eq!(world.page().flows.stops[&source.id].code, code);
    }
    // A message that waits for a link, and whose sender gives up.
    world.cut = true;
    world.break_link();
    let (mut source, payload) = world.open(PAGE);
    let request = world.request(PAGE, SERVICE, "take", payload);
    assert_eq!(world.write(&mut source, LONG), 64 * 1024);
    let now = world.now;
    world.page().node.handle_cancel(now, request);
    world.run();
    assert_eq!(world.page().flows.stops[&source.id].code, "cancelled");
    assert_eq!(world.open_streams(), [0, 0]);
}

#[test]
fn crash_of_a_guest_ends_its_streams() {
    let mut world = world();
    let (mut source, payload) = world.open(PAGE);
    let request = world.request(PAGE, "acme:app:one", "mirror", payload);
    world.outcome(PAGE, request).unwrap();
    let copy = *world.page().flows.came.last().unwrap();
    world.write(&mut source, 10_000);
    assert_eq!(world.ask(PAGE, "acme:app:one", "trap", crate::world::text("")).unwrap_err().code, "guest-failed");
    assert_eq!(world.page().flows.stops[&source.id].code, "guest-failed");
    assert_eq!(world.page().flows.code(copy).as_deref(), Some("guest-failed"));
    assert_eq!(world.open_streams(), [0, 0]);
}

#[test]
fn open_stream_does_not_hold_the_next_message_of_an_actor() {
    let mut world = world();
    let (mut source, payload) = world.open(PAGE);
    let request = world.request(PAGE, "acme:app:one", "mirror", payload);
    world.outcome(PAGE, request).unwrap();
    world.page().flows.is_slow = true;
    world.write(&mut source, LONG);
    assert!(world.ask(PAGE, "acme:app:one", "echo", crate::world::text("next")).is_ok());
    // It does not sleep while a stream is open.
    let batches = world.server().stopped.len();
    for n in 0..4 {
        world.ask(PAGE, &format!("acme:app:keyed:{n}"), "echo", crate::world::text("x")).unwrap();
    }
    assert!(world.server().stopped.len() > batches, "others made room");
    assert_eq!(world.server().flows.ends.len() + world.page().flows.ends.len(), 0);
}

#[test]
fn each_part_restarts_the_deadline_of_its_request() {
    let mut world = world();
    world.server().hold = true;
    let (mut source, payload) = world.open(PAGE);
    let request = world.request_within(PAGE, SERVICE, "take", payload, 1_000);
    for _ in 0..5 {
        world.pass(800);
        assert_eq!(world.write(&mut source, 10), 10);
    }
    assert!(!world.page().outcomes.contains_key(&request));
    world.pass(1_100);
    assert_eq!(world.outcome(PAGE, request).unwrap_err().code, "deadline");
    assert_eq!(world.sides[PAGE].flows.stops[&source.id].code, "deadline");
    assert_eq!(world.open_streams(), [0, 0]);
}

#[test]
fn callers_cannot_exceed_the_stream_limit_of_an_actor() {
    let mut world = world();
    let open: Vec<_> = (0..40)
        .map(|_| {
            let (source, payload) = world.open(PAGE);
            (source, world.request(PAGE, "acme:app:one", "mirror", payload))
        })
        .collect();
    let answered = |world: &mut World, request| {
        world.sides[PAGE]
            .outcomes
            .remove(&request)
            .map(|outcome| outcome.map_or_else(|failure| failure.code, |_| "answered".to_owned()))
    };
    let outcomes: Vec<_> = open.iter().filter_map(|(_, request)| answered(&mut world, *request)).collect();
    let count = |code: &str| outcomes.iter().filter(|outcome| *outcome == code).count();
    assert_eq!((count("answered"), count("too-many-streams")), (16, 24), "it may write sixteen");
    for (source, _) in &open {
        world.finish(source, None);
    }
    assert_eq!((world.open_streams(), world.server().stopped.len()), ([0, 0], 0), "it did not crash");
    assert!(world.ask(PAGE, "acme:app:one", "echo", crate::world::text("next")).is_ok());
}

#[test]
fn actor_may_read_for_as_long_as_the_stream_moves() {
    let mut world = world();
    let (mut source, payload) = world.open(PAGE);
    let request = world.request_within(PAGE, "acme:app:one", "read-all", payload, 2_000);
    for _ in 0..60 {
        world.pass(1_900);
        assert_eq!(world.write(&mut source, 10), 10);
    }
    assert!(!world.page().outcomes.contains_key(&request));
    world.finish(&source, None);
    let outcome = world.outcome(PAGE, request).unwrap();
    assert_eq!((&*outcome.body, world.open_streams()), (&b"600"[..], [0, 0]));
}

#[test]
fn end_of_a_stream_restarts_the_deadline_of_its_request() {
    let mut world = world();
    world.server().hold = true;
    let (mut source, payload) = world.open(PAGE);
    let request = world.request_within(PAGE, SERVICE, "take", payload, 1_000);
    world.pass(900);
    world.write(&mut source, 10);
    world.pass(900);
    world.finish(&source, None);
    world.pass(900);
    let (now, held) = (world.now, world.server().held[0]);
    world.server().node.handle_reply(now, held, Ok(crate::world::text("thanks")));
    world.run();
    assert!(world.outcome(PAGE, request).is_ok());
}

#[test]
fn guest_cannot_grant_what_it_was_not_given() {
    let mut world = world();
    let (mut source, payload) = world.open(PAGE);
    world.request(PAGE, "acme:app:one", "greedy", payload);
    let mut written = 0;
    for _ in 0..200 {
        written += world.write(&mut source, 100_000);
    }
    assert!(written <= 3 * 64 * 1024, "{written} bytes were taken by a guest that reads nothing");
}

#[test]
fn finished_stream_that_nobody_grants_ends_too() {
    let mut world = world();
    world.server().flows.is_slow = true;
    let (mut source, id) = upload(&mut world, "held");
    world.write(&mut source, LONG);
    world.finish(&source, None);
    world.pass(160_000);
    let now = world.now;
    world.server().node.handle_stop(now, id, Failure::cancelled("gone"));
    world.run();
    assert_eq!(world.open_streams(), [0, 0]);
}

#[test]
fn idle_stream_of_an_actor_makes_room_for_others() {
    let mut world = world();
    let mut open = Vec::new();
    for key in ["a", "b"] {
        let (source, payload) = world.open(PAGE);
        let request = world.request(PAGE, &format!("acme:app:keyed:{key}"), "mirror", payload);
        world.outcome(PAGE, request).unwrap();
        open.push(source);
    }
    let request = world.request_within(PAGE, "acme:app:keyed:c", "echo", crate::world::text("x"), 120_000);
    for _ in 0..4 {
        world.pass(20_000);
        world.write(&mut open[1], 10);
    }
    assert!(world.outcome(PAGE, request).is_ok(), "only two actors can be awake");
    assert_eq!(world.page().flows.stops[&open[0].id].code, "idle");
    assert!(!world.page().flows.stops.contains_key(&open[1].id), "something moves on it");
}

#[test]
fn request_that_fails_keeps_nothing_of_a_complete_stream() {
    let mut world = world();
    world.server().flows.is_slow = true;
    let (mut source, payload) = world.open(PAGE);
    world.server().hold = true;
    let request = world.request_within(PAGE, SERVICE, "take", payload, 1_000);
    world.write(&mut source, 10);
    world.finish(&source, None);
    assert_eq!(world.open_streams(), [0, 1], "the handler has not read it");
    world.pass(2_500);
    assert_eq!(world.outcome(PAGE, request).unwrap_err().code, "deadline");
    assert_eq!(world.open_streams(), [0, 0]);
}
