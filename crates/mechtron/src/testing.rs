//! Runs an actor in plain `cargo test`, with a mesh that records its messages, and a clock that the test controls.
//!
//! ```
//! use mechtron::{Call, Failure, Json, actor, testing};
//!
//! #[derive(Default, serde::Serialize, serde::Deserialize)]
//! struct Counter { total: i64 }
//!
//! #[actor(format = 1)]
//! impl Counter {
//!     #[operation]
//!     async fn add(&mut self, call: &Call, Json(step): Json<i64>) -> Result<Json<i64>, Failure> {
//!         self.total += step;
//!         call.emit("changed", Json(self.total))?;
//!         Ok(Json(self.total))
//!     }
//! }
//!
//! let mut counter = testing::Actor::<Counter>::start(()).unwrap();
//! assert_eq!(counter.request("add", Json(2)).unwrap().json::<i64>().unwrap(), 2);
//! counter.restart().unwrap();
//! assert_eq!(counter.request("add", Json(3)).unwrap().json::<i64>().unwrap(), 5);
//! assert_eq!(counter.events().len(), 2);
//! ```
#![allow(clippy::panic, reason = "a test fails by a panic")]

mod record;
mod streams;

use std::{collections::VecDeque, marker::PhantomData, rc::Rc, time::Duration};

use serde::Serialize;

use self::record::TestMesh;
pub use self::record::{Logged, Notified, Sent, Timer};
use crate::{
    Failure, IntoPayload, Kind, Outcome, Saved,
    actor::starter,
    engine::{Engine, Message},
    mesh::StreamMesh,
    stream::{Streaming, Streams},
};

/// An actor under test.
pub struct Actor<A> {
    setup: Setup,
    engine: Engine,
    mesh: Rc<TestMesh>,
    answers: Box<dyn FnMut(&Sent) -> Outcome>,
    sender: String,
    caller: String,
    next_id: u64,
    kind: PhantomData<A>,
}

/// The setup of an actor under test, with more options than [`Actor::start`].
#[derive(Debug, Clone)]
pub struct Setup {
    address: String,
    mechtron: String,
    settings: String,
    saved: Option<Saved>,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            address: "test:app:actor".to_owned(),
            mechtron: "actor".to_owned(),
            settings: String::new(),
            saved: None,
        }
    }
}

impl Setup {
    /// Sets the address of the actor. The default is `test:app:actor`.
    pub fn address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.address);
        self
    }

    /// Sets the merged settings; `()` for none.
    pub fn settings(mut self, settings: impl Serialize) -> Self {
        match serde_json::to_string(&settings) {
            Ok(text) => self.settings = if text == "null" { String::new() } else { text },
            Err(error) => panic!("these settings can't be converted to JSON: {error}"),
        }
        self
    }

    /// Sets the saved state of an earlier instance.
    pub fn saved(mut self, saved: Saved) -> Self {
        self.saved = Some(saved);
        self
    }

    /// Starts the actor. The error comes from the actor's `start`.
    pub fn start<A: crate::Actor>(self) -> Result<Actor<A>, String> {
        let mesh = Rc::new(TestMesh::default());
        let engine = self.engine::<A>(&mesh)?;
        Ok(Actor {
            setup: self,
            engine,
            mesh,
            answers: Box::new(|sent| {
                let Sent { target, operation, .. } = sent;
                Err(Failure::new(404, "no-resource", format!("the test has no answer for `{operation}` to {target}")))
            }),
            sender: "test:sender".to_owned(),
            caller: String::new(),
            next_id: 1,
            kind: PhantomData,
        })
    }

    fn engine<A: crate::Actor>(&self, mesh: &Rc<TestMesh>) -> Result<Engine, String> {
        let mesh = Rc::clone(mesh);
        let streams = Rc::new(Streams::new(Rc::clone(&mesh) as Rc<dyn StreamMesh>)) as Rc<dyn Streaming>;
        let told = [self.address.clone(), self.mechtron.clone(), self.settings.clone()];
        Engine::start(starter::<A>(), mesh, Some(streams), told, self.saved.clone())
    }
}

impl<A: crate::Actor> Actor<A> {
    /// Starts an actor with these settings (`()` for none) at the address `test:app:actor`.
    pub fn start(settings: impl Serialize) -> Result<Self, String> {
        Setup::default().settings(settings).start()
    }

    /// Sets the answers to the actor's own requests. Before this is called, all requests fail with 404.
    pub fn answer(&mut self, answers: impl FnMut(&Sent) -> Outcome + 'static) -> &mut Self {
        self.answers = Box::new(answers);
        self
    }

    /// Sets the sender and the caller of the next messages. The defaults are `test:sender` and an anonymous caller.
    pub fn from(&mut self, sender: &str, caller: &str) -> &mut Self {
        sender.clone_into(&mut self.sender);
        caller.clone_into(&mut self.caller);
        self
    }

    /// Sends a request and runs until its reply. Answers outgoing requests, and ends sleeps immediately.
    pub fn request(&mut self, operation: &str, payload: impl IntoPayload) -> Outcome {
        let id = self.deliver(operation, payload);
        loop {
            if let Some(outcome) = self.mesh.take_reply(id) {
                return outcome;
            }
            if !self.step() {
                panic!(
                    "`{operation}` never ends: it awaits something that is not a request, a sleep or a stream of this test"
                );
            }
        }
    }

    /// Sends a one-way message and runs until the actor has handled it.
    pub fn notify(&mut self, operation: &str, payload: impl IntoPayload) {
        self.put(Kind::Notify, self.sender.clone(), operation, payload);
        while self.step() {}
    }

    /// Delivers an event of the topic `address#event`.
    pub fn event(&mut self, topic: &str, payload: impl IntoPayload) {
        let Some((source, event)) = topic.split_once('#') else {
            panic!("`{topic}` is not a topic; expected address#event");
        };
        self.put(Kind::Event, source.to_owned(), event, payload);
        while self.step() {}
    }

    /// Wakes the actor with a token, also without a timer.
    pub fn wake(&mut self, token: u32) {
        self.run(|engine| engine.wake(token.into()));
        while self.step() {}
    }

    /// Advances the clock. Timers that are due wake the actor, in order.
    pub fn advance(&mut self, by: Duration) {
        let until = self.mesh.now() + u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        while let Some(timer) = self.mesh.due(until) {
            self.run(|engine| engine.wake(timer.token));
            while self.answer_open() {}
        }
        self.mesh.set_now(until);
    }

    /// Returns the state for the next instance.
    pub fn save(&self) -> Result<Saved, String> {
        self.engine.save()
    }

    /// Saves the state, and continues in a new instance with it.
    pub fn restart(&mut self) -> Result<(), String> {
        self.setup.saved = Some(self.save()?);
        self.engine = self.setup.engine::<A>(&self.mesh)?;
        self.mesh.peers.borrow_mut().end_all();
        Ok(())
    }

    /// Delivers a request, but answers nothing that it awaits, for tests of intermediate states. Returns its id.
    pub fn deliver(&mut self, operation: &str, payload: impl IntoPayload) -> u64 {
        self.put(Kind::Request, self.sender.clone(), operation, payload)
    }

    /// The actor's requests without an answer.
    pub fn open(&self) -> Vec<Sent> {
        self.mesh.open.borrow().iter().cloned().collect()
    }

    /// Answers one of them.
    pub fn settle(&mut self, request: u64, outcome: Outcome) {
        self.mesh.open.borrow_mut().retain(|sent| sent.id != request);
        let outcome = outcome.map(|payload| self.attach(payload));
        self.run(|engine| engine.settle(request, outcome));
    }

    /// The reply to a delivered request, once.
    pub fn reply(&mut self, id: u64) -> Option<Outcome> {
        self.mesh.take_reply(id)
    }

    /// All sent one-way messages.
    pub fn notifies(&self) -> Vec<Notified> {
        self.mesh.notified.borrow().clone()
    }

    /// All emitted events; `target` is the event's name.
    pub fn events(&self) -> Vec<Notified> {
        self.mesh.emitted.borrow().clone()
    }

    /// All log lines.
    pub fn logs(&self) -> Vec<Logged> {
        self.mesh.logged.borrow().clone()
    }

    /// The topics of its subscriptions.
    pub fn subscriptions(&self) -> Vec<String> {
        self.mesh.topics.borrow().iter().cloned().collect()
    }

    /// The open timers, earliest first.
    pub fn timers(&self) -> Vec<Timer> {
        self.mesh.timers.borrow().clone()
    }

    fn put(&mut self, kind: Kind, sender: String, operation: &str, payload: impl IntoPayload) -> u64 {
        let payload = match payload.into_payload() {
            Ok(payload) => payload,
            Err(failure) => panic!("this payload can't be made: {failure}"),
        };
        let payload = self.attach(payload);
        let id = self.next_id;
        self.next_id += 1;
        let message = Message {
            id,
            kind,
            sender,
            caller: self.caller.clone(),
            operation: operation.to_owned(),
            payload,
            remaining_ms: if kind == Kind::Request { 30_000 } else { 0 },
        };
        self.run(|engine| {
            engine.receive(message);
        });
        id
    }

    /// Answers open requests, or else reads the streams of sent messages, or else ends the earliest sleep. Returns false if there is
    /// none of these.
    fn step(&mut self) -> bool {
        if self.answer_open() || self.read_sent() {
            return true;
        }
        let Some(timer) = self.mesh.next_sleep() else { return false };
        self.run(|engine| engine.wake(timer.token));
        true
    }

    fn answer_open(&mut self) -> bool {
        let open: VecDeque<Sent> = std::mem::take(&mut *self.mesh.open.borrow_mut());
        let any = !open.is_empty();
        for sent in open {
            let outcome = (self.answers)(&sent);
            self.settle(sent.id, outcome);
        }
        any
    }
}
