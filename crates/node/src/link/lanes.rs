//! The order in which waiting messages leave a link.
//!
//! Messages of one sender to one target keep their order; so do the events of a topic and the replies of a responder. Each such
//! sequence is a lane. Lanes take turns by bytes, and long bodies take turns with messages, so that neither a busy sender nor a long
//! body holds up others. Short orders, such as a cancel or a subscription, leave before all of them.

use std::{
    collections::{VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

use bytes::Bytes;
use starlane_protocol::{
    StreamId,
    frame::{self, Frame},
};

use super::{
    LinkConfig, Parcel,
    outflow::{FlowKey, Outflows, Step},
};
use crate::maps::Map;

/// How much a lane may send in one turn, in bytes.
const TURN_BYTES: usize = 16 * 1024;
/// How far bodies and messages may get ahead of each other, in bytes.
const DEBT_BYTES: i64 = frame::CHUNK as i64;
/// A failure of at most this size leaves before other messages, in bytes.
const SHORT_FAILURE_BYTES: usize = 1_024;

/// A waiting message.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) parcel: Parcel,
    /// When its sender gives up.
    pub(crate) deadline: Option<u64>,
    /// Its place among all messages of the link.
    number: u64,
}

/// What may leave now, by the room in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct May {
    pub(super) urgent: bool,
    pub(super) messages: bool,
    pub(super) bodies: bool,
}

/// What leaves next.
#[derive(Debug)]
pub(super) enum Next {
    Message(Box<Waiting>),
    /// A chunk, and whether it is the last of its body.
    Chunk(Box<Frame>, bool),
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Box<Waiting>>,
    /// Whether the body of its last message is on its way. The next message waits for its end.
    is_busy: bool,
}

/// All waiting messages of a link.
#[derive(Debug)]
pub(super) struct Lanes {
    urgent: VecDeque<Box<Waiting>>,
    /// By a hash of sender and target. Two sequences with one hash share a lane, which harms nothing.
    lanes: Map<u64, Lane>,
    /// The lanes whose first message may leave, in the order of their turns.
    turns: VecDeque<u64>,
    /// What the first lane has sent in its turn, in bytes.
    turn_bytes: usize,
    /// The bodies and streams whose parts may leave, in the order of their turns.
    parts: VecDeque<FlowKey>,
    flows: Outflows,
    /// The lanes whose first message has a long body, while there is no room for another.
    parked: VecDeque<u64>,
    /// The bytes that parts have sent beyond those of messages.
    ahead: i64,
    /// The lane of each waiting request.
    requests: Map<u64, u64>,
    last_number: u64,
    /// No waiting one-way message has an earlier deadline.
    first_deadline: Option<u64>,
    /// The number of waiting messages.
    count: usize,
    /// The memory of everything that waits, in bytes.
    bytes: usize,
}

impl Lanes {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            urgent: VecDeque::new(),
            lanes: Map::new(),
            turns: VecDeque::new(),
            turn_bytes: 0,
            parts: VecDeque::new(),
            flows: Outflows::new(config.first_credit as u32, config.open_streams as u32),
            parked: VecDeque::new(),
            ahead: 0,
            requests: Map::new(),
            last_number: 0,
            first_deadline: None,
            count: 0,
            bytes: 0,
        }
    }

    /// The memory of everything that waits, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.message_bytes() + self.flows.stream_bytes()
    }

    /// The memory of the messages that wait and of the bodies on their way, in bytes.
    pub(super) fn message_bytes(&self) -> usize {
        self.bytes + self.flows.body_bytes()
    }

    /// The streams and bodies that this link sends. What can leave next goes to [`Self::go_on`].
    pub(super) fn flows(&mut self) -> &mut Outflows {
        &mut self.flows
    }

    pub(super) fn is_announced(&self, id: StreamId) -> bool {
        self.flows.is_announced(id)
    }

    /// Lets a stream or a body take its turn, or handles its end.
    pub(super) fn go_on(&mut self, step: Step) {
        match step {
            Step::None => {}
            Step::Turn(key) => self.parts.push_back(key),
            Step::Over { end, lane } => {
                if let Some(end) = end {
                    self.add(*end, None);
                }
                self.free(lane);
                self.unpark();
            }
        }
    }

    /// The body of the last message of a lane has left.
    fn free(&mut self, lane: Option<u64>) {
        let Some(key) = lane else { return };
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        lane.is_busy = false;
        if lane.waiting.is_empty() {
            self.lanes.remove(&key);
        } else {
            self.turns.push_back(key);
        }
    }

    fn unpark(&mut self) {
        self.turns.extend(self.parked.drain(..));
    }

    /// The number of waiting messages.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether neither messages wait nor bodies are on their way.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.lanes.is_empty() && self.parts.is_empty()
    }

    /// Adds a message behind those of its lane.
    pub(super) fn add(&mut self, parcel: Parcel, deadline: Option<u64>) {
        self.last_number += 1;
        self.put(Box::new(Waiting { parcel, deadline, number: self.last_number }));
    }

    fn put(&mut self, waiting: Box<Waiting>) {
        if let Parcel::Credit { of, limit } = waiting.parcel
            && self.replace_credit(of, limit)
        {
            return;
        }
        self.bytes += waiting.parcel.weight();
        self.count += 1;
        if matches!(waiting.parcel, Parcel::Notify { .. }) {
            self.first_deadline = self.first_deadline.into_iter().chain(waiting.deadline).min();
        }
        let Some(key) = lane_of(&waiting.parcel) else { return self.urgent.push_back(waiting) };
        if let Parcel::Request { id, .. } = waiting.parcel {
            self.requests.insert(id, key);
        }
        let Some(lane) = self.lanes.get_mut(&key) else {
            let lane = Lane { waiting: VecDeque::from([waiting]), is_busy: false };
            self.lanes.insert(key, lane);
            return self.turns.push_back(key);
        };
        lane.waiting.push_back(waiting);
    }

    /// A newer credit of a stream replaces a waiting one.
    fn replace_credit(&mut self, of: u64, newer: u64) -> bool {
        let found = self.urgent.iter_mut().find_map(|waiting| match &mut waiting.parcel {
            Parcel::Credit { of: its, limit } if *its == of => Some(limit),
            _ => None,
        });
        found.map(|limit| *limit = newer).is_some()
    }

    /// Whether a request waits.
    pub(super) fn has(&self, request: u64) -> bool {
        self.requests.contains_key(&request)
    }

    /// Removes a waiting request. Returns false if it does not wait.
    pub(super) fn remove(&mut self, request: u64) -> bool {
        let Some(key) = self.requests.remove(&request) else { return false };
        let Some(lane) = self.lanes.get_mut(&key) else { return false };
        let is_it = |waiting: &Waiting| matches!(waiting.parcel, Parcel::Request { id, .. } if id == request);
        let Some(at) = lane.waiting.iter().position(|waiting| is_it(waiting)) else { return false };
        if let Some(waiting) = lane.waiting.remove(at) {
            self.bytes -= waiting.parcel.weight();
            self.count -= 1;
        }
        // The next message of the lane may need no room.
        self.unpark();
        self.forget_if_empty(key);
        true
    }

    /// Removes waiting messages, in the order in which they were added. Bodies on their way stay.
    pub(super) fn take(&mut self, which: &dyn Fn(&Waiting) -> bool) -> VecDeque<Box<Waiting>> {
        let mut taken = Vec::new();
        let mut stay = Vec::new();
        let mut sort = |waiting: Box<Waiting>| if which(&waiting) { taken.push(waiting) } else { stay.push(waiting) };
        self.urgent.drain(..).for_each(&mut sort);
        let mut bodies = Map::new();
        for (key, lane) in std::mem::take(&mut self.lanes) {
            lane.waiting.into_iter().for_each(&mut sort);
            if lane.is_busy {
                bodies.insert(key, Lane { waiting: VecDeque::new(), is_busy: true });
            }
        }
        self.bytes = 0;
        (self.lanes, self.requests) = (bodies, Map::new());
        self.turns.clear();
        self.parked.clear();
        (self.count, self.first_deadline) = (0, None);
        for list in [&mut taken, &mut stay] {
            list.sort_by_key(|waiting| waiting.number);
        }
        stay.into_iter().for_each(|waiting| self.put(waiting));
        taken.into()
    }

    /// No waiting one-way message has an earlier deadline.
    pub(super) fn first_deadline(&self) -> Option<u64> {
        self.first_deadline
    }

    /// Removes the waiting events of a topic.
    pub(super) fn remove_events(&mut self, refused: &Parcel) {
        let (Parcel::Refused { topic: of, .. }, Some(key)) = (refused, lane_of(refused)) else { return };
        let Some(lane) = self.lanes.get_mut(&key) else { return };
        let before = lane.waiting.len();
        let is_its = |waiting: &Waiting| matches!(&waiting.parcel, Parcel::Event { topic, .. } if topic == of);
        lane.waiting.retain(|waiting| {
            let stays = !is_its(waiting);
            if !stays {
                self.bytes -= waiting.parcel.weight();
            }
            stays
        });
        self.count -= before - lane.waiting.len();
        self.unpark();
        self.forget_if_empty(key);
    }

    /// Removes a lane in which nothing waits and whose last body has left.
    fn forget_if_empty(&mut self, key: u64) {
        if self.lanes.get(&key).is_some_and(|lane| lane.waiting.is_empty() && !lane.is_busy) {
            self.lanes.remove(&key);
            self.turns.retain(|turn| *turn != key);
            self.parked.retain(|turn| *turn != key);
        }
    }

    /// Whether something can leave.
    pub(super) fn has_output(&self, may: May) -> bool {
        (may.urgent && !self.urgent.is_empty())
            || (may.messages && !self.turns.is_empty())
            || (may.bodies && !self.parts.is_empty())
    }

    /// Takes what leaves next, as a chunk with the sequence `seq` or as a message for it.
    pub(super) fn next(&mut self, seq: u64, may: May) -> Option<Next> {
        if may.urgent
            && let Some(waiting) = self.urgent.pop_front()
        {
            self.bytes -= waiting.parcel.weight();
            self.count -= 1;
            return Some(Next::Message(waiting));
        }
        let (messages, bodies) = (may.messages && !self.turns.is_empty(), may.bodies && !self.parts.is_empty());
        let message = if messages && !(bodies && self.ahead <= 0) { self.message() } else { None };
        if message.is_none() && bodies { self.part(seq) } else { message }
    }

    fn message(&mut self) -> Option<Next> {
        let (key, waiting) = loop {
            let key = *self.turns.front()?;
            let lane = self.lanes.get_mut(&key)?;
            let first = &lane.waiting.front()?.parcel;
            if self.flows.has_room_for_body() || first.length() <= frame::CHUNK {
                break (key, lane.waiting.pop_front()?);
            }
            self.turns.pop_front();
            self.turn_bytes = 0;
            self.parked.push_back(key);
        };
        let lane = self.lanes.get_mut(&key)?;
        let weight = waiting.parcel.weight();
        self.bytes -= weight;
        self.count -= 1;
        if let Parcel::Request { id, .. } = waiting.parcel {
            self.requests.remove(&id);
        }
        let sent = if waiting.parcel.length() > frame::CHUNK { weight - waiting.parcel.length() } else { weight };
        if !self.parts.is_empty() {
            self.ahead = (self.ahead - sent as i64).max(-DEBT_BYTES);
        }
        self.turn_bytes += sent;
        if lane.waiting.is_empty() {
            self.turns.pop_front();
            self.turn_bytes = 0;
            // A body that follows keeps the lane.
            self.lanes.remove(&key);
        } else if self.turn_bytes >= TURN_BYTES {
            self.turns.rotate_left(1);
            self.turn_bytes = 0;
        }
        Some(Next::Message(waiting))
    }

    /// Sends a body in parts behind the message `of`. The lane of the message waits until the last one has left.
    pub(super) fn follow(&mut self, lane: LaneKey, of: u64, body: Bytes) {
        let Some(key) = lane.0 else { return };
        if self.parts.is_empty() {
            self.ahead = 0;
        }
        if let Some(lane) = self.lanes.get_mut(&key) {
            lane.is_busy = true;
        } else {
            self.lanes.insert(key, Lane { waiting: VecDeque::new(), is_busy: true });
        }
        self.turns.retain(|turn| *turn != key);
        let step = self.flows.follow(key, of, body);
        self.go_on(step);
    }

    /// The next part, whose turn it is.
    fn part(&mut self, seq: u64) -> Option<Next> {
        loop {
            let key = self.parts.pop_front()?;
            // What has ended before its turn has nothing to send.
            let Some((part, step)) = self.flows.part(key, seq) else { continue };
            if let Frame::Chunk { part, .. } = &part {
                self.ahead = (self.ahead + part.0.len() as i64).min(DEBT_BYTES);
            }
            let is_last = matches!(step, Step::Over { lane: Some(_), .. });
            self.go_on(step);
            return Some(Next::Chunk(Box::new(part), is_last));
        }
    }
}

/// The lane of a message that leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneKey(Option<u64>);

impl LaneKey {
    pub(super) fn of(parcel: &Parcel) -> Self {
        Self(lane_of(parcel))
    }
}

/// The lane of a message. None for those that leave before all others.
fn lane_of(parcel: &Parcel) -> Option<u64> {
    let mut hasher = DefaultHasher::new();
    match parcel {
        Parcel::Request { message, .. } | Parcel::Notify { message } => {
            (0, message.from.as_str(), message.to.as_str()).hash(&mut hasher);
        }
        Parcel::Response { outcome: Err(failure), .. } if failure.message.len() <= SHORT_FAILURE_BYTES => return None,
        Parcel::Response { responder, .. } => (1, responder.as_ref().map(|of| of.as_str())).hash(&mut hasher),
        Parcel::Event { topic, .. } | Parcel::Gap { topic } | Parcel::Refused { topic, .. } => {
            (2, topic.address.as_str(), &topic.event).hash(&mut hasher);
        }
        Parcel::Subscribe { .. }
        | Parcel::Unsubscribe { .. }
        | Parcel::Cancel { .. }
        | Parcel::Serve { .. }
        | Parcel::Release { .. }
        | Parcel::Credit { .. }
        | Parcel::End { .. }
        | Parcel::Stop { .. } => return None,
    }
    Some(hasher.finish())
}

#[cfg(test)]
mod tests;
