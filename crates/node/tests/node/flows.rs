//! The streams of one side of a test.

use std::collections::HashMap;

use bytes::Bytes;
use starlane_protocol::{Failure, Payload, StreamId, StreamRef};

use crate::world::{Side, World};

#[derive(Default)]
pub(crate) struct Flows {
    /// The streams that came with messages, in order.
    pub(crate) came: Vec<StreamId>,
    pub(crate) bytes: HashMap<StreamId, Vec<u8>>,
    pub(crate) ends: HashMap<StreamId, Option<Failure>>,
    /// How much may be written to each stream in total.
    pub(crate) limits: HashMap<StreamId, u64>,
    pub(crate) stops: HashMap<StreamId, Failure>,
    /// Whether parts are left unread.
    pub(crate) is_slow: bool,
    /// The answer to a request for a stream.
    pub(crate) answers: Option<Payload>,
}

impl Flows {
    /// Returns how much of the part is read at once.
    pub(crate) fn part(&mut self, stream: StreamId, part: &Bytes) -> usize {
        assert!(!self.ends.contains_key(&stream), "nothing follows the end");
        self.bytes.entry(stream).or_default().extend_from_slice(part);
        if self.is_slow { 0 } else { part.len() }
    }

    pub(crate) fn end(&mut self, stream: StreamId, failure: Option<Failure>) {
        assert!(self.ends.insert(stream, failure).is_none(), "a stream ended twice");
    }

    pub(crate) fn allow(&mut self, stream: StreamId, limit: u64) {
        let before = self.limits.insert(stream, limit);
        assert!(before.is_none_or(|before| before < limit), "a limit only grows");
    }

    pub(crate) fn stop(&mut self, stream: StreamId, failure: Failure) {
        assert!(self.stops.insert(stream, failure).is_none(), "a stream was stopped twice");
    }

    /// The code of the failure with which a stream ended for its reader; empty if it is complete.
    pub(crate) fn code(&self, stream: StreamId) -> Option<String> {
        self.ends.get(&stream).map(|end| end.as_ref().map_or_else(String::new, |failure| failure.code.clone()))
    }
}

impl Side {
    /// How many bytes the writer of a stream may write in total.
    pub(crate) fn limit(&self, stream: StreamId) -> u64 {
        self.flows.limits.get(&stream).copied().unwrap_or_else(|| self.node.first_credit())
    }
}

/// A stream that a test writes.
pub(crate) struct Source {
    side: usize,
    pub(crate) id: StreamId,
    written: u64,
}

impl World {
    /// Opens a stream at a side. Its payload goes into one message.
    pub(crate) fn open(&mut self, side: usize) -> (Source, Payload) {
        let stream: StreamRef = self.sides[side].node.handle_open_stream(self.now);
        (Source { side, id: stream.id, written: 0 }, Payload::of_stream("application/octet-stream", stream))
    }

    /// Writes up to `most` bytes of a known pattern, as the credit allows. Returns how many.
    pub(crate) fn write(&mut self, source: &mut Source, most: usize) -> usize {
        let from = source.written;
        let mut stuck = false;
        while !stuck && source.written < from + most as u64 {
            let side = &mut self.sides[source.side];
            let may = side.limit(source.id).min(from + most as u64).min(source.written + 50_000);
            stuck = may <= source.written;
            if !stuck {
                let part = Bytes::from((source.written..may).map(pattern).collect::<Vec<u8>>());
                side.node.handle_write(self.now, source.id, part);
                source.written = may;
            }
            self.run();
        }
        (source.written - from) as usize
    }

    pub(crate) fn finish(&mut self, source: &Source, failure: Option<Failure>) {
        self.sides[source.side].node.handle_finish(self.now, source.id, failure);
        self.run();
    }

    /// The streams that are open at both sides.
    pub(crate) fn open_streams(&self) -> [usize; 2] {
        [0, 1].map(|side| self.sides[side].node.open_streams())
    }
}

/// The byte at a place of every stream.
pub(crate) fn pattern(at: u64) -> u8 {
    (at * 31 + at / 251) as u8
}

/// Whether bytes are the first ones of the pattern.
pub(crate) fn is_pattern(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| *byte == pattern(at as u64))
}
