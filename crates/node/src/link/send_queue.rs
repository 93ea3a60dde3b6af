//! Messages that wait to be sent on a link, whether it is up or not: how many may wait, and how they become numbered frames when
//! they are transmitted, within the window.

use std::collections::VecDeque;

use bytes::Bytes;
use starlane_protocol::{
    Failure, StreamId, Topic, Trace,
    frame::{self, Frame, LinkLimits, MAX_NUMBERED},
};

use super::{
    CloseCode, Goodbye, LinkConfig, Parcel,
    lanes::{LaneKey, Lanes, Next, Waiting},
    notices::{LongNotices, Notice},
    outflow::{FlowKey, Outflows, Step},
    window::Window,
};
use crate::{actor::remaining, maps::Map};

/// The maximum of bytes that leave together, well within the maximum of a WebSocket message.
const MAX_TOGETHER_BYTES: usize = 256 * 1024;
/// The fraction of `held_bytes` that is reserved for short messages that cannot be refused, such as refusals.
const SHORT_PART: usize = 16;

/// Why a message was not queued.
#[derive(Debug)]
pub(super) enum Unsent {
    Failed(Failure),
    /// The peer does not read, and even the reserve for short messages is full.
    TooSlow(Goodbye),
}

/// How much may wait for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// The link was never up: the limits of the peer are not known.
    New,
    /// The link can carry messages now, or will when its socket is back. The number is the maximum of waiting bytes.
    Known(usize),
}

#[derive(Debug)]
pub(super) struct SendQueue {
    lanes: Lanes,
    /// The topics with a waiting gap. Their events are dropped until it has left.
    gaps: Map<Topic, ()>,
    pub(super) window: Window,
    /// The one-way messages with bodies in chunks that the peer has not acknowledged completely.
    notices: LongNotices,
    payload: usize,
}

impl SendQueue {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            lanes: Lanes::new(config),
            gaps: Map::new(),
            window: Window::new(config),
            notices: LongNotices::default(),
            payload: config.payload,
        }
    }

    /// Begins anew for another link: only requests and one-way messages that were not numbered still wait. Returns the streams that
    /// the peer knew.
    pub(super) fn restart(&mut self, config: &LinkConfig) -> Vec<StreamId> {
        let mut fresh = Self::new(config);
        let known = self.lanes.flows().restart();
        std::mem::swap(self.lanes.flows(), fresh.lanes.flows());
        for waiting in self.take_waiting() {
            if matches!(waiting.parcel, Parcel::Request { .. } | Parcel::Notify { .. }) {
                fresh.lanes.add(waiting.parcel, waiting.deadline);
            }
        }
        *self = fresh;
        known
    }

    /// Sets the limits of the peer.
    pub(super) fn limit(&mut self, limits: &LinkLimits) {
        self.payload = self.payload.min(limits.payload as usize);
        self.window.limit(limits);
        self.lanes.flows().limit(limits.first_credit.0, limits.open_streams.0);
    }

    /// Queues a message. An event without room becomes a gap.
    pub(super) fn send(
        &mut self,
        parcel: Parcel,
        deadline: Option<u64>,
        room: Room,
        config: &LinkConfig,
    ) -> Result<(), Unsent> {
        if matches!(parcel, Parcel::Refused { .. }) {
            self.lanes.remove_events(&parcel);
        }
        let checked = match (&parcel, room) {
            (Parcel::Event { topic, .. }, _) if self.gaps.contains_key(topic) => return Ok(()),
            (_, Room::New) => self.may_wait(parcel.weight(), config),
            (_, Room::Known(most)) => self.may_leave(&parcel, most, config),
        };
        if parcel.stream().is_some() && !self.lanes.flows().has_room_for_stream() {
            let message = "too many streams are open on this link, or wait for it: wait until some have ended";
            return Err(Unsent::Failed(Failure::too_many_streams(message)));
        }
        let parcel = match (checked, parcel) {
            (Err(Unsent::Failed(_)), Parcel::Event { topic, .. }) => {
                self.gaps.insert(topic.clone(), ());
                Parcel::Gap { topic }
            }
            (checked, parcel) => checked.map(|()| parcel)?,
        };
        if let Some(stream) = parcel.stream() {
            self.lanes.flows().open(stream);
        }
        self.lanes.add(parcel, deadline);
        Ok(())
    }

    /// Does something to a stream that this link sends.
    pub(super) fn stream(&mut self, change: impl FnOnce(&mut Outflows) -> Step) {
        let step = change(self.lanes.flows());
        self.lanes.go_on(step);
    }

    /// Handles a credit or a stop of the peer. Errors if the frame `of` cannot have announced a stream.
    pub(super) fn check_stream(&self, of: u64) -> Result<(), Goodbye> {
        if of <= self.window.last() {
            return Ok(());
        }
        let reason = format!("frame {of} announced no stream: only {} were sent", self.window.last());
        Err(Goodbye::new(CloseCode::Malformed, reason))
    }

    /// Whether the message of a stream has left and its end has not.
    pub(super) fn is_announced(&self, stream: StreamId) -> bool {
        self.lanes.is_announced(stream)
    }

    /// The peer wants no more of what the frame `of` announced: its end follows at once. Returns the stream, if it was one.
    pub(super) fn stopped(&mut self, of: u64, failure: &Failure) -> Option<StreamId> {
        let key = self.lanes.flows().announced_by(of)?;
        self.stream(|flows| flows.fail(key, failure.clone()));
        // The outcome of a message whose body was refused is known.
        self.notices.complete(of, self.window.last());
        match key {
            FlowKey::Stream(stream) => Some(stream),
            FlowKey::Body(_) => None,
        }
    }

    /// Checks whether a message may wait for the link to come up.
    fn may_wait(&self, weight: usize, config: &LinkConfig) -> Result<(), Unsent> {
        let (count, waiting) = (self.lanes.len(), self.lanes.message_bytes());
        if count >= config.waiting_messages || (count > 0 && waiting + weight > config.waiting_bytes) {
            let (messages, bytes) = (config.waiting_messages, config.waiting_bytes);
            let message = format!(
                "{count} messages wait for the link to the server; the limits are {messages} messages and {bytes} bytes"
            );
            return Err(Unsent::Failed(Failure::link_full(message)));
        }
        Ok(())
    }

    /// Checks whether a message may wait behind those in the queue.
    fn may_leave(&self, parcel: &Parcel, most: usize, config: &LinkConfig) -> Result<(), Unsent> {
        let (length, weight) = (parcel.length(), parcel.weight());
        let (waiting, held) = (self.lanes.message_bytes(), config.held_bytes);
        if length > self.payload {
            let most = self.payload;
            let message = format!("the payload is {length} bytes; the limit of this link is {most}");
            return Err(Unsent::Failed(Failure::too_large(message)));
        }
        // One message of any allowed length may enter an empty queue. Cancels, answers and the like may enter until everything is
        // full.
        if parcel.is_bulky() && waiting > 0 && waiting + length > most {
            let message = format!("{waiting} bytes wait for this link; the limit is {most}: send slower");
            return Err(Unsent::Failed(Failure::link_full(message)));
        }
        if matches!(parcel, Parcel::Response { outcome: Ok(_), .. }) && waiting > 0 && waiting + weight > held {
            let message = format!("{waiting} bytes wait for this link; the limit `held-bytes` is {held}: read faster");
            return Err(Unsent::Failed(Failure::too_many(message)));
        }
        if waiting > held + held / SHORT_PART {
            let reason = format!("{waiting} bytes wait and the peer does not read; the limit `held-bytes` is {held}");
            return Err(Unsent::TooSlow(Goodbye::new(CloseCode::SlowConsumer, reason)));
        }
        // Measuring a frame is expensive, and few messages are long enough to need it.
        if weight - length + length.min(frame::CHUNK) > MAX_NUMBERED / 2 {
            let (frame, _) = parcel.clone().frame(0);
            let (name, length) = (frame.name().to_ascii_lowercase(), frame::encode_frame(&frame).len());
            if length > MAX_NUMBERED {
                let message = format!(
                    "the frame of the {name} is {length} bytes without its body; the maximum is {MAX_NUMBERED}"
                );
                return Err(Unsent::Failed(Failure::too_large(message)));
            }
        }
        Ok(())
    }

    /// Handles an acknowledgement: the peer has everything up to `received`.
    pub(super) fn acknowledge(&mut self, received: u64) -> Result<(), Goodbye> {
        self.window.acknowledge(received)?;
        self.notices.acknowledged(received);
        Ok(())
    }

    /// Begins to replay on a new socket what the peer did not receive.
    pub(super) fn resume(&mut self, received: u64) -> Result<(), Goodbye> {
        self.window.resume(received)?;
        self.notices.acknowledged(received);
        Ok(())
    }

    /// The one-way messages that left and that the peer may not have received completely.
    pub(super) fn unsure(&self) -> Vec<Notice> {
        let short = self.window.unacked().filter_map(|frame| match frame {
            Frame::Notify { to, operation, trace, payload, .. } if !payload.is_announced() => {
                Some((to, operation, trace.as_deref().and_then(Trace::parse)))
            }
            _ => None,
        });
        short.chain(self.notices.unsure()).collect()
    }

    /// When the first waiting one-way message expires, or a little earlier than that.
    pub(super) fn first_deadline(&self) -> Option<u64> {
        self.lanes.first_deadline()
    }

    /// Whether a request waits: it was not numbered.
    pub(super) fn has(&self, request: u64) -> bool {
        self.lanes.has(request)
    }

    /// Removes a waiting request. Returns false if it has left already.
    pub(super) fn cancel(&mut self, request: u64) -> bool {
        self.lanes.remove(request)
    }

    /// Removes the one-way messages whose deadline has passed.
    pub(super) fn expired(&mut self, now: u64) -> VecDeque<Box<Waiting>> {
        if self.lanes.first_deadline().is_none_or(|first| now < first) {
            return VecDeque::new();
        }
        self.lanes.take(&|waiting| {
            matches!(waiting.parcel, Parcel::Notify { .. }) && waiting.deadline.is_some_and(|at| at <= now)
        })
    }

    /// Removes all waiting messages, in order.
    pub(super) fn take_waiting(&mut self) -> VecDeque<Box<Waiting>> {
        self.lanes.take(&|_| true)
    }

    /// Adds frames to `leaving`, as many as may leave together: first those that the peer did not get by an earlier socket, then
    /// those of waiting messages.
    pub(super) fn number(&mut self, now: u64, leaving: &mut Vec<Bytes>) {
        let mut together: usize = leaving.iter().map(Bytes::len).sum();
        while together < MAX_TOGETHER_BYTES && self.has_output() {
            let frame = match self.window.replay() {
                Some(old) => old,
                None => {
                    let Some(frame) = self.next_frame(now) else { break };
                    let bytes = Bytes::from(frame::encode_frame(&frame));
                    self.window.add(bytes.clone(), matches!(frame, Frame::Chunk { .. }));
                    bytes
                }
            };
            together += frame.len();
            leaving.push(frame);
        }
    }

    fn next_frame(&mut self, now: u64) -> Option<Frame> {
        let seq = self.window.next();
        let Waiting { mut parcel, deadline, .. } = match self.lanes.next(seq, self.window.may())? {
            Next::Chunk(chunk, is_last) => {
                if let (true, Frame::Chunk { of, .. }) = (is_last, &*chunk) {
                    self.notices.complete(*of, seq);
                }
                return Some(*chunk);
            }
            Next::Message(waiting) => *waiting,
        };
        match &mut parcel {
            Parcel::Request { message, .. } => message.remaining_ms = remaining(deadline, now),
            Parcel::Gap { topic } => drop(self.gaps.remove(topic)),
            _ => {}
        }
        if let Some(stream) = parcel.stream() {
            self.stream(|streams| streams.announce(stream, seq));
        }
        let lane = LaneKey::of(&parcel);
        let long = match &parcel {
            Parcel::Notify { message } if message.payload.body.len() > frame::CHUNK => {
                Some((message.to.clone(), message.operation.clone(), message.trace))
            }
            _ => None,
        };
        let (frame, body) = parcel.frame(seq);
        if let Some(body) = body {
            self.lanes.follow(lane, seq, body);
        }
        if let Some(long) = long {
            self.notices.add(seq, long);
        }
        Some(frame)
    }

    /// The bytes of waiting messages and of kept frames.
    pub(super) fn bytes(&self) -> usize {
        self.lanes.bytes() + self.window.bytes()
    }

    /// Whether nothing waits and nothing was ever sent.
    pub(super) fn is_unused(&self) -> bool {
        self.window.last() == 0 && self.lanes.is_empty()
    }

    /// Whether a numbered frame can leave now.
    pub(super) fn has_output(&self) -> bool {
        self.window.has_replay() || self.lanes.has_output(self.window.may())
    }

    /// The last acknowledged sequence, if nothing can be sent before the next acknowledgement. A body without credit waits for
    /// something else.
    pub(super) fn stalled_at(&self) -> Option<u64> {
        let waits = !self.lanes.is_empty() && !self.has_output() && self.window.acked() < self.window.last();
        waits.then_some(self.window.acked())
    }
}

#[cfg(test)]
mod tests;
