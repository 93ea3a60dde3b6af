//! Makes parcels of frames: joins bodies that come in chunks.

use starlane_protocol::{
    Message, Principal, Trace,
    frame::Frame,
    wire::{WireOutcome, WirePayload},
};

use super::{CloseCode, Goodbye, LinkConfig, LinkEvent, Parcel, inflow::Inflows, lanes::MAX_BODIES};

/// The bodies that are being received.
#[derive(Debug)]
pub(super) struct Assembly {
    longest: usize,
    open: Vec<Open>,
    pub(super) streams: Inflows,
    first_credit: usize,
    open_streams: usize,
}

#[derive(Debug)]
struct Open {
    announced_by: u64,
    length: usize,
    received: usize,
    /// The message of the body. None if it is not wanted: its chunks are dropped.
    wanted: Option<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    parcel: Parcel,
    body: Vec<u8>,
    /// The memory of the complete body and its message, in bytes.
    weight: usize,
    /// When it has to be complete.
    due: u64,
}

impl Assembly {
    pub(super) fn new(config: &LinkConfig) -> Self {
        Self {
            longest: config.payload,
            open: Vec::new(),
            streams: Inflows::default(),
            first_credit: config.first_credit,
            open_streams: config.open_streams,
        }
    }

    /// The memory of all wanted bodies when they are complete, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.open.iter().filter_map(|open| open.wanted.as_ref()).map(|wanted| wanted.weight).sum()
    }

    /// Keeps the chunks of an announced body from now on.
    pub(super) fn keep(&mut self, now: u64, of: u64, parcel: Parcel, config: &LinkConfig) {
        if let Some(open) = self.open.iter_mut().find(|open| open.announced_by == of) {
            let slowest_ms = open.length as u64 * 1_000 / config.body_bytes_per_second.max(1);
            let (weight, due) = (parcel.weight() + open.length, now + config.body_ms + slowest_ms);
            open.wanted = Some(Wanted { parcel, body: Vec::new(), weight, due });
        }
    }

    /// Drops the body of a cancelled request.
    fn cancel(&mut self, request: u64) {
        let is_it = |wanted: &Wanted| matches!(wanted.parcel, Parcel::Request { id, .. } if id == request);
        for open in &mut self.open {
            open.wanted.take_if(|wanted| is_it(wanted));
        }
    }

    /// Removes a message whose body was not complete in time. Its later chunks are dropped.
    pub(super) fn late(&mut self, now: u64) -> Option<Parcel> {
        let late = self.open.iter_mut().find_map(|open| open.wanted.take_if(|wanted| wanted.due <= now));
        late.map(|wanted| wanted.parcel)
    }

    /// Gives all bodies more time, because the link had no socket for so long.
    pub(super) fn postpone(&mut self, ms: u64) {
        for wanted in self.open.iter_mut().filter_map(|open| open.wanted.as_mut()) {
            wanted.due += ms;
        }
    }

    /// When the next body has to be complete.
    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.open.iter().filter_map(|open| open.wanted.as_ref()).map(|wanted| wanted.due).min()
    }

    /// Takes the next numbered frame. A body that it announces is kept only after [`Self::keep`].
    pub(super) fn take(&mut self, frame: Frame) -> Result<Option<LinkEvent>, Goodbye> {
        let sequence = frame.sequence().unwrap_or_default();
        let (parcel, announced) = match frame {
            Frame::Chunk { of, offset, part, .. } if self.streams.has(of) => {
                return self.streams.part(of, offset, part.0);
            }
            Frame::Chunk { of, offset, part, .. } => return self.chunk(of, offset, &part.0),
            Frame::End { of, total, failure, .. } => return self.streams.end(of, total, failure),
            Frame::Credit { of, limit, .. } => return Ok(Some(LinkEvent::Credit { of, limit })),
            Frame::Stop { of, failure, .. } => return Ok(Some(LinkEvent::Stop { of, failure })),
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
                (Parcel::Response { id, outcome: Ok(payload.payload), responder: None }, announced)
            }
            Frame::Response { id, outcome: WireOutcome(Err(failure)), .. } => {
                (Parcel::Response { id, outcome: Err(failure), responder: None }, None)
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
            Frame::Cancel { id, .. } => {
                self.cancel(id);
                (Parcel::Cancel { id }, None)
            }
            Frame::Serve { address, operations, .. } => (Parcel::Serve { address, operations }, None),
            Frame::Release { address, .. } => (Parcel::Release { address }, None),
            Frame::Ignored { .. } => return Ok(None),
            _ => {
                return Err(Goodbye::new(CloseCode::Malformed, "unexpected control frame: a numbered frame must come"));
            }
        };
        if parcel.stream().is_some() {
            return self.streaming(sequence, parcel);
        }
        let Some(length) = announced else { return Ok(Some(LinkEvent::Parcel(Box::new(parcel)))) };
        if length > self.longest as u64 {
            let longest = self.longest;
            return Err(Goodbye::new(
                CloseCode::TooLarge,
                format!("the payload is {length} bytes; the maximum is {longest}"),
            ));
        }
        if self.open.len() >= MAX_BODIES {
            return Err(Goodbye::new(
                CloseCode::Malformed,
                format!("more than {MAX_BODIES} bodies in chunks at a time"),
            ));
        }
        let length = length as usize;
        self.open.push(Open { announced_by: sequence, length, received: 0, wanted: None });
        Ok(Some(LinkEvent::Announced { of: sequence, parcel: Box::new(parcel), length }))
    }

    /// Takes a message whose stream follows.
    fn streaming(&mut self, of: u64, mut parcel: Parcel) -> Result<Option<LinkEvent>, Goodbye> {
        if matches!(parcel, Parcel::Event { .. }) {
            return Err(Goodbye::new(CloseCode::Malformed, "an event cannot have a stream"));
        }
        let first = parcel.payload_mut().map(|payload| std::mem::take(&mut payload.body)).unwrap_or_default();
        self.streams.announce(of, first.len(), self.first_credit, self.open_streams)?;
        Ok(Some(LinkEvent::Streaming { of, parcel: Box::new(parcel), first }))
    }

    fn chunk(&mut self, of: u64, offset: u64, part: &[u8]) -> Result<Option<LinkEvent>, Goodbye> {
        let Some(at) = self.open.iter().position(|open| open.announced_by == of) else {
            return Err(Goodbye::new(
                CloseCode::Malformed,
                format!("a chunk for message {of}, which has no open body"),
            ));
        };
        let Some(open) = self.open.get_mut(at) else { return Ok(None) };
        if offset != open.received as u64 || part.is_empty() || open.received + part.len() > open.length {
            return Err(Goodbye::new(
                CloseCode::Malformed,
                format!("a chunk at {offset} does not fit the body of message {of}"),
            ));
        }
        open.received += part.len();
        if let Some(Wanted { body, .. }) = &mut open.wanted {
            // It grows by doubling, but never beyond the length that is counted.
            if body.capacity() < open.received {
                body.reserve_exact(open.length.min(2 * open.received) - body.len());
            }
            body.extend_from_slice(part);
        }
        if open.received < open.length {
            return Ok(None);
        }
        let Some(Wanted { mut parcel, body, .. }) = self.open.swap_remove(at).wanted else { return Ok(None) };
        if let Some(payload) = parcel.payload_mut() {
            payload.body = body.into();
        }
        Ok(Some(LinkEvent::Complete(Box::new(parcel))))
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
    fn parcels_survive_encoding_as_frames() {
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
                Parcel::Response { id, outcome: Ok(payload.clone()), responder: None },
                Parcel::Response { id, outcome: Err(failure.clone()), responder: None },
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
                let mut assembly = Assembly::new(&LinkConfig { payload: 1 << 20, ..LinkConfig::default() });
                let (frame, body) = parcel.clone().frame(1);
                let mut taken = assembly.take(frame).unwrap().unwrap();
                if let LinkEvent::Announced { of, parcel, length: announced } = taken {
                    assert_eq!((of, announced), (1, length));
                    assembly.keep(0, of, *parcel, &LinkConfig::default());
                    assert!((length..length + 1_000).contains(&assembly.bytes()));
                    taken = LinkEvent::Expiring;
                }
                for (n, part) in body.iter().flat_map(|body| body.chunks(60_000)).enumerate() {
                    assert_eq!(taken, LinkEvent::Expiring, "its body is not here yet");
                    let (seq, offset) = (n as u64 + 2, n as u64 * 60_000);
                    let part = starlane_protocol::frame::ChunkBytes(bytes::Bytes::copy_from_slice(part));
                    let chunk = Frame::Chunk { seq, of: 1, offset, part };
                    taken = assembly.take(chunk).unwrap().unwrap_or(LinkEvent::Expiring);
                }
                let (LinkEvent::Parcel(taken) | LinkEvent::Complete(taken)) = taken else { panic!("{taken:?}") };
                assert_eq!((*taken, assembly.bytes()), (parcel, 0));
            }
        }
    }
}
