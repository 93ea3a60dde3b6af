//! A mesh that records the actions of an actor.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, VecDeque},
};

use crate::{
    Failure, Outcome, Payload,
    log::Level,
    mesh::{Mesh, SLEEP_BIT, StreamMesh},
    testing::streams::{Peers, named},
};

/// A request that the actor sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The id for the answer.
    pub id: u64,
    /// The target, as the actor wrote it.
    pub target: String,
    /// The operation.
    pub operation: String,
    /// The payload.
    pub payload: Payload,
    /// The timeout; 0 is the host's default.
    pub timeout_ms: u32,
}

/// A one-way message, or an event (`target` and `operation` are both its name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notified {
    /// The target, as the actor wrote it.
    pub target: String,
    /// The operation.
    pub operation: String,
    /// The payload.
    pub payload: Payload,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// The level.
    pub level: Level,
    /// The line.
    pub text: String,
}

/// A timer that the actor has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// The time, in milliseconds since the epoch.
    pub at_ms: u64,
    /// The token for `wake`.
    pub token: u64,
}

pub(super) struct TestMesh {
    pub(super) open: RefCell<VecDeque<Sent>>,
    pub(super) notified: RefCell<Vec<Notified>>,
    pub(super) emitted: RefCell<Vec<Notified>>,
    pub(super) logged: RefCell<Vec<Logged>>,
    pub(super) topics: RefCell<BTreeSet<String>>,
    pub(super) timers: RefCell<Vec<Timer>>,
    pub(super) peers: RefCell<Peers>,
    replies: RefCell<BTreeMap<u64, Outcome>>,
    now: Cell<u64>,
    seed: Cell<u64>,
    next_request: Cell<u64>,
}

impl Default for TestMesh {
    fn default() -> Self {
        TestMesh {
            open: RefCell::default(),
            notified: RefCell::default(),
            emitted: RefCell::default(),
            logged: RefCell::default(),
            topics: RefCell::default(),
            timers: RefCell::default(),
            peers: RefCell::default(),
            replies: RefCell::default(),
            // 2024-01-01, so that dates look realistic and every run is the same.
            now: Cell::new(1_704_067_200_000),
            seed: Cell::new(0),
            next_request: Cell::new(1),
        }
    }
}

impl TestMesh {
    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    pub(super) fn set_now(&self, now: u64) {
        self.now.set(now.max(self.now.get()));
    }

    pub(super) fn take_reply(&self, id: u64) -> Option<Outcome> {
        self.replies.borrow_mut().remove(&id)
    }

    /// Removes the earliest timer that is due at this time, and moves the clock to it.
    pub(super) fn due(&self, until: u64) -> Option<Timer> {
        self.take_first(|timer| timer.at_ms <= until)
    }

    /// Removes the earliest timer of a sleep, and moves the clock to it.
    pub(super) fn next_sleep(&self) -> Option<Timer> {
        self.take_first(|timer| timer.token & SLEEP_BIT != 0)
    }

    fn take_first(&self, wanted: impl Fn(&Timer) -> bool) -> Option<Timer> {
        let mut timers = self.timers.borrow_mut();
        let at = timers.iter().position(wanted)?;
        let timer = timers.remove(at);
        self.set_now(timer.at_ms);
        Some(timer)
    }
}

impl Mesh for TestMesh {
    fn request(&self, target: &str, operation: &str, payload: Payload, stream: u64, timeout_ms: u32) -> u64 {
        self.peers.borrow_mut().read_with_request(stream);
        let payload = named(payload, stream);
        let id = self.next_request.get();
        self.next_request.set(id + 1);
        let (target, operation) = (target.to_owned(), operation.to_owned());
        self.open.borrow_mut().push_back(Sent { id, target, operation, payload, timeout_ms });
        id
    }

    fn notify(&self, target: &str, operation: &str, payload: Payload, stream: u64) {
        self.peers.borrow_mut().read_with_request(stream);
        let payload = named(payload, stream);
        let (target, operation) = (target.to_owned(), operation.to_owned());
        self.notified.borrow_mut().push(Notified { target, operation, payload });
    }

    fn reply(&self, id: u64, outcome: Outcome, stream: u64) {
        self.replies.borrow_mut().insert(id, outcome.map(|payload| named(payload, stream)));
    }

    fn emit(&self, event: &str, payload: Payload) {
        self.emitted.borrow_mut().push(Notified { target: event.to_owned(), operation: event.to_owned(), payload });
    }

    fn subscribe(&self, topic: &str) {
        self.topics.borrow_mut().insert(topic.to_owned());
    }

    fn unsubscribe(&self, topic: &str) {
        self.topics.borrow_mut().remove(topic);
    }

    fn wake_after(&self, delay_ms: u32, token: u64) {
        self.wake_at(self.now.get() + u64::from(delay_ms), token);
    }

    fn wake_at(&self, unix_ms: u64, token: u64) {
        let mut timers = self.timers.borrow_mut();
        timers.push(Timer { at_ms: unix_ms.max(self.now.get()), token });
        timers.sort_by_key(|timer| timer.at_ms); // a stable sort keeps the order of timers with equal times
    }

    fn log(&self, level: Level, text: &str) {
        self.logged.borrow_mut().push(Logged { level, text: text.to_owned() });
    }

    fn now_ms(&self) -> u64 {
        self.now.get()
    }

    fn random(&self) -> u64 {
        // SplitMix64: the same numbers in every run.
        self.seed.set(self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut mixed = self.seed.get();
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl StreamMesh for TestMesh {
    fn open_stream(&self) -> u64 {
        self.peers.borrow_mut().open_output()
    }

    fn write(&self, id: u64, bytes: &[u8]) {
        self.peers.borrow_mut().write(id, bytes);
    }

    fn finish(&self, id: u64, error: Option<Failure>) {
        self.peers.borrow_mut().finish(id, error);
    }

    fn grant(&self, id: u64, bytes: u32) {
        self.peers.borrow_mut().grant(id, bytes);
    }

    fn cancel_stream(&self, id: u64) {
        self.peers.borrow_mut().cancel(id);
    }
}
