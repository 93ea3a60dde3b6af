//! The trace of a message continues in all messages that it causes.

use starlane_node::Operations;
use starlane_protocol::{Payload, Trace};

use crate::{
    guest::app,
    world::{PAGE, World, address, text},
};

const ONE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TWO: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

fn traced(body: &str, trace: &str) -> Payload {
    let headers = vec![("traceparent".to_owned(), trace.to_owned())];
    Payload { headers, ..text(body) }
}

fn with_app() -> World {
    let mut world = World::linked();
    let now = world.now;
    world.server().node.handle_install(now, app());
    world.server().node.handle_serve(&address("acme:service"), Operations::Any).unwrap();
    world.run();
    world
}

/// The traces of the service's messages since the last call.
fn told(world: &mut World) -> Vec<Option<Trace>> {
    world.server().delivered.drain(..).map(|message| message.trace).collect()
}

#[test]
fn message_over_a_link_keeps_its_trace() {
    let mut world = with_app();
    for (given, trace) in [(ONE, Trace::parse(ONE)), ("00-1-2-01", None)] {
        world.ask(PAGE, "acme:service", "echo", traced("hi", given)).unwrap();
        assert_eq!(told(&mut world), [trace]);
    }
}

#[test]
fn messages_of_an_actor_join_the_trace_of_the_handled_message() {
    let mut world = with_app();
    for (operation, body) in [("call-told", "acme:app:keyed:a"), ("sleep-told", "")] {
        // One message waits in the mailbox while the other is handled.
        let asked = [ONE, TWO].map(|trace| world.request(PAGE, "acme:app:one", operation, traced(body, trace)));
        let last = world.request(PAGE, "acme:app:one", operation, text(body));
        world.pass(2_000);
        assert_eq!(told(&mut world), [Trace::parse(ONE), Trace::parse(TWO), None], "{operation}");
        for request in asked.into_iter().chain([last]) {
            world.outcome(PAGE, request).unwrap();
        }
    }
}
