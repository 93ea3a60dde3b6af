//! The interface between the SDK and its runner: a host (with the imports of `guest`) or a test.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use crate::{Outcome, Payload, log::Level};

/// The imports of the guest interface, with a method for each.
pub(crate) trait Mesh {
    fn request(&self, target: &str, operation: &str, payload: Payload, timeout_ms: u32) -> u64;
    fn notify(&self, target: &str, operation: &str, payload: Payload);
    fn reply(&self, id: u64, outcome: Outcome);
    fn emit(&self, event: &str, payload: Payload);
    fn subscribe(&self, topic: &str);
    fn unsubscribe(&self, topic: &str);
    fn wake_after(&self, delay_ms: u32, token: u64);
    fn log(&self, level: Level, text: &str);
    fn now_ms(&self) -> u64;
    fn random(&self) -> u64;
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
    next_sleep: Cell<u64>,
}

impl Wiring {
    pub(crate) fn new(mesh: Rc<dyn Mesh>, address: String, mechtron: String, settings: String) -> Self {
        // Timers survive an instance. A timer of an earlier instance must not end a sleep of this one.
        let next_sleep = Cell::new(mesh.random() | SLEEP_BIT);
        Wiring {
            mesh,
            address,
            mechtron,
            settings,
            requests: RefCell::default(),
            sleeps: RefCell::default(),
            next_sleep,
        }
    }

    pub(crate) fn sleep_token(&self) -> u64 {
        let token = self.next_sleep.get();
        self.next_sleep.set(token.wrapping_add(1) | SLEEP_BIT);
        token
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
