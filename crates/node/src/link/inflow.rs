//! The streams that a link gets: the rules for their parts, and the credit that the peer has.

use bytes::Bytes;
use starlane_protocol::{Failure, StreamId};

use super::{CloseCode, Goodbye, LinkEvent};
use crate::maps::Map;

/// One stream of the peer.
#[derive(Debug)]
struct Inflow {
    /// Its number in this host, once the node has given it one.
    id: StreamId,
    received: u64,
    /// How many bytes the peer may send in total.
    limit: u64,
    /// The reader wants no more: what is still under way is dropped.
    is_stopped: bool,
}

/// All streams of the peer, by the sequences of the frames that announced them.
#[derive(Debug, Default)]
pub(super) struct Inflows {
    streams: Map<u64, Inflow>,
    by_id: Map<StreamId, u64>,
}

impl Inflows {
    /// A frame has announced a stream, of which `first` bytes are in the frame. Errors when the peer has too many.
    pub(super) fn announce(&mut self, of: u64, first: usize, credit: usize, most: usize) -> Result<(), Goodbye> {
        if self.streams.len() >= most {
            return Err(Goodbye::new(CloseCode::Malformed, format!("more than {most} open streams at a time")));
        }
        if first > credit {
            let reason = format!("a frame has {first} bytes of a stream; the first credit is {credit}");
            return Err(Goodbye::new(CloseCode::Malformed, reason));
        }
        let flow = Inflow { id: StreamId(0), received: first as u64, limit: credit as u64, is_stopped: false };
        self.streams.insert(of, flow);
        Ok(())
    }

    /// Gives an announced stream its number in this host.
    pub(super) fn name(&mut self, of: u64, id: StreamId) {
        if let Some(flow) = self.streams.get_mut(&of) {
            flow.id = id;
            self.by_id.insert(id, of);
        }
    }

    /// Whether a frame announced a stream that has not ended.
    pub(super) fn has(&self, of: u64) -> bool {
        self.streams.contains_key(&of)
    }

    /// Takes the next part of a stream.
    pub(super) fn part(&mut self, of: u64, offset: u64, part: Bytes) -> Result<Option<LinkEvent>, Goodbye> {
        let Some(flow) = self.streams.get_mut(&of) else { return Ok(None) };
        let end = flow.received + part.len() as u64;
        if offset != flow.received || part.is_empty() || end > flow.limit {
            let (received, limit) = (flow.received, flow.limit);
            let reason = format!(
                "stream {of}: {} bytes at offset {offset} do not fit: offset {received} was expected, and at most {limit} bytes in total",
                part.len()
            );
            return Err(Goodbye::new(CloseCode::Malformed, reason));
        }
        flow.received = end;
        Ok((!flow.is_stopped).then_some(LinkEvent::Part { stream: flow.id, part }))
    }

    /// Takes the end of a stream.
    pub(super) fn end(&mut self, of: u64, total: u64, failure: Option<Failure>) -> Result<Option<LinkEvent>, Goodbye> {
        let Some(flow) = self.streams.remove(&of) else {
            return Err(Goodbye::new(CloseCode::Malformed, format!("the end of stream {of}, which is not open")));
        };
        self.by_id.remove(&flow.id);
        if total != flow.received {
            let reason = format!("stream {of} ends after {total} bytes, but {} came", flow.received);
            return Err(Goodbye::new(CloseCode::Malformed, reason));
        }
        Ok((!flow.is_stopped).then_some(LinkEvent::Ended { stream: flow.id, failure }))
    }

    /// Allows `limit` bytes of a stream. Returns the sequence of its frame, if it is open.
    pub(super) fn grant(&mut self, id: StreamId, limit: u64) -> Option<u64> {
        let of = *self.by_id.get(&id)?;
        let flow = self.streams.get_mut(&of)?;
        flow.limit = flow.limit.max(limit);
        Some(of)
    }

    /// The reader wants no more of a stream. Returns the sequence of its frame, if it is open.
    pub(super) fn stop(&mut self, id: StreamId) -> Option<u64> {
        let of = *self.by_id.get(&id)?;
        let flow = self.streams.get_mut(&of)?;
        (!std::mem::replace(&mut flow.is_stopped, true)).then_some(of)
    }

    /// The open streams that somebody reads.
    pub(super) fn ids(&self) -> Vec<StreamId> {
        self.by_id.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(length: usize) -> Bytes {
        Bytes::from(vec![b'x'; length])
    }

    #[test]
    fn parts_above_the_limit_or_at_a_wrong_place_end_the_link() {
        for (offset, length) in [(10, 91), (11, 1), (9, 1), (10, 0)] {
            let mut flows = Inflows::default();
            flows.announce(3, 10, 100, 2).unwrap();
            assert!(flows.part(3, offset, bytes(length)).is_err(), "{offset} {length}");
        }
        let mut flows = Inflows::default();
        assert!(flows.announce(3, 101, 100, 2).is_err(), "more than the first credit");
        flows.announce(3, 0, 100, 2).unwrap();
        flows.announce(4, 0, 100, 2).unwrap();
        assert!(flows.announce(5, 0, 100, 2).is_err(), "more streams than allowed");
        assert!(flows.end(3, 1, None).is_err(), "a part is missing");
        assert!(flows.end(9, 0, None).is_err(), "it was never announced");
    }

    #[test]
    fn stopped_stream_keeps_its_place_until_its_end() {
        let (mut flows, id) = (Inflows::default(), StreamId(8));
        flows.announce(3, 0, 100, 1).unwrap();
        flows.name(3, id);
        let part = LinkEvent::Part { stream: id, part: bytes(60) };
        assert_eq!(flows.part(3, 0, bytes(60)), Ok(Some(part)));
        assert_eq!((flows.grant(id, 160), flows.grant(id, 20), flows.grant(StreamId(9), 1)), (Some(3), Some(3), None));
        assert_eq!((flows.stop(id), flows.stop(id)), (Some(3), None), "it is told once");
        assert_eq!(flows.part(3, 60, bytes(100)), Ok(None), "dropped");
        assert!(flows.announce(4, 0, 100, 1).is_err(), "its place is taken");
        assert_eq!(flows.end(3, 160, Some(Failure::cancelled("enough"))), Ok(None));
        assert!(flows.announce(4, 0, 100, 1).is_ok() && flows.ids().is_empty());
    }
}
