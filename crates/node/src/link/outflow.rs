//! The streams and long bodies that a link sends: their parts wait here until the peer's credit and the window have room for them.

use std::collections::VecDeque;

use bytes::Bytes;
use starlane_protocol::{
    Failure, StreamId,
    frame::{self, ChunkBytes, Frame},
    stream::join_small,
};

use super::Parcel;
use crate::maps::Map;

/// The memory of a stream in addition to its parts, in bytes.
const OVERHEAD: usize = 256;

/// What is sent in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FlowKey {
    /// The whole body of the last message of a lane.
    Body(u64),
    Stream(StreamId),
}

/// One stream or body to the peer.
#[derive(Debug)]
struct Outflow {
    /// The sequence of the frame that announced it; none while that waits.
    of: Option<u64>,
    /// How many bytes the peer allows in total.
    limit: u64,
    /// How many bytes have left.
    sent: u64,
    parts: VecDeque<Bytes>,
    /// Set when no more parts come: complete, or why not.
    end: Option<Option<Failure>>,
    /// Whether it waits for its turn.
    has_turn: bool,
}

/// All streams and bodies to the peer.
#[derive(Debug)]
pub(super) struct Outflows {
    flows: Map<FlowKey, Outflow>,
    /// The announced ones, by the sequence of their frames.
    announced: Map<u64, FlowKey>,
    /// How many of these are bodies.
    bodies: usize,
    /// The credit that each begins with, and how many of each kind may be announced at a time: limits of the peer.
    first_credit: u64,
    most: usize,
    /// The same of this host, before the limits of a peer are known.
    own: (u64, usize),
    body_bytes: usize,
    stream_bytes: usize,
    /// How many bytes of which stream have left since this was last asked, and whether its end has.
    left: Vec<(StreamId, u64, bool)>,
}

/// What can leave next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    None,
    /// It has parts, and takes its turn among all.
    Turn(FlowKey),
    /// It has left. Its end, if the peer needs one, leaves before all messages. `lane` had to wait for it.
    Over {
        end: Option<Box<Parcel>>,
        lane: Option<u64>,
    },
}

impl Outflows {
    pub(super) fn new(first_credit: u32, most: u32) -> Self {
        Self {
            flows: Map::new(),
            announced: Map::new(),
            bodies: 0,
            first_credit: first_credit.into(),
            most: most as usize,
            own: (first_credit.into(), most as usize),
            body_bytes: 0,
            stream_bytes: 0,
            left: Vec::new(),
        }
    }

    /// Sets the limits of the peer.
    pub(super) fn limit(&mut self, first_credit: u32, most: u32) {
        (self.first_credit, self.most) = (first_credit.into(), self.own.1.min(most as usize).max(1));
    }

    /// The memory of the waiting parts of streams, in bytes.
    pub(super) fn stream_bytes(&self) -> usize {
        self.stream_bytes + OVERHEAD * (self.flows.len() - self.bodies)
    }

    /// The memory of the bodies on their way, in bytes.
    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Whether another stream may be sent, beside those whose messages wait.
    pub(super) fn has_room_for_stream(&self) -> bool {
        self.flows.len() - self.bodies < self.most
    }

    /// Whether another body may be announced.
    pub(super) fn has_room_for_body(&self) -> bool {
        self.bodies < self.most
    }

    /// Adds a stream whose message waits.
    pub(super) fn open(&mut self, id: StreamId) {
        // The message may have waited for another link before.
        self.flows.entry(FlowKey::Stream(id)).or_insert_with(|| Outflow {
            of: None,
            limit: 0,
            sent: 0,
            parts: VecDeque::new(),
            end: None,
            has_turn: false,
        });
    }

    /// The message of a stream has left in the frame `of`. Returns what leaves next, as the other functions do.
    pub(super) fn announce(&mut self, id: StreamId, of: u64) -> Step {
        let (key, credit) = (FlowKey::Stream(id), self.first_credit);
        if let Some(flow) = self.flows.get_mut(&key) {
            (flow.of, flow.limit) = (Some(of), credit);
            self.announced.insert(of, key);
        }
        self.step(key)
    }

    /// The message of a lane has left in the frame `of`, and its body follows.
    pub(super) fn follow(&mut self, lane: u64, of: u64, body: Bytes) -> Step {
        let key = FlowKey::Body(lane);
        self.body_bytes += body.len();
        let (limit, parts) = (self.first_credit, VecDeque::from([body]));
        let flow = Outflow { of: Some(of), limit, sent: 0, parts, end: Some(None), has_turn: false };
        self.flows.insert(key, flow);
        self.announced.insert(of, key);
        self.bodies += 1;
        self.step(key)
    }

    /// Whether the message of a stream has left and its end has not.
    pub(super) fn is_announced(&self, id: StreamId) -> bool {
        self.flows.get(&FlowKey::Stream(id)).is_some_and(|flow| flow.of.is_some())
    }

    /// Adds bytes to a stream.
    pub(super) fn write(&mut self, id: StreamId, part: Bytes) -> Step {
        let key = FlowKey::Stream(id);
        if let Some(flow) = self.flows.get_mut(&key).filter(|flow| flow.end.is_none()) {
            self.stream_bytes += part.len();
            if let Some(part) = join_small(flow.parts.back_mut(), part) {
                flow.parts.push_back(part);
            }
        }
        self.step(key)
    }

    /// Ends a stream behind its parts. After a failure they are not worth sending.
    pub(super) fn end(&mut self, id: StreamId, failure: Option<Failure>) -> Step {
        let key = FlowKey::Stream(id);
        match (failure, self.flows.get_mut(&key)) {
            (Some(failure), _) => self.fail(key, failure),
            (None, Some(flow)) => {
                flow.end.get_or_insert(None);
                self.step(key)
            }
            (None, None) => Step::None,
        }
    }

    /// Ends a stream or a body at once: what was not sent is dropped.
    pub(super) fn fail(&mut self, key: FlowKey, failure: Failure) -> Step {
        let Some(flow) = self.flows.get_mut(&key).filter(|flow| !matches!(flow.end, Some(Some(_)))) else {
            return Step::None;
        };
        let dropped: usize = flow.parts.drain(..).map(|part| part.len()).sum();
        flow.end = Some(Some(failure));
        *self.bytes_of(key) -= dropped;
        self.step(key)
    }

    /// The peer allows `limit` bytes of a stream or body. What has ended needs no credit.
    pub(super) fn credit(&mut self, of: u64, limit: u64) -> Step {
        let Some(key) = self.announced.get(&of).copied() else { return Step::None };
        if let Some(flow) = self.flows.get_mut(&key) {
            flow.limit = flow.limit.max(limit);
        }
        self.step(key)
    }

    /// What the frame `of` announced, unless it has ended.
    pub(super) fn announced_by(&self, of: u64) -> Option<FlowKey> {
        self.announced.get(&of).copied()
    }

    fn bytes_of(&mut self, key: FlowKey) -> &mut usize {
        match key {
            FlowKey::Body(_) => &mut self.body_bytes,
            FlowKey::Stream(_) => &mut self.stream_bytes,
        }
    }

    /// What can be sent now: parts, or the end behind them.
    fn step(&mut self, key: FlowKey) -> Step {
        let Some(flow) = self.flows.get_mut(&key) else { return Step::None };
        let Some(of) = flow.of else { return Step::None };
        if let (true, Some(failure)) = (flow.parts.is_empty(), &flow.end) {
            let (total, failure) = (flow.sent, failure.clone());
            self.flows.remove(&key);
            self.announced.remove(&of);
            return match key {
                FlowKey::Body(lane) => {
                    self.bodies -= 1;
                    // A complete body has ended with its last part.
                    let end = failure.map(|failure| Box::new(Parcel::End { of, total, failure: Some(failure) }));
                    Step::Over { end, lane: Some(lane) }
                }
                FlowKey::Stream(id) => {
                    self.left.push((id, 0, true));
                    Step::Over { end: Some(Box::new(Parcel::End { of, total, failure })), lane: None }
                }
            };
        }
        let may = !flow.has_turn && flow.sent < flow.limit && !flow.parts.is_empty();
        flow.has_turn |= may;
        if may { Step::Turn(key) } else { Step::None }
    }

    /// The next part of what has its turn, and what can leave after that.
    pub(super) fn part(&mut self, key: FlowKey, seq: u64) -> Option<(Frame, Step)> {
        // A body of the same lane may have ended before its turn.
        let flow = self.flows.get_mut(&key).filter(|flow| flow.has_turn)?;
        flow.has_turn = false;
        let (of, first) = (flow.of?, flow.parts.front_mut()?);
        let length = first.len().min(frame::CHUNK).min(usize::try_from(flow.limit - flow.sent).unwrap_or(usize::MAX));
        let part = first.split_to(length);
        if first.is_empty() {
            flow.parts.pop_front();
        }
        let offset = flow.sent;
        flow.sent += length as u64;
        *self.bytes_of(key) -= length;
        if let FlowKey::Stream(id) = key {
            self.left.push((id, length as u64, false));
        }
        let frame = Frame::Chunk { seq, of, offset, part: ChunkBytes(part) };
        Some((frame, self.step(key)))
    }

    /// What has left of streams since this was last asked.
    pub(super) fn take_left(&mut self) -> Vec<(StreamId, u64, bool)> {
        std::mem::take(&mut self.left)
    }

    /// Begins anew for another link. Returns the streams that the peer knew; the others wait with their messages.
    pub(super) fn restart(&mut self) -> Vec<StreamId> {
        // The ends of these waited.
        let ended = self.take_left().into_iter().filter(|(_, _, is_end)| *is_end).map(|(id, ..)| id);
        let mut known: Vec<_> = ended.collect();
        for (_, key) in std::mem::take(&mut self.announced) {
            let flow = self.flows.remove(&key);
            *self.bytes_of(key) -= flow.into_iter().flat_map(|flow| flow.parts).map(|part| part.len()).sum::<usize>();
            if let FlowKey::Stream(id) = key {
                known.push(id);
            }
        }
        self.bodies = 0;
        (self.first_credit, self.most) = self.own;
        known
    }

    /// Forgets a stream whose message does not leave.
    pub(super) fn forget(&mut self, id: StreamId) {
        if let Some(flow) = self.flows.remove(&FlowKey::Stream(id)) {
            self.stream_bytes -= flow.parts.iter().map(Bytes::len).sum::<usize>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: StreamId = StreamId(1);

    fn part(flows: &mut Outflows) -> (u64, usize, Step) {
        match flows.part(FlowKey::Stream(ONE), 9).unwrap() {
            (Frame::Chunk { offset, part, .. }, step) => (offset, part.0.len(), step),
            other => panic!("{other:?}"),
        }
    }

    fn over(total: u64, failure: Option<Failure>) -> Step {
        Step::Over { end: Some(Box::new(Parcel::End { of: 7, total, failure })), lane: None }
    }

    #[test]
    fn body_ends_with_its_last_part_or_when_the_peer_refuses_it() {
        for refuse in [false, true] {
            let mut flows = Outflows::new(100, 1);
            let key = FlowKey::Body(4);
            assert_eq!(flows.follow(4, 7, Bytes::from(vec![1; 150])), Step::Turn(key));
            assert!(!flows.has_room_for_body() && flows.has_room_for_stream());
            let (_, step) = flows.part(key, 9).unwrap();
            assert_eq!((step, flows.body_bytes()), (Step::None, 50), "the credit is used");
            if refuse {
                let failure = Failure::no_grant("not you");
                let end = Parcel::End { of: 7, total: 100, failure: Some(failure.clone()) };
                assert_eq!(flows.fail(key, failure), Step::Over { end: Some(Box::new(end)), lane: Some(4) });
            } else {
                assert_eq!(flows.credit(7, 150), Step::Turn(key));
                let (_, step) = flows.part(key, 9).unwrap();
                assert_eq!(step, Step::Over { end: None, lane: Some(4) });
            }
            assert!(flows.has_room_for_body() && flows.body_bytes() == 0 && flows.take_left().is_empty());
        }
    }

    #[test]
    fn parts_leave_within_the_credit_and_the_end_behind_them() {
        let mut flows = Outflows::new(100, 64);
        flows.open(ONE);
        assert_eq!(flows.write(ONE, Bytes::from(vec![1; 150])), Step::None, "its message waits");
        assert!(flows.has_room_for_stream() && !flows.is_announced(ONE));
        assert_eq!(flows.announce(ONE, 7), Step::Turn(FlowKey::Stream(ONE)));
        assert_eq!(part(&mut flows), (0, 100, Step::None));
        assert_eq!((flows.credit(7, 90), flows.end(ONE, None)), (Step::None, Step::None), "a limit never falls");
        assert_eq!(flows.credit(7, 130), Step::Turn(FlowKey::Stream(ONE)));
        assert_eq!(flows.credit(7, 140), Step::None, "it has its turn");
        assert_eq!(part(&mut flows), (100, 40, Step::None));
        assert_eq!(flows.credit(7, 1_000), Step::Turn(FlowKey::Stream(ONE)));
        assert_eq!(part(&mut flows), (140, 10, over(150, None)));
        let left = vec![(ONE, 100, false), (ONE, 40, false), (ONE, 10, false), (ONE, 0, true)];
        assert_eq!((flows.stream_bytes(), flows.take_left()), (0, left));
        assert_eq!((flows.credit(7, 2_000), flows.announced_by(7)), (Step::None, None), "it is gone");
    }

    #[test]
    fn failed_stream_sends_its_end_at_once() {
        let mut flows = Outflows::new(100, 64);
        flows.open(ONE);
        flows.write(ONE, Bytes::from(vec![1; 500]));
        flows.announce(ONE, 7);
        part(&mut flows);
        let failure = Some(Failure::cancelled("enough"));
        assert_eq!(flows.announced_by(7), Some(FlowKey::Stream(ONE)));
        let ended = flows.end(ONE, failure.clone());
        assert_eq!((ended, flows.stream_bytes()), (over(100, failure), 0));
        assert_eq!(flows.write(ONE, Bytes::from_static(b"late")), Step::None);
    }

    #[test]
    fn streams_that_the_peer_does_not_know_survive_the_link() {
        let mut flows = Outflows::new(100, 1);
        flows.open(ONE);
        flows.open(StreamId(2));
        flows.write(ONE, Bytes::from_static(b"known"));
        flows.write(StreamId(2), Bytes::from_static(b"waits"));
        flows.announce(ONE, 7);
        assert!(!flows.has_room_for_stream());
        assert_eq!(flows.restart(), [ONE]);
        assert!(!flows.has_room_for_stream(), "the other one still waits");
        assert_eq!(flows.stream_bytes(), OVERHEAD + 5);
        assert_eq!(flows.announce(StreamId(2), 1), Step::Turn(FlowKey::Stream(StreamId(2))));
        flows.forget(StreamId(2));
        assert_eq!(flows.stream_bytes(), 0);
    }
}
