//! The streams that a link sends: their parts wait here until the peer's credit and the window have room for them.

use std::collections::VecDeque;

use bytes::Bytes;
use starlane_protocol::{
    Failure, StreamId,
    frame::{self, ChunkBytes, Frame},
};

use super::Parcel;
use crate::maps::Map;

/// The memory of a stream in addition to its parts, in bytes.
const OVERHEAD: usize = 256;

/// One stream to the peer.
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

/// All streams to the peer.
#[derive(Debug)]
pub(super) struct Outflows {
    streams: Map<StreamId, Outflow>,
    /// The announced ones, by the sequence of their frames.
    announced: Map<u64, StreamId>,
    /// The credit that a stream begins with, and how many may be announced at a time: limits of the peer.
    first_credit: u64,
    most: usize,
    bytes: usize,
    /// How many bytes of which stream have left since this was last asked, and whether its end has.
    left: Vec<(StreamId, u64, bool)>,
}

impl Outflows {
    pub(super) fn new(first_credit: u32, most: u32) -> Self {
        Self {
            streams: Map::new(),
            announced: Map::new(),
            first_credit: first_credit.into(),
            most: most as usize,
            bytes: 0,
            left: Vec::new(),
        }
    }

    /// Sets the limits of the peer.
    pub(super) fn limit(&mut self, first_credit: u32, most: u32) {
        (self.first_credit, self.most) = (first_credit.into(), self.most.min(most as usize).max(1));
    }

    /// The memory of all waiting parts, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + OVERHEAD * self.streams.len()
    }

    /// Whether another stream may be announced.
    pub(super) fn has_room(&self) -> bool {
        self.announced.len() < self.most
    }

    /// Adds a stream whose message waits.
    pub(super) fn open(&mut self, id: StreamId) {
        if self.streams.contains_key(&id) {
            // The message waited for another link before.
            return;
        }
        let flow = Outflow { of: None, limit: 0, sent: 0, parts: VecDeque::new(), end: None, has_turn: false };
        self.streams.insert(id, flow);
    }

    /// The message of a stream has left in the frame `of`. Returns what leaves next, as the other functions do.
    pub(super) fn announce(&mut self, id: StreamId, of: u64) -> Step {
        let credit = self.first_credit;
        if let Some(flow) = self.streams.get_mut(&id) {
            (flow.of, flow.limit) = (Some(of), credit);
            self.announced.insert(of, id);
        }
        self.step(id)
    }

    /// Whether the message of a stream has left and its end has not.
    pub(super) fn is_announced(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_some_and(|flow| flow.of.is_some())
    }

    /// Adds bytes to a stream.
    pub(super) fn write(&mut self, id: StreamId, part: Bytes) -> Step {
        if let Some(flow) = self.streams.get_mut(&id).filter(|flow| flow.end.is_none()) {
            self.bytes += part.len();
            flow.parts.push_back(part);
        }
        self.step(id)
    }

    /// Ends a stream behind its parts. After a failure they are not worth sending.
    pub(super) fn end(&mut self, id: StreamId, failure: Option<Failure>) -> Step {
        if let Some(flow) = self.streams.get_mut(&id).filter(|flow| flow.end.is_none()) {
            if failure.is_some() {
                self.bytes -= flow.parts.drain(..).map(|part| part.len()).sum::<usize>();
            }
            flow.end = Some(failure);
        }
        self.step(id)
    }

    /// The peer allows `limit` bytes of a stream. A stream that has ended needs no credit.
    pub(super) fn credit(&mut self, of: u64, limit: u64) -> Step {
        let Some(id) = self.announced.get(&of).copied() else { return Step::None };
        if let Some(flow) = self.streams.get_mut(&id) {
            flow.limit = flow.limit.max(limit);
        }
        self.step(id)
    }

    /// The peer wants no more of a stream. Returns the stream, unless it has ended.
    pub(super) fn stopped(&self, of: u64) -> Option<StreamId> {
        self.announced.get(&of).copied()
    }

    /// What a stream can send now: its parts, or its end behind them.
    fn step(&mut self, id: StreamId) -> Step {
        let Some(flow) = self.streams.get_mut(&id) else { return Step::None };
        let Some(of) = flow.of else { return Step::None };
        if let (true, Some(failure)) = (flow.parts.is_empty(), &flow.end) {
            let end = Parcel::End { of, total: flow.sent, failure: failure.clone() };
            self.streams.remove(&id);
            self.announced.remove(&of);
            self.left.push((id, 0, true));
            return Step::End(end);
        }
        let may = !flow.has_turn && flow.sent < flow.limit && !flow.parts.is_empty();
        flow.has_turn |= may;
        if may { Step::Turn(id) } else { Step::None }
    }

    /// The next part of a stream that has its turn, and what it can send after that.
    pub(super) fn part(&mut self, id: StreamId, seq: u64) -> Option<(Frame, Step)> {
        let flow = self.streams.get_mut(&id)?;
        flow.has_turn = false;
        let (of, first) = (flow.of?, flow.parts.front_mut()?);
        let length = first.len().min(frame::CHUNK).min(usize::try_from(flow.limit - flow.sent).unwrap_or(usize::MAX));
        let part = first.split_to(length);
        if first.is_empty() {
            flow.parts.pop_front();
        }
        let offset = flow.sent;
        flow.sent += length as u64;
        self.bytes -= length;
        self.left.push((id, length as u64, false));
        let frame = Frame::Chunk { seq, of, offset, part: ChunkBytes(part) };
        Some((frame, self.step(id)))
    }

    /// What has left since this was last asked.
    pub(super) fn take_left(&mut self) -> Vec<(StreamId, u64, bool)> {
        std::mem::take(&mut self.left)
    }

    /// Begins anew for another link. Returns the streams that the peer knew; the others wait with their messages.
    pub(super) fn restart(&mut self) -> Vec<StreamId> {
        let known: Vec<_> = std::mem::take(&mut self.announced).values().copied().collect();
        for id in &known {
            let flow = self.streams.remove(id);
            self.bytes -= flow.into_iter().flat_map(|flow| flow.parts).map(|part| part.len()).sum::<usize>();
        }
        known
    }

    /// Forgets a stream whose message does not leave.
    pub(super) fn forget(&mut self, id: StreamId) {
        if let Some(flow) = self.streams.remove(&id) {
            self.bytes -= flow.parts.iter().map(Bytes::len).sum::<usize>();
        }
    }
}

/// What a stream can send next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    None,
    /// It has parts, and takes its turn among all.
    Turn(StreamId),
    /// Its end, which leaves before all messages.
    End(Parcel),
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: StreamId = StreamId(1);

    fn part(flows: &mut Outflows) -> (u64, usize, Step) {
        match flows.part(ONE, 9).unwrap() {
            (Frame::Chunk { offset, part, .. }, step) => (offset, part.0.len(), step),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts_leave_within_the_credit_and_the_end_behind_them() {
        let mut flows = Outflows::new(100, 64);
        flows.open(ONE);
        assert_eq!(flows.write(ONE, Bytes::from(vec![1; 150])), Step::None, "its message waits");
        assert!(flows.has_room() && !flows.is_announced(ONE));
        assert_eq!(flows.announce(ONE, 7), Step::Turn(ONE));
        assert_eq!(part(&mut flows), (0, 100, Step::None));
        assert_eq!((flows.credit(7, 90), flows.end(ONE, None)), (Step::None, Step::None), "a limit never falls");
        assert_eq!(flows.credit(7, 130), Step::Turn(ONE));
        assert_eq!(flows.credit(7, 140), Step::None, "it has its turn");
        assert_eq!(part(&mut flows), (100, 40, Step::None));
        assert_eq!(flows.credit(7, 1_000), Step::Turn(ONE));
        let end = Parcel::End { of: 7, total: 150, failure: None };
        assert_eq!(part(&mut flows), (140, 10, Step::End(end)));
        let left = vec![(ONE, 100, false), (ONE, 40, false), (ONE, 10, false), (ONE, 0, true)];
        assert_eq!((flows.bytes(), flows.take_left()), (0, left));
        assert_eq!((flows.credit(7, 2_000), flows.stopped(7)), (Step::None, None), "it is gone");
    }

    #[test]
    fn failed_stream_sends_its_end_at_once() {
        let mut flows = Outflows::new(100, 64);
        flows.open(ONE);
        flows.write(ONE, Bytes::from(vec![1; 500]));
        flows.announce(ONE, 7);
        part(&mut flows);
        let failure = Some(Failure::cancelled("enough"));
        assert_eq!(flows.stopped(7), Some(ONE));
        let end = Parcel::End { of: 7, total: 100, failure: failure.clone() };
        assert_eq!((flows.end(ONE, failure), flows.bytes()), (Step::End(end), 0));
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
        assert!(!flows.has_room());
        assert_eq!(flows.restart(), [ONE]);
        assert!(flows.has_room());
        assert_eq!(flows.bytes(), OVERHEAD + 5);
        assert_eq!(flows.announce(StreamId(2), 1), Step::Turn(StreamId(2)));
        flows.forget(StreamId(2));
        assert_eq!(flows.bytes(), 0);
    }
}
