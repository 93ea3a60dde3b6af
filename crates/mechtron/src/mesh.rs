//! The interface between the SDK and its runner: a host (with the imports of `guest`) or a test.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use crate::{Failure, Outcome, Payload, log::Level, stream::Streaming};

/// The imports of the guest interface, with a method for each. `stream` is the number of the payload's stream, or 0.
pub(crate) trait Mesh {
    fn request(&self, target: &str, operation: &str, payload: Payload, stream: u64, timeout_ms: u32) -> u64;
    fn notify(&self, target: &str, operation: &str, payload: Payload, stream: u64);
    fn reply(&self, id: u64, outcome: Outcome, stream: u64);
    fn emit(&self, event: &str, payload: Payload);
    fn subscribe(&self, topic: &str);
    fn unsubscribe(&self, topic: &str);
    fn wake_after(&self, delay_ms: u32, token: u64);
    fn wake_at(&self, unix_ms: u64, token: u64);
    fn log(&self, level: Level, text: &str);
    fn now_ms(&self) -> u64;
    fn random(&self) -> u64;
}

/// The imports for streams. Only a module with streams has them.
pub(crate) trait StreamMesh {
    fn open_stream(&self) -> u64;
    fn write(&self, id: u64, bytes: &[u8]);
    fn finish(&self, id: u64, error: Option<Failure>);
    fn grant(&self, id: u64, bytes: u32);
    fn cancel_stream(&self, id: u64);
}

/// Timer tokens with this bit belong to [`crate::Sleep`]. Tokens below 2³² belong to the author.
pub(crate) const SLEEP_BIT: u64 = 1 << 63;

/// The shared data of one actor's futures: the mesh, the actor's address, and open requests and sleeps.
pub(crate) struct Wiring {
    pub(crate) mesh: Rc<dyn Mesh>,
    pub(crate) address: String,
    pub(crate) mechtron: String,
    pub(crate) settings: String,
    /// Open requests, each with its outcome when it has come.
    pub(crate) requests: RefCell<BTreeMap<u64, Option<Outcome>>>,
    /// Open sleeps, and whether each is over.
    pub(crate) sleeps: RefCell<BTreeMap<u64, bool>>,
    /// The actor's streams; `None` in a module without streams.
    pub(crate) streams: Option<Rc<dyn Streaming>>,
    next_sleep: Cell<u64>,
}

impl Wiring {
    pub(crate) fn new(
        mesh: Rc<dyn Mesh>,
        streams: Option<Rc<dyn Streaming>>,
        [address, mechtron, settings]: [String; 3],
    ) -> Self {
        // Timers survive an instance. A timer of an earlier instance must not end a sleep of this one.
        let next_sleep = Cell::new(mesh.random() | SLEEP_BIT);
        Wiring {
            mesh,
            address,
            mechtron,
            settings,
            requests: RefCell::default(),
            sleeps: RefCell::default(),
            streams,
            next_sleep,
        }
    }

    pub(crate) fn sleep_token(&self) -> u64 {
        let token = self.next_sleep.get();
        self.next_sleep.set(token.wrapping_add(1) | SLEEP_BIT);
        token
    }

    /// Sets a timer. `wake_after` of the interface ends at 49 days.
    pub(crate) fn set_timer(&self, delay: Duration, token: u64) {
        match u32::try_from(delay.as_millis()) {
            Ok(delay_ms) => self.mesh.wake_after(delay_ms, token),
            Err(_) => {
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.mesh.wake_at(self.mesh.now_ms().saturating_add(delay_ms), token);
            }
        }
    }
}

thread_local! {
    static AMBIENT: RefCell<Option<Rc<dyn Mesh>>> = const { RefCell::new(None) };
}

/// Sets the mesh for `log`.
pub(crate) fn enter(mesh: &Rc<dyn Mesh>) {
    AMBIENT.with(|ambient| *ambient.borrow_mut() = Some(Rc::clone(mesh)));
}

/// Returns the mesh of the running actor.
pub(crate) fn ambient() -> Option<Rc<dyn Mesh>> {
    AMBIENT.with(|ambient| ambient.borrow().clone())
}
