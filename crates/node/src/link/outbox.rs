//! What waits to be sent on a link: control frames first, then numbered ones as far as the window goes.

use std::collections::VecDeque;

use bytes::Bytes;
use starlane_protocol::{
    Failure, Outcome, Payload,
    frame::{self, Frame, Limits, MAX_NUMBERED, Part},
    wire::{WireOutcome, WirePayload},
};

use super::{CloseCode, Goodbye, LinkConfig, Parcel};

/// Frames that leave together stay below this many bytes, well within the longest WebSocket message.
const TOGETHER: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Outbox {
    control: VecDeque<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// The lengths of frames that were sent and not acked, oldest first.
    unacked: VecDeque<usize>,
    unacked_bytes: usize,
    acked: u64,
    /// The sequences of one-way messages that the peer is not known to have, oldest first.
    one_way: VecDeque<u64>,
    last_sequence: u64,
    window_frames: usize,
    window_bytes: usize,
    queue_bytes: usize,
    payload: usize,
}

impl Outbox {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            control: VecDeque::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            unacked: VecDeque::new(),
            unacked_bytes: 0,
            acked: 0,
            one_way: VecDeque::new(),
            last_sequence: 0,
            window_frames: config.window_frames,
            window_bytes: config.window_bytes,
            queue_bytes: config.queue_bytes,
            payload: config.payload,
        }
    }

    /// What the peer allows.
    pub(super) fn limit(&mut self, limits: Limits) {
        self.payload = self.payload.min(limits.payload as usize);
        self.window_frames = self.window_frames.min(limits.unacked_frames as usize).max(1);
        self.window_bytes = self.window_bytes.min(limits.unacked_bytes as usize).max(1);
    }

    pub(super) fn control(&mut self, frame: &Frame) {
        self.control.push_back(frame::encode_frame(frame));
    }

    /// The frame behind which nothing follows.
    pub(super) fn last(&mut self, frame: &Frame) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.control(frame);
    }

    /// Queues a parcel as its frame and, for a long body, chunks.
    pub(super) fn send(&mut self, parcel: Parcel) -> Result<(), Failure> {
        let length = match &parcel {
            Parcel::Request { envelope, .. } | Parcel::Notify { envelope } => envelope.payload.body.len(),
            Parcel::Response { outcome: Ok(payload), .. } | Parcel::Event { payload, .. } => payload.body.len(),
            _ => 0,
        };
        if length > self.payload {
            let most = self.payload;
            return Err(Failure::too_large(format!("a payload of {length} bytes; this link carries at most {most}")));
        }
        // One message of any allowed length passes an empty queue; cancels, answers and the like always pass.
        let bulky = matches!(parcel, Parcel::Request { .. } | Parcel::Notify { .. } | Parcel::Event { .. });
        if bulky && self.waiting_bytes > 0 && self.waiting_bytes + length > self.queue_bytes {
            let waiting = self.waiting_bytes;
            return Err(Failure::link_full(format!("{waiting} bytes wait for this link already: send slower")));
        }
        self.enqueue(parcel)
    }

    fn enqueue(&mut self, parcel: Parcel) -> Result<(), Failure> {
        let seq = self.last_sequence + 1;
        let one_way = matches!(parcel, Parcel::Notify { .. });
        let (frame, body) = match parcel {
            Parcel::Request { id, envelope, remaining_ms } => {
                let (payload, body) = announce(envelope.payload);
                let super::Envelope { from, caller, to, operation, hops, trace, .. } = envelope;
                let caller = caller.name().to_owned();
                (Frame::Request { seq, id, from, caller, to, operation, payload, remaining_ms, hops, trace }, body)
            }
            Parcel::Response { id, outcome } => {
                let (outcome, body) = announce_outcome(outcome);
                (Frame::Response { seq, id, outcome }, body)
            }
            Parcel::Notify { envelope } => {
                let (payload, body) = announce(envelope.payload);
                let super::Envelope { from, caller, to, operation, hops, trace, .. } = envelope;
                let caller = caller.name().to_owned();
                (Frame::Notify { seq, from, caller, to, operation, payload, hops, trace }, body)
            }
            Parcel::Event { topic, payload } => {
                let (payload, body) = announce(payload);
                (Frame::Event { seq, topic, payload }, body)
            }
            Parcel::Gap { topic } => (Frame::Gap { seq, topic }, None),
            Parcel::Refused { topic, failure } => (Frame::Refused { seq, topic, failure: failure.checked() }, None),
            Parcel::Subscribe { topic } => (Frame::Subscribe { seq, topic }, None),
            Parcel::Unsubscribe { topic } => (Frame::Unsubscribe { seq, topic }, None),
            Parcel::Cancel { id } => (Frame::Cancel { seq, id }, None),
            Parcel::Serve { address, operations } => (Frame::Serve { seq, address, operations }, None),
            Parcel::Release { address } => (Frame::Release { seq, address }, None),
        };
        let bytes = frame::encode_frame(&frame);
        if bytes.len() > MAX_NUMBERED {
            let (name, length) = (frame.name().to_ascii_lowercase(), bytes.len());
            let message =
                format!("the frame of the {name} is {length} bytes without its body; the maximum is {MAX_NUMBERED}");
            return Err(Failure::too_large(message));
        }
        self.push(bytes);
        if one_way {
            self.one_way.push_back(seq);
        }
        for (offset, part) in body.iter().flat_map(chunks) {
            let chunk = Frame::Chunk { seq: self.last_sequence + 1, of: seq, offset, part: Part(part) };
            self.push(frame::encode_frame(&chunk));
        }
        Ok(())
    }

    fn push(&mut self, bytes: Vec<u8>) {
        self.last_sequence += 1;
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    /// The peer has everything up to `received`.
    pub(super) fn acked(&mut self, received: u64) -> Result<(), Goodbye> {
        let sent = self.acked + self.unacked.len() as u64;
        if received > sent {
            return Err(Goodbye::new(CloseCode::Malformed, format!("an ack of {received}, where {sent} were sent")));
        }
        while self.acked < received {
            self.acked += 1;
            self.unacked_bytes -= self.unacked.pop_front().unwrap_or_default();
        }
        while self.one_way.pop_front_if(|sequence| *sequence <= received).is_some() {}
        Ok(())
    }

    /// How many one-way messages the peer is not known to have.
    pub(super) fn one_way_unacked(&self) -> usize {
        self.one_way.len()
    }

    /// Whether a numbered frame can leave now.
    pub(super) fn has_numbered(&self) -> bool {
        !self.waiting.is_empty() && self.window_is_open()
    }

    fn window_is_open(&self) -> bool {
        self.unacked.len() < self.window_frames && self.unacked_bytes < self.window_bytes
    }

    /// The frames that leave together now. Numbered ones only if the link is up.
    pub(super) fn take(&mut self, up: bool) -> Vec<Vec<u8>> {
        let mut frames: Vec<_> = self.control.drain(..).collect();
        let mut together: usize = frames.iter().map(Vec::len).sum();
        while up && together < TOGETHER && self.window_is_open() {
            let Some(frame) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= frame.len();
            self.unacked.push_back(frame.len());
            self.unacked_bytes += frame.len();
            together += frame.len();
            frames.push(frame);
        }
        frames
    }
}

fn announce_outcome(outcome: Outcome) -> (WireOutcome, Option<bytes::Bytes>) {
    match outcome {
        Ok(payload) => {
            let (payload, body) = announce(payload);
            (WireOutcome(Ok(payload)), body)
        }
        Err(failure) => (WireOutcome(Err(failure.checked())), None),
    }
}

/// What a received frame counts for the ack that is owed: its body, and a little for the rest.
pub(super) fn weight(frame: &Frame) -> usize {
    64 + match frame {
        Frame::Request { payload, .. } | Frame::Notify { payload, .. } | Frame::Event { payload, .. } => {
            payload.payload.weight()
        }
        Frame::Response { outcome: WireOutcome(Ok(payload)), .. } => payload.payload.weight(),
        Frame::Chunk { part, .. } => part.0.len(),
        _ => 0,
    }
}

/// A body in chunks, or whole.
fn chunks(body: &Bytes) -> impl Iterator<Item = (u64, Bytes)> {
    (0..body.len()).step_by(frame::CHUNK).map(|at| (at as u64, body.slice(at..body.len().min(at + frame::CHUNK))))
}

/// The form of a payload on the wire: without its body when that follows in chunks.
fn announce(mut payload: Payload) -> (WirePayload, Option<Bytes>) {
    if payload.body.len() <= frame::CHUNK {
        return (payload.into(), None);
    }
    let body = std::mem::take(&mut payload.body);
    (WirePayload { payload, length: body.len() as u64 }, Some(body))
}
