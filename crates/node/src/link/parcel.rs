//! What goes over a link, and the frames that it becomes.

use bytes::Bytes;
use starlane_protocol::{
    Address, Failure, Outcome, Payload, Topic, Trace,
    frame::{self, Frame},
    wire::{WireOutcome, WirePayload},
};

use crate::principal::Principal;

/// What a message weighs in a queue beside its texts and its body, in bytes.
const OVERHEAD: usize = 256;

/// What goes over a link in either direction, once it is up: whole, in order, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parcel {
    /// `remaining_ms` counts where it arrives; the sender's queue fills it in when the frame is made.
    Request {
        id: u64,
        envelope: Envelope,
        remaining_ms: u32,
    },
    Response {
        id: u64,
        outcome: Outcome,
    },
    Notify {
        envelope: Envelope,
    },
    Event {
        topic: Topic,
        payload: Payload,
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
}

/// What requests and one-way messages have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) from: Address,
    pub(crate) caller: Principal,
    pub(crate) to: Address,
    pub(crate) operation: String,
    pub(crate) payload: Payload,
    pub(crate) hops: u8,
    pub(crate) trace: Option<Trace>,
}

impl Parcel {
    fn payload(&self) -> Option<&Payload> {
        match self {
            Self::Request { envelope, .. } | Self::Notify { envelope } => Some(&envelope.payload),
            Self::Response { outcome: Ok(payload), .. } | Self::Event { payload, .. } => Some(payload),
            _ => None,
        }
    }

    pub(super) fn payload_mut(&mut self) -> Option<&mut Payload> {
        match self {
            Self::Request { envelope, .. } | Self::Notify { envelope } => Some(&mut envelope.payload),
            Self::Response { outcome: Ok(payload), .. } | Self::Event { payload, .. } => Some(payload),
            _ => None,
        }
    }

    /// The length of its body, in bytes.
    pub(super) fn length(&self) -> usize {
        self.payload().map_or(0, |payload| payload.body.len())
    }

    /// Whether it is a message of somebody who can be told to send slower.
    pub(super) fn is_bulky(&self) -> bool {
        matches!(self, Self::Request { .. } | Self::Notify { .. } | Self::Event { .. })
    }

    /// The bytes that it occupies while it waits.
    pub(super) fn weight(&self) -> usize {
        let texts = match self {
            Self::Request { envelope, .. } | Self::Notify { envelope } => {
                let addresses = envelope.from.as_str().len() + envelope.to.as_str().len();
                addresses + envelope.caller.name().len() + envelope.operation.len()
            }
            Self::Response { outcome: Err(failure), .. } | Self::Refused { failure, .. } => {
                failure.code.len() + failure.message.len()
            }
            Self::Serve { operations, .. } => operations.iter().map(|operation| 16 + operation.len()).sum(),
            _ => 0,
        };
        let headers = |payload: &Payload| payload.weight() + 16 * payload.headers.len();
        OVERHEAD + texts + self.payload().map_or(0, headers)
    }

    /// Its frame and, if that does not hold it, its body, which follows in chunks.
    pub(super) fn frame(self, seq: u64) -> (Frame, Option<Bytes>) {
        match self {
            Self::Request { id, envelope, remaining_ms } => {
                let (payload, body) = announce(envelope.payload);
                let Envelope { from, caller, to, operation, hops, trace, .. } = envelope;
                let (caller, trace) = (caller.name().to_owned(), trace.map(|trace| trace.as_str().to_owned()));
                (Frame::Request { seq, id, from, caller, to, operation, payload, remaining_ms, hops, trace }, body)
            }
            Self::Response { id, outcome } => {
                let (outcome, body) = match outcome {
                    Ok(payload) => {
                        let (payload, body) = announce(payload);
                        (Ok(payload), body)
                    }
                    Err(failure) => (Err(failure.checked()), None),
                };
                (Frame::Response { seq, id, outcome: WireOutcome(outcome) }, body)
            }
            Self::Notify { envelope } => {
                let (payload, body) = announce(envelope.payload);
                let Envelope { from, caller, to, operation, hops, trace, .. } = envelope;
                let (caller, trace) = (caller.name().to_owned(), trace.map(|trace| trace.as_str().to_owned()));
                (Frame::Notify { seq, from, caller, to, operation, payload, hops, trace }, body)
            }
            Self::Event { topic, payload } => {
                let (payload, body) = announce(payload);
                (Frame::Event { seq, topic, payload }, body)
            }
            Self::Gap { topic } => (Frame::Gap { seq, topic }, None),
            Self::Refused { topic, failure } => (Frame::Refused { seq, topic, failure: failure.checked() }, None),
            Self::Subscribe { topic } => (Frame::Subscribe { seq, topic }, None),
            Self::Unsubscribe { topic } => (Frame::Unsubscribe { seq, topic }, None),
            Self::Cancel { id } => (Frame::Cancel { seq, id }, None),
            Self::Serve { address, operations } => (Frame::Serve { seq, address, operations }, None),
            Self::Release { address } => (Frame::Release { seq, address }, None),
        }
    }
}

/// The form of a payload on the wire: without its body when that follows in chunks.
fn announce(mut payload: Payload) -> (WirePayload, Option<Bytes>) {
    if payload.body.len() <= frame::CHUNK {
        return (payload.into(), None);
    }
    let body = std::mem::take(&mut payload.body);
    (WirePayload { payload, length: body.len() as u64 }, Some(body))
}
