//! Makes parcels of frames: joins bodies that come in chunks.

use starlane_protocol::{
    Failure, Message, Principal, Trace,
    frame::Frame,
    wire::{WireOutcome, WirePayload},
};

use super::{CloseCode, Goodbye, LinkConfig, LinkEvent, Parcel, inflow::Inflows};

/// The bodies and streams that are being received.
#[derive(Debug)]
pub(super) struct Assembly {
    config: Sizes,
    open: Vec<Open>,
    pub(super) streams: Inflows,
    /// The bytes for which room is reserved.
    reserved: usize,
    /// What the peer is to be told about bodies.
    orders: Vec<Parcel>,
}

#[derive(Debug)]
struct Sizes {
    longest: usize,
    first_credit: usize,
    open_streams: usize,
    reserved_bytes: usize,
    body_ms: u64,
    body_bytes_per_second: u64,
}

#[derive(Debug)]
struct Open {
    announced_by: u64,
    length: usize,
    received: usize,
    /// How many bytes the peer may send: the first credit, or everything once there is room for it.
    limit: usize,
    /// The message of the body. None if it is not wanted: its chunks are dropped, and the peer was told to stop.
    wanted: Option<Wanted>,
}

#[derive(Debug)]
struct Wanted {
    parcel: Parcel,
    body: Vec<u8>,
    /// The memory of the complete body and its message, in bytes.
    weight: usize,
    /// When it has to be complete. None while there is no room for it.
    due: Option<u64>,
}

impl Assembly {
    pub(super) fn new(config: &LinkConfig) -> Self {
        let config = Sizes {
            longest: config.payload,
            first_credit: config.first_credit,
            open_streams: config.open_streams,
            reserved_bytes: config.reserved_bytes,
            body_ms: config.body_ms,
            body_bytes_per_second: config.body_bytes_per_second.max(1),
        };
        Self { config, open: Vec::new(), streams: Inflows::default(), reserved: 0, orders: Vec::new() }
    }

    /// The memory of all wanted bodies when they are complete, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.open.iter().filter_map(|open| open.wanted.as_ref()).map(|wanted| wanted.weight).sum()
    }

    /// Keeps the chunks of an announced body from now on, when there is room for all of it.
    pub(super) fn keep(&mut self, now: u64, of: u64, parcel: Parcel) {
        if let Some(open) = self.open.iter_mut().find(|open| open.announced_by == of) {
            let weight = parcel.weight() + open.length;
            open.wanted = Some(Wanted { parcel, body: Vec::new(), weight, due: None });
        }
        self.reserve(now);
    }

    /// Drops the chunks of an announced body, and tells the peer why.
    pub(super) fn refuse(&mut self, of: u64, failure: Failure) {
        if self.open.iter().any(|open| open.announced_by == of) {
            self.orders.push(Parcel::Stop { of, failure });
        }
    }

    /// Gives room to waiting bodies, to each for its full length and in the order of their announcements: two halves would wait for
    /// each other.
    fn reserve(&mut self, now: u64) {
        let sizes = &self.config;
        for open in &mut self.open {
            let Some(wanted) = open.wanted.as_mut().filter(|wanted| wanted.due.is_none()) else { continue };
            if self.reserved > 0 && self.reserved + open.length > sizes.reserved_bytes {
                return;
            }
            self.reserved += open.length;
            open.limit = open.length;
            let slowest_ms = open.length as u64 * 1_000 / sizes.body_bytes_per_second;
            wanted.due = Some(now + sizes.body_ms + slowest_ms);
            self.orders.push(Parcel::Credit { of: open.announced_by, limit: open.length as u64 });
        }
    }

    /// What the peer is to be told about bodies: credits, and that some are not wanted.
    pub(super) fn take_orders(&mut self) -> Vec<Parcel> {
        std::mem::take(&mut self.orders)
    }

    /// Takes the message of a body that is not wanted any more.
    fn give_up(&mut self, which: impl Fn(&Wanted) -> bool, failure: &Failure) -> Option<Parcel> {
        let open = self.open.iter_mut().find(|open| open.wanted.as_ref().is_some_and(&which))?;
        let wanted = open.wanted.take()?;
        if wanted.due.is_some() {
            self.reserved -= open.length;
        }
        self.orders.push(Parcel::Stop { of: open.announced_by, failure: failure.clone() });
        Some(wanted.parcel)
    }

    /// Removes a message whose body was not complete in time. Its later chunks are dropped.
    pub(super) fn late(&mut self, now: u64) -> Option<(Parcel, Failure)> {
        let failure = Failure::deadline("its body did not arrive in time");
        let parcel = self.give_up(|wanted| wanted.due.is_some_and(|due| due <= now), &failure)?;
        self.reserve(now);
        Some((parcel, failure))
    }

    /// Gives all bodies more time, because the link had no socket for so long.
    pub(super) fn postpone(&mut self, ms: u64) {
        for due in self.open.iter_mut().filter_map(|open| open.wanted.as_mut()?.due.as_mut()) {
            *due += ms;
        }
    }

    /// When the next body has to be complete.
    pub(super) fn next_timeout(&self) -> Option<u64> {
        self.open.iter().filter_map(|open| open.wanted.as_ref()?.due).min()
    }

    /// Takes the next numbered frame. A body that it announces is kept only after [`Self::keep`].
    pub(super) fn take(&mut self, now: u64, frame: Frame) -> Result<Option<LinkEvent>, Goodbye> {
        let sequence = frame.sequence().unwrap_or_default();
        let (parcel, announced) = match frame {
            Frame::Chunk { of, offset, part, .. } if self.streams.has(of) => {
                return self.streams.part(of, offset, part.0);
            }
            Frame::Chunk { of, offset, part, .. } => return self.chunk(now, of, offset, &part.0),
            Frame::End { of, total, failure, .. } if self.streams.has(of) => {
                return self.streams.end(of, total, failure);
            }
            Frame::End { of, total, failure, .. } => return self.end(now, of, total, failure),
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
                let is_it = |wanted: &Wanted| matches!(wanted.parcel, Parcel::Request { id: its, .. } if its == id);
                self.give_up(is_it, &Failure::cancelled("the request was cancelled"));
                self.reserve(now);
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
        if length > self.config.longest as u64 {
            let longest = self.config.longest;
            return Err(Goodbye::new(
                CloseCode::TooLarge,
                format!("the payload is {length} bytes; the maximum is {longest}"),
            ));
        }
        let (most, first_credit) = (self.config.open_streams, self.config.first_credit);
        if self.open.len() >= most {
            return Err(Goodbye::new(CloseCode::Malformed, format!("more than {most} bodies in chunks at a time")));
        }
        let length = length as usize;
        let limit = first_credit.min(length);
        self.open.push(Open { announced_by: sequence, length, received: 0, limit, wanted: None });
        Ok(Some(LinkEvent::Announced { of: sequence, parcel: Box::new(parcel), length }))
    }

    /// Takes a message whose stream follows.
    fn streaming(&mut self, of: u64, mut parcel: Parcel) -> Result<Option<LinkEvent>, Goodbye> {
        if matches!(parcel, Parcel::Event { .. }) {
            return Err(Goodbye::new(CloseCode::Malformed, "an event cannot have a stream"));
        }
        let first = parcel.payload_mut().map(|payload| std::mem::take(&mut payload.body)).unwrap_or_default();
        self.streams.announce(of, first.len(), self.config.first_credit, self.config.open_streams)?;
        Ok(Some(LinkEvent::Streaming { of, parcel: Box::new(parcel), first }))
    }

    fn chunk(&mut self, now: u64, of: u64, offset: u64, part: &[u8]) -> Result<Option<LinkEvent>, Goodbye> {
        let Some(at) = self.open.iter().position(|open| open.announced_by == of) else {
            return Err(Goodbye::new(
                CloseCode::Malformed,
                format!("a chunk for message {of}, which has no open body"),
            ));
        };
        let Some(open) = self.open.get_mut(at) else { return Ok(None) };
        if offset != open.received as u64 || part.is_empty() || open.received + part.len() > open.limit {
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
        let complete = self.open.remove(at);
        let Some(Wanted { mut parcel, body, due, .. }) = complete.wanted else { return Ok(None) };
        if due.is_some() {
            self.reserved -= complete.length;
        }
        self.reserve(now);
        if let Some(payload) = parcel.payload_mut() {
            payload.body = body.into();
        }
        Ok(Some(LinkEvent::Complete(Box::new(parcel))))
    }
}

impl Assembly {
    /// Takes the end of a body that is not complete: the peer failed, or was told to stop.
    fn end(&mut self, now: u64, of: u64, total: u64, failure: Option<Failure>) -> Result<Option<LinkEvent>, Goodbye> {
        let malformed = |reason: String| Err(Goodbye::new(CloseCode::Malformed, reason));
        let Some(at) = self.open.iter().position(|open| open.announced_by == of) else {
            return malformed(format!("the end of {of}, which is not open"));
        };
        let ended = self.open.remove(at);
        let Some(failure) = failure.filter(|_| total == ended.received as u64) else {
            return malformed(format!(
                "the body of message {of} ends after {total} bytes, but {} came",
                ended.received
            ));
        };
        let Some(wanted) = ended.wanted else { return Ok(None) };
        if wanted.due.is_some() {
            self.reserved -= ended.length;
        }
        self.reserve(now);
        Ok(Some(LinkEvent::Late(Box::new(wanted.parcel), failure)))
    }
}

fn announced(payload: &WirePayload) -> Option<u64> {
    payload.is_announced().then_some(payload.length)
}

#[cfg(test)]
mod tests {
    use starlane_protocol::{Address, Payload, Topic};

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
                let mut taken = assembly.take(0, frame).unwrap().unwrap();
                if let LinkEvent::Announced { of, parcel, length: announced } = taken {
                    assert_eq!((of, announced), (1, length));
                    assembly.keep(0, of, *parcel);
                    assert!((length..length + 1_000).contains(&assembly.bytes()));
                    taken = LinkEvent::Expiring;
                }
                for (n, part) in body.iter().flat_map(|body| body.chunks(60_000)).enumerate() {
                    assert_eq!(taken, LinkEvent::Expiring, "its body is not here yet");
                    let (seq, offset) = (n as u64 + 2, n as u64 * 60_000);
                    let part = starlane_protocol::frame::ChunkBytes(bytes::Bytes::copy_from_slice(part));
                    let chunk = Frame::Chunk { seq, of: 1, offset, part };
                    taken = assembly.take(0, chunk).unwrap().unwrap_or(LinkEvent::Expiring);
                }
                let (LinkEvent::Parcel(taken) | LinkEvent::Complete(taken)) = taken else { panic!("{taken:?}") };
                assert_eq!((*taken, assembly.bytes()), (parcel, 0));
            }
        }
    }
}
