//! The messages of a link, and their frames.

use bytes::Bytes;
use starlane_protocol::{
    Address, Failure, Message, Outcome, Payload, StreamId, Topic, Trace,
    frame::{self, Frame},
    wire::{WireOutcome, WirePayload},
};

/// The weight of a message in a queue in addition to its texts and its body, in bytes.
const OVERHEAD: usize = 256;

/// A message over a link that is up, in either direction: complete, in order, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parcel {
    /// The remaining time is written when the frame is made, and counts from its arrival.
    Request {
        id: u64,
        message: Message,
    },
    Response {
        id: u64,
        outcome: Outcome,
        /// Whose replies it keeps its order among; only known where it is sent.
        responder: Option<Address>,
    },
    Notify {
        message: Message,
    },
    Event {
        topic: Topic,
        payload: Payload,
        trace: Option<Trace>,
    },
    Gap {
        topic: Topic,
    },
    Refused {
        topic: Topic,
        failure: Failure,
    },
    Subscribe {
        topic: Topic,
    },
    Unsubscribe {
        topic: Topic,
    },
    Cancel {
        id: u64,
    },
    Serve {
        address: Address,
        operations: Vec<String>,
    },
    Release {
        address: Address,
    },
    /// The reader of a stream of the peer allows `limit` bytes in total.
    Credit {
        of: u64,
        limit: u64,
    },
    /// A stream to the peer has ended.
    End {
        of: u64,
        total: u64,
        failure: Option<Failure>,
    },
    /// The reader of a stream of the peer wants no more.
    Stop {
        of: u64,
        failure: Failure,
    },
}

impl Parcel {
    fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Request { message, .. } | Self::Notify { message } => Some(&message.payload),
            Self::Response { outcome: Ok(payload), .. } | Self::Event { payload, .. } => Some(payload),
            _ => None,
        }
    }

    pub(crate) fn payload_mut(&mut self) -> Option<&mut Payload> {
        match self {
            Self::Request { message, .. } | Self::Notify { message } => Some(&mut message.payload),
            Self::Response { outcome: Ok(payload), .. } | Self::Event { payload, .. } => Some(payload),
            _ => None,
        }
    }

    /// The stream of its payload.
    pub(crate) fn stream(&self) -> Option<StreamId> {
        self.payload()?.stream.as_ref().map(|stream| stream.id)
    }

    /// The length of its body, in bytes.
    pub(super) fn length(&self) -> usize {
        self.payload().map_or(0, |payload| payload.body.len())
    }

    /// Whether its sender can be asked to send slower.
    pub(super) fn is_bulky(&self) -> bool {
        matches!(self, Self::Request { .. } | Self::Notify { .. } | Self::Event { .. })
    }

    /// The bytes that it occupies while it waits.
    pub(crate) fn weight(&self) -> usize {
        let texts = match self {
            Self::Request { message, .. } | Self::Notify { message } => {
                let addresses = message.from.as_str().len() + message.to.as_str().len();
                addresses + message.caller.name().len() + message.operation.len()
            }
            Self::Response { outcome: Err(failure), .. }
            | Self::Refused { failure, .. }
            | Self::End { failure: Some(failure), .. }
            | Self::Stop { failure, .. } => failure.code.len() + failure.message.len(),
            Self::Serve { operations, .. } => operations.iter().map(|operation| 16 + operation.len()).sum(),
            _ => 0,
        };
        let headers = |payload: &Payload| payload.weight() + 16 * payload.headers.len();
        OVERHEAD + texts + self.payload().map_or(0, headers)
    }

    /// Its frame, and its body if that follows in chunks.
    pub(super) fn frame(self, seq: u64) -> (Frame, Option<Bytes>) {
        match self {
            Self::Request { id, message } => {
                let (payload, body) = announce(message.payload);
                let Message { from, caller, to, operation, remaining_ms, hops, trace, .. } = message;
                let (caller, trace) = (caller.name().to_owned(), trace.map(|trace| trace.as_str().to_owned()));
                (Frame::Request { seq, id, from, caller, to, operation, payload, remaining_ms, hops, trace }, body)
            }
            Self::Response { id, outcome, .. } => {
                let (outcome, body) = match outcome {
                    Ok(payload) => {
                        let (payload, body) = announce(payload);
                        (Ok(payload), body)
                    }
                    Err(failure) => (Err(failure.checked()), None),
                };
                (Frame::Response { seq, id, outcome: WireOutcome(outcome) }, body)
            }
            Self::Notify { message } => {
                let (payload, body) = announce(message.payload);
                let Message { from, caller, to, operation, hops, trace, .. } = message;
                let (caller, trace) = (caller.name().to_owned(), trace.map(|trace| trace.as_str().to_owned()));
                (Frame::Notify { seq, from, caller, to, operation, payload, hops, trace }, body)
            }
            Self::Event { topic, payload, trace } => {
                let (payload, body) = announce(payload);
                (Frame::Event { seq, topic, payload, trace: trace.map(|trace| trace.as_str().to_owned()) }, body)
            }
            Self::Gap { topic } => (Frame::Gap { seq, topic }, None),
            Self::Refused { topic, failure } => (Frame::Refused { seq, topic, failure: failure.checked() }, None),
            Self::Subscribe { topic } => (Frame::Subscribe { seq, topic }, None),
            Self::Unsubscribe { topic } => (Frame::Unsubscribe { seq, topic }, None),
            Self::Cancel { id } => (Frame::Cancel { seq, id }, None),
            Self::Serve { address, operations } => (Frame::Serve { seq, address, operations }, None),
            Self::Release { address } => (Frame::Release { seq, address }, None),
            Self::Credit { of, limit } => (Frame::Credit { seq, of, limit }, None),
            Self::End { of, total, failure } => {
                (Frame::End { seq, of, total, failure: failure.map(Failure::checked) }, None)
            }
            Self::Stop { of, failure } => (Frame::Stop { seq, of, failure: failure.checked() }, None),
        }
    }
}

/// The wire form of a payload: without its body when that follows in chunks.
fn announce(mut payload: Payload) -> (WirePayload, Option<Bytes>) {
    if payload.body.len() <= frame::CHUNK {
        return (payload.into(), None);
    }
    let body = std::mem::take(&mut payload.body);
    (WirePayload::announcing(payload, body.len() as u64), Some(body))
}
