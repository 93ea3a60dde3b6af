//! Messages that wait to be sent on a link, whether it is up or not: how many may wait, and how they become numbered frames when
//! they are transmitted, within the window.

use std::collections::VecDeque;

use bytes::Bytes;
use starlane_protocol::{
    Address, Failure, Topic, Trace,
    frame::{self, Frame, Limits, MAX_NUMBERED},
};

use super::{
    CloseCode, Goodbye, LinkConfig, Parcel,
    lanes::{LaneKey, Lanes, Next, Waiting},
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

/// A one-way message: its target, operation and trace.
pub(super) type Notice = (Address, String, Option<Trace>);

#[derive(Debug)]
struct LongNotice {
    /// The sequence of its frame.
    of: u64,
    /// The sequence of its last chunk, when that was numbered.
    last: Option<u64>,
    message: Notice,
}

#[derive(Debug, Default)]
struct LongNotices(VecDeque<LongNotice>);

impl LongNotices {
    fn chunk(&mut self, of: u64, sequence: u64, is_last: bool) {
        if is_last && let Some(notice) = self.0.iter_mut().find(|notice| notice.of == of) {
            notice.last = Some(sequence);
        }
    }

    fn acknowledged(&mut self, received: u64) {
        if !self.0.is_empty() {
            self.0.retain(|notice| notice.last.is_none_or(|last| last > received));
        }
    }
}

impl SendQueue {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            lanes: Lanes::default(),
            gaps: Map::new(),
            window: Window::new(config),
            notices: LongNotices::default(),
            payload: config.payload,
        }
    }

    /// Begins anew for another link: only requests and one-way messages that were not numbered still wait.
    pub(super) fn restart(&mut self, config: &LinkConfig) {
        let mut fresh = Self::new(config);
        for waiting in self.take_waiting() {
            if matches!(waiting.parcel, Parcel::Request { .. } | Parcel::Notify { .. }) {
                fresh.lanes.add(waiting.parcel, waiting.deadline);
            }
        }
        *self = fresh;
    }

    /// Sets the limits of the peer.
    pub(super) fn limit(&mut self, limits: &Limits) {
        self.payload = self.payload.min(limits.payload as usize);
        self.window.limit(limits);
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
        let parcel = match (checked, parcel) {
            (Err(Unsent::Failed(_)), Parcel::Event { topic, .. }) => {
                self.gaps.insert(topic.clone(), ());
                Parcel::Gap { topic }
            }
            (checked, parcel) => checked.map(|()| parcel)?,
        };
        self.lanes.add(parcel, deadline);
        Ok(())
    }

    /// Checks whether a message may wait for the link to come up.
    fn may_wait(&self, weight: usize, config: &LinkConfig) -> Result<(), Unsent> {
        let (count, waiting) = (self.lanes.len(), self.lanes.bytes());
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
        let (waiting, held) = (self.lanes.bytes(), config.held_bytes);
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
        short.chain(self.notices.0.iter().map(|notice| notice.message.clone())).collect()
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
                if let Frame::Chunk { of, .. } = *chunk {
                    self.notices.chunk(of, seq, is_last);
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
            self.notices.0.push_back(LongNotice { of: seq, last: None, message: long });
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

    /// The last acknowledged sequence, if nothing can be sent before the next acknowledgement.
    pub(super) fn stalled_at(&self) -> Option<u64> {
        (!self.lanes.is_empty() && !self.has_output()).then_some(self.window.acked())
    }
}

#[cfg(test)]
mod tests {
    use starlane_protocol::{Address, Message, Payload, Principal};

    use super::*;

    fn message(body: usize) -> Message {
        let address = Address::parse("acme:app:one").unwrap();
        let payload = Payload::new("text/plain", vec![b'x'; body]);
        Message::new(address.clone(), Principal::named("ada"), address, "echo".to_owned(), payload)
    }

    fn request(id: u64, body: usize) -> Parcel {
        Parcel::Request { id, message: message(body) }
    }

    fn up(queue: &mut SendQueue, parcel: Parcel, config: &LinkConfig) -> Result<(), String> {
        queue.send(parcel, Some(700), Room::Known(config.queue_bytes), config).map_err(|unsent| match unsent {
            Unsent::Failed(failure) => failure.code,
            Unsent::TooSlow(goodbye) => goodbye.code.as_str().to_owned(),
        })
    }

    fn numbered(queue: &mut SendQueue, now: u64) -> usize {
        let mut frames = Vec::new();
        queue.number(now, &mut frames);
        frames.len()
    }

    #[test]
    fn numbers_are_given_when_frames_leave_and_frames_are_kept_until_they_are_acked() {
        let config = LinkConfig { window_frames: 3, ..LinkConfig::default() };
        let mut queue = SendQueue::new(&config);
        for id in 1..=5 {
            up(&mut queue, request(id, 10), &config).unwrap();
        }
        assert!(queue.cancel(2), "it had not left");
        let mut frames = Vec::new();
        queue.number(200, &mut frames);
        assert_eq!((frames.len(), queue.window.last()), (3, 3));
        let message = frame::encode_message(0, frames.iter().map(|frame| &**frame));
        let frames = frame::decode_message(&message).unwrap();
        let ids: Vec<_> = frames
            .into_iter()
            .map(|(_, frame)| match frame {
                Frame::Request { seq, id, remaining_ms: 500, .. } => (seq, id),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(ids, [(1, 1), (2, 3), (3, 4)]);
        assert!(!queue.cancel(3), "it has left");
        assert_eq!((numbered(&mut queue, 200), queue.stalled_at()), (0, Some(0)));
        queue.acknowledge(2).unwrap();
        assert_eq!((numbered(&mut queue, 200), queue.lanes.bytes()), (1, 0));
    }

    #[test]
    fn long_body_follows_its_frame_in_chunks_as_the_window_opens() {
        let config = LinkConfig { window_bytes: 100_000, ..LinkConfig::default() };
        let mut queue = SendQueue::new(&config);
        up(&mut queue, request(1, 200_000), &config).unwrap();
        assert_eq!(numbered(&mut queue, 0), 2, "the frame, and a chunk, which fills the half of the window for bodies");
        assert_eq!(queue.lanes.bytes(), 200_000 - frame::CHUNK);
        up(&mut queue, Parcel::Cancel { id: 9 }, &config).unwrap();
        assert_eq!(numbered(&mut queue, 0), 1, "orders have room");
        for received in 3..=5 {
            queue.acknowledge(received).unwrap();
            assert_eq!(numbered(&mut queue, 0), 1);
        }
        assert!(queue.lanes.is_empty());
    }

    #[test]
    fn waiting_bytes_are_bounded_whether_the_link_is_up_or_not() {
        let config =
            LinkConfig { waiting_messages: 2, queue_bytes: 1_000, held_bytes: 64_000, ..LinkConfig::default() };
        let mut queue = SendQueue::new(&config);
        let down = [1, 2, 3].map(|id| queue.send(request(id, 1), Some(9), Room::New, &config).is_ok());
        assert_eq!(down, [true, true, false]);
        assert_eq!(queue.take_waiting().len(), 2);
        up(&mut queue, request(1, 2_000), &config).unwrap();
        assert_eq!(up(&mut queue, request(2, 1), &config), Err("link-full".to_owned()));
        let answer =
            |body| Parcel::Response { id: 1, outcome: Ok(Payload::new("text/plain", vec![0; body])), responder: None };
        up(&mut queue, answer(60_000), &config).unwrap();
        assert_eq!(up(&mut queue, answer(10_000), &config), Err("too-many".to_owned()));
        let short = || Parcel::Response { id: 1, outcome: Err(Failure::too_many("")), responder: None };
        let ends = (0..100).find_map(|_| up(&mut queue, short(), &config).err());
        assert_eq!(ends.as_deref(), Some("slow-consumer"));
    }

    #[test]
    fn one_way_messages_expire_and_others_wait_for_the_next_link() {
        let config = LinkConfig::default();
        let mut queue = SendQueue::new(&config);
        for deadline in [10, 20] {
            queue.send(Parcel::Notify { message: message(1) }, Some(deadline), Room::New, &config).unwrap();
            queue.send(request(deadline, 1), Some(deadline), Room::New, &config).unwrap();
        }
        assert_eq!((queue.expired(9).len(), queue.expired(10).len(), queue.lanes.len()), (0, 1, 3));
        up(&mut queue, Parcel::Cancel { id: 3 }, &config).unwrap();
        assert_eq!((queue.has(10), queue.has(11), queue.has(20)), (true, false, true));
        queue.restart(&config);
        assert_eq!((queue.lanes.len(), queue.has(20)), (3, true), "the cancel concerned the old link");
        assert_eq!((numbered(&mut queue, 11), queue.has(20), queue.lanes.bytes()), (3, false, 0));
        let notifies = queue.window.unacked().filter(|frame| matches!(frame, Frame::Notify { .. })).count();
        assert_eq!(notifies, 1);
    }

    #[test]
    fn events_without_room_become_one_gap_for_each_topic_in_its_place() {
        let config = LinkConfig { queue_bytes: 100, ..LinkConfig::default() };
        let mut queue = SendQueue::new(&config);
        let topic = |name| Topic::new(Address::parse("acme:app:one").unwrap(), name).unwrap();
        let event = |name, body: usize| {
            let payload = Payload::new("text/plain", vec![b'x'; body]);
            Parcel::Event { topic: topic(name), payload, trace: None }
        };
        for name in ["a", "a", "b", "a", "b"] {
            up(&mut queue, event(name, 60), &config).unwrap();
        }
        let mut frames = Vec::new();
        queue.number(0, &mut frames);
        let frames: Vec<_> = frames.iter().filter_map(|bytes| frame::decode_frame(bytes)).collect();
        assert!(matches!(&frames[..], [Frame::Event { .. }, Frame::Gap { topic: a, .. }, Frame::Gap { topic: b, .. }]
            if *a == topic("a") && *b == topic("b")));
        up(&mut queue, event("a", 1), &config).unwrap();
        assert_eq!(numbered(&mut queue, 0), 1, "the gap has left, so events follow again");
    }
}
