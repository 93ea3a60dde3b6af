//! Frames become parcels again: bodies that came in chunks are put together.

use bytes::BytesMut;
use starlane_protocol::{
    Message, Principal, Trace,
    frame::Frame,
    wire::{WireOutcome, WirePayload},
};

use super::{CloseCode, Goodbye, Parcel};

/// The most bodies of one direction that are on their way at a time.
const MOST_BODIES: usize = 2;

/// The bodies that are being put together.
#[derive(Debug)]
pub(super) struct Assembly {
    longest: usize,
    open: Vec<Open>,
}

#[derive(Debug)]
struct Open {
    announced_by: u64,
    parcel: Parcel,
    length: usize,
    body: BytesMut,
}

impl Assembly {
    pub(super) fn new(longest: usize) -> Self {
        Self { longest, open: Vec::new() }
    }

    /// Takes the next numbered frame; gives a parcel when one is complete.
    pub(super) fn take(&mut self, frame: Frame) -> Result<Option<Parcel>, Goodbye> {
        let sequence = frame.sequence().unwrap_or_default();
        let (parcel, announced) = match frame {
            Frame::Chunk { of, offset, part, .. } => return self.chunk(of, offset, &part.0),
            Frame::Request { id, from, caller, to, operation, payload, remaining_ms, hops, trace, .. } => {
                let announced = announced(&payload);
                let (caller, trace) = (Principal::named(&caller), trace.as_deref().and_then(Trace::parse));
                let message = Message::new(from, caller, to, operation, payload.payload);
                (Parcel::Request { id, message: Message { remaining_ms, hops, trace, ..message } }, announced)
            }
            Frame::Notify { from, caller, to, operation, payload, hops, trace, .. } => {
                let announced = announced(&payload);
                let (caller, trace) = (Principal::named(&caller), trace.as_deref().and_then(Trace::parse));
                let message = Message::new(from, caller, to, operation, payload.payload);
                (Parcel::Notify { message: Message { hops, trace, ..message } }, announced)
            }
            Frame::Response { id, outcome: WireOutcome(Ok(payload)), .. } => {
                let announced = announced(&payload);
                (Parcel::Response { id, outcome: Ok(payload.payload) }, announced)
            }
            Frame::Response { id, outcome: WireOutcome(Err(failure)), .. } => {
                (Parcel::Response { id, outcome: Err(failure) }, None)
            }
            Frame::Event { topic, payload, trace, .. } => {
                let announced = announced(&payload);
                let trace = trace.as_deref().and_then(Trace::parse);
                (Parcel::Event { topic, payload: payload.payload, trace }, announced)
            }
            Frame::Gap { topic, .. } => (Parcel::Gap { topic }, None),
            Frame::Refused { topic, failure, .. } => (Parcel::Refused { topic, failure }, None),
            Frame::Subscribe { topic, .. } => (Parcel::Subscribe { topic }, None),
            Frame::Unsubscribe { topic, .. } => (Parcel::Unsubscribe { topic }, None),
            Frame::Cancel { id, .. } => (Parcel::Cancel { id }, None),
            Frame::Serve { address, operations, .. } => (Parcel::Serve { address, operations }, None),
            Frame::Release { address, .. } => (Parcel::Release { address }, None),
            _ => return Err(Goodbye::new(CloseCode::Malformed, "a control frame among the numbered ones")),
        };
        let Some(length) = announced else { return Ok(Some(parcel)) };
        if length > self.longest as u64 {
            let longest = self.longest;
            return Err(Goodbye::new(
                CloseCode::TooLarge,
                format!("a payload of {length} bytes, where {longest} are allowed"),
            ));
        }
        if self.open.len() >= MOST_BODIES {
            return Err(Goodbye::new(CloseCode::Malformed, "more than two bodies in chunks at a time"));
        }
        self.open.push(Open { announced_by: sequence, parcel, length: length as usize, body: BytesMut::new() });
        Ok(None)
    }

    fn chunk(&mut self, of: u64, offset: u64, part: &[u8]) -> Result<Option<Parcel>, Goodbye> {
        let Some(at) = self.open.iter().position(|open| open.announced_by == of) else {
            return Err(Goodbye::new(CloseCode::Malformed, format!("a chunk of message {of}, which announced none")));
        };
        let Some(open) = self.open.get_mut(at) else { return Ok(None) };
        if offset != open.body.len() as u64 || part.is_empty() || open.body.len() + part.len() > open.length {
            return Err(Goodbye::new(
                CloseCode::Malformed,
                format!("a chunk at {offset} of message {of} does not fit"),
            ));
        }
        open.body.extend_from_slice(part);
        if open.body.len() < open.length {
            return Ok(None);
        }
        let mut open = self.open.swap_remove(at);
        if let Some(payload) = open.parcel.payload_mut() {
            payload.body = open.body.freeze();
        }
        Ok(Some(open.parcel))
    }
}

fn announced(payload: &WirePayload) -> Option<u64> {
    payload.is_announced().then_some(payload.length)
}

#[cfg(test)]
mod tests {
    use starlane_protocol::{Address, Failure, Payload, Topic};

    use super::*;

    fn message(at: &Address, payload: Payload) -> Message {
        Message::new(at.clone(), Principal::named("ada"), at.clone(), "echo".to_owned(), payload)
    }

    #[test]
    fn what_becomes_frames_becomes_the_same_again() {
        let address = Address::parse("acme:app:one").unwrap();
        let topic = Topic::new(address.clone(), "changes").unwrap();
        let (id, failure) = (7, Failure::conflict("as asked"));
        for length in [0, 10, 64 * 1024, 200_000] {
            let payload = Payload::new("text/plain", vec![b'x'; length]);
            let message = Message {
                hops: 1,
                trace: Trace::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
                ..message(&address, payload.clone())
            };
            for parcel in [
                Parcel::Request { id, message: Message { remaining_ms: 5, ..message.clone() } },
                Parcel::Notify { message },
                Parcel::Response { id, outcome: Ok(payload.clone()) },
                Parcel::Response { id, outcome: Err(failure.clone()) },
                Parcel::Event { topic: topic.clone(), payload, trace: None },
                Parcel::Gap { topic: topic.clone() },
                Parcel::Refused { topic: topic.clone(), failure: failure.clone() },
                Parcel::Subscribe { topic: topic.clone() },
                Parcel::Unsubscribe { topic: topic.clone() },
                Parcel::Cancel { id },
                Parcel::Serve { address: address.clone(), operations: vec!["echo".to_owned()] },
                Parcel::Release { address: address.clone() },
            ] {
                assert!(parcel.weight() >= parcel.length());
                let mut assembly = Assembly::new(1 << 20);
                let (frame, body) = parcel.clone().frame(1);
                let mut taken = assembly.take(frame).unwrap();
                for (n, part) in body.iter().flat_map(|body| body.chunks(60_000)).enumerate() {
                    assert_eq!(taken, None, "its body is not here yet");
                    let (seq, offset) = (n as u64 + 2, n as u64 * 60_000);
                    let part = starlane_protocol::frame::Part(bytes::Bytes::copy_from_slice(part));
                    taken = assembly.take(Frame::Chunk { seq, of: 1, offset, part }).unwrap();
                }
                assert_eq!(taken, Some(parcel));
            }
        }
    }
}
