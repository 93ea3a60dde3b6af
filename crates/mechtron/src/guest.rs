//! The raw imports and exports. This is the only file that knows the canonical ABI. It exists only on wasm32.
#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "wit-bindgen's generated code; everything above it is safe"
)]

use std::{cell::RefCell, rc::Rc, sync::Once};

use self::exports::starlane::mechtron::actor::{Guest, Message as Delivered};
use self::starlane::mechtron::{mesh, types};
use crate::{
    Failure, Header, Kind, Outcome, Payload, Saved,
    engine::{Engine, Message},
    log::Level,
    macros::Module,
    mesh::{Mesh, StreamMesh},
    stream::{Streaming, Streams},
};

/// The exports that a module with streams has beside those of every module. With `world mechtron-streams` every module would have them.
pub mod streams {
    use self::exports::starlane::mechtron::stream_actor::Guest;
    use super::{failure_from_wire, types, with_engine};
    use crate::macros::Module;

    wit_bindgen::generate!({
        path: "wit",
        inline: "package starlane:sdk; world streams { export starlane:mechtron/stream-actor@1.0.0; }",
        world: "starlane:sdk/streams",
        with: { "starlane:mechtron/types@1.0.0": super::types },
        pub_export_macro: true,
        export_macro_name: "export_streams",
        disable_custom_section_link_helpers: true,
        runtime_path: "::wit_bindgen::rt",
    });

    impl<M: Module> Guest for M {
        fn part(id: u64, bytes: Vec<u8>) {
            with_engine(|engine| engine.part(id, bytes));
        }

        fn ended(id: u64, error: Option<types::Failure>) {
            with_engine(|engine| engine.ended(id, error.map(failure_from_wire)));
        }

        fn ready(id: u64, credit: u32) {
            with_engine(|engine| engine.ready(id, credit));
        }
    }
}

wit_bindgen::generate!({
    path: "wit",
    world: "mechtron",
    pub_export_macro: true,
    export_macro_name: "export_module",
    runtime_path: "::wit_bindgen::rt",
});

thread_local! {
    static ENGINE: RefCell<Option<Engine>> = const { RefCell::new(None) };
}

impl<M: Module> Guest for M {
    fn start(context: types::Context) -> Result<(), String> {
        report_panics();
        let Some(starter) = M::starter(&context.mechtron) else {
            return Err(format!("this module has no mechtron `{}`; it has: {}", context.mechtron, M::NAMES.join(", ")));
        };
        let saved = context.state.map(|saved| Saved { format: saved.format, data: saved.data });
        let told = [context.address, context.mechtron, context.settings];
        // Without streams, the code and the imports for them are in no module.
        let streams = M::STREAMS.then(|| Rc::new(Streams::new(Rc::new(Host))) as Rc<dyn Streaming>);
        let engine = Engine::start(starter, Rc::new(Host), streams, told, saved)?;
        ENGINE.with(|slot| *slot.borrow_mut() = Some(engine));
        Ok(())
    }

    fn receive(message: Delivered) -> bool {
        with_engine(|engine| {
            engine.receive(Message {
                id: message.id,
                kind: match message.kind {
                    types::Kind::Request => Kind::Request,
                    types::Kind::Notify => Kind::Notify,
                    types::Kind::Event => Kind::Event,
                },
                sender: message.sender,
                caller: message.caller,
                operation: message.operation,
                payload: from_wire::<M>(message.payload, engine),
                remaining_ms: message.remaining_ms,
            })
        })
    }

    fn settle(request: u64, outcome: types::Outcome) {
        with_engine(|engine| {
            let outcome = match outcome {
                types::Outcome::Success(payload) => Ok(from_wire::<M>(payload, engine)),
                types::Outcome::Failure(failure) => Err(failure_from_wire(failure)),
            };
            engine.settle(request, outcome);
        });
    }

    fn wake(token: u64) {
        with_engine(|engine| engine.wake(token));
    }

    fn save() -> types::Saved {
        match with_engine(|engine| engine.save()) {
            Ok(Saved { format, data }) => types::Saved { format, data },
            Err(why) => fail(&why),
        }
    }
}

fn with_engine<T>(work: impl FnOnce(&mut Engine) -> T) -> T {
    ENGINE.with(|slot| match &mut *slot.borrow_mut() {
        Some(engine) => work(engine),
        None => fail("called before a successful start"),
    })
}

/// Reports a failure by a log line and a trap. The interface has no other way to report that `save` failed.
fn fail(why: &str) -> ! {
    mesh::log(mesh::Level::Error, why);
    core::arch::wasm32::unreachable()
}

fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let message = info.payload_as_str().unwrap_or("a value that is not text");
            match info.location() {
                Some(place) => mesh::log(mesh::Level::Error, &format!("panicked at {place}: {message}")),
                None => mesh::log(mesh::Level::Error, &format!("panicked: {message}")),
            }
        }));
    });
}

/// The host, behind the imports.
struct Host;

impl Mesh for Host {
    fn request(&self, target: &str, operation: &str, payload: Payload, stream: u64, timeout_ms: u32) -> u64 {
        mesh::request(target, operation, &to_wire(payload, stream), timeout_ms)
    }

    fn notify(&self, target: &str, operation: &str, payload: Payload, stream: u64) {
        mesh::notify(target, operation, &to_wire(payload, stream));
    }

    fn reply(&self, id: u64, outcome: Outcome, stream: u64) {
        let outcome = match outcome {
            Ok(payload) => types::Outcome::Success(to_wire(payload, stream)),
            Err(failure) => types::Outcome::Failure(failure_to_wire(failure)),
        };
        mesh::reply(id, &outcome);
    }

    fn emit(&self, event: &str, payload: Payload) {
        mesh::emit(event, &to_wire(payload, 0));
    }

    fn subscribe(&self, topic: &str) {
        mesh::subscribe(topic);
    }

    fn unsubscribe(&self, topic: &str) {
        mesh::unsubscribe(topic);
    }

    fn wake_after(&self, delay_ms: u32, token: u64) {
        mesh::wake_after(delay_ms, token);
    }

    fn wake_at(&self, unix_ms: u64, token: u64) {
        mesh::wake_at(unix_ms, token);
    }

    fn log(&self, level: Level, text: &str) {
        let level = match level {
            Level::Trace => mesh::Level::Trace,
            Level::Debug => mesh::Level::Debug,
            Level::Info => mesh::Level::Info,
            Level::Warn => mesh::Level::Warn,
            Level::Error => mesh::Level::Error,
        };
        mesh::log(level, text);
    }

    fn now_ms(&self) -> u64 {
        mesh::now_ms()
    }

    fn random(&self) -> u64 {
        mesh::random()
    }
}

impl StreamMesh for Host {
    fn open_stream(&self) -> u64 {
        mesh::open_stream()
    }

    fn write(&self, id: u64, bytes: &[u8]) {
        // The SDK counts the credit itself: it must not count what a later `ready` gives.
        let _: u32 = mesh::write(id, bytes);
    }

    fn finish(&self, id: u64, error: Option<Failure>) {
        mesh::finish(id, error.map(failure_to_wire).as_ref());
    }

    fn grant(&self, id: u64, bytes: u32) {
        mesh::grant(id, bytes);
    }

    fn cancel_stream(&self, id: u64) {
        mesh::cancel_stream(id);
    }
}

fn from_wire<M: Module>(payload: types::Payload, engine: &Engine) -> Payload {
    let headers = payload.headers.into_iter().map(|header| Header { name: header.name, value: header.value }).collect();
    let read = Payload { headers, ..Payload::new(payload.content_type, payload.body) };
    if M::STREAMS && payload.body_stream != 0 { engine.attach(read, payload.body_stream) } else { read }
}

fn to_wire(payload: Payload, stream: u64) -> types::Payload {
    let headers =
        payload.headers.into_iter().map(|header| types::Header { name: header.name, value: header.value }).collect();
    types::Payload { content_type: payload.content_type, headers, body: payload.body, body_stream: stream }
}

fn failure_from_wire(failure: types::Failure) -> Failure {
    Failure::new(failure.status, failure.code, failure.message)
}

fn failure_to_wire(Failure { status, code, message }: Failure) -> types::Failure {
    types::Failure { status, code: code.into_owned(), message }
}
