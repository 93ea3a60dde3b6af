//! Streams between the hosts, and what became of their bytes.

use std::collections::BTreeMap;

use bytes::Bytes;
use starlane_node::{Origin, Principal};
use starlane_protocol::{Failure, Message, Payload, StreamId};

use crate::world::{Event, PAGES, SERVER, Sim, address};

/// The header with the number of a stream.
const NUMBER: &str = "number";

/// A stream that was opened, and what both ends have seen of it.
pub(crate) struct Streamed {
    writer: (usize, u64),
    from: StreamId,
    /// How many bytes it is to have, how many were written, and how many may be.
    goal: u64,
    written: u64,
    limit: u64,
    /// How the writer has ended it: complete or not.
    finished: Option<bool>,
    stopped: Option<Failure>,
    reader: Option<(usize, u64)>,
    received: u64,
    consumed: u64,
    ended: Option<Option<Failure>>,
    /// The reader wants no more.
    gave_up: bool,
    /// A host of it died.
    excused: bool,
}

#[derive(Default)]
pub(crate) struct Streams {
    all: Vec<Streamed>,
    /// By the host and its number of the stream.
    written: BTreeMap<(usize, StreamId), usize>,
    read: BTreeMap<(usize, StreamId), usize>,
    pub(crate) bytes: u64,
    pub(crate) complete: usize,
}

impl Streams {
    pub(crate) fn writer_of(&self, number: usize) -> usize {
        self.all[number].writer.0
    }

    pub(crate) fn died(&mut self, side: usize) {
        for stream in &mut self.all {
            let concerned = stream.writer.0 == side || stream.reader.is_some_and(|(reader, _)| reader == side);
            stream.excused |= concerned || side == SERVER;
        }
        self.written.retain(|(at, _), _| *at != side);
        self.read.retain(|(at, _), _| *at != side);
    }
}

/// The byte at a place of a stream.
fn pattern(number: usize, at: u64) -> u8 {
    (number as u64 * 7 + at * 13 + at / 251) as u8
}

impl Sim {
    /// Opens a stream at a host. Returns the payload of its message.
    fn open_stream(&mut self, side: usize) -> Payload {
        let number = self.streams.all.len();
        let now = self.now;
        let node = &mut self.sides[side].node;
        let (stream, limit) = (node.handle_open_stream(now), node.first_credit());
        let goal = if self.rng.u8(..) < 40 { self.rng.u64(100_000..1_500_000) } else { self.rng.u64(0..60_000) };
        let (writer, from) = ((side, self.sides[side].epoch), stream.id);
        self.streams.all.push(Streamed {
            writer,
            from,
            goal,
            written: 0,
            limit,
            finished: None,
            stopped: None,
            reader: None,
            received: 0,
            consumed: 0,
            ended: None,
            gave_up: false,
            excused: false,
        });
        self.streams.written.insert((side, from), number);
        self.at(1, Event::Write { number });
        let mut payload = Payload::of_stream("application/octet-stream", stream);
        payload.headers.push((NUMBER.to_owned(), number.to_string()));
        payload
    }

    /// A page sends a stream, or asks for one.
    pub(crate) fn send_stream(&mut self) {
        let from = PAGES[self.rng.usize(0..2)];
        if self.sides[from].frozen > self.now {
            return;
        }
        let other = PAGES[usize::from(from == PAGES[0])];
        let target = match self.rng.u8(0..3) {
            0 => address(&format!("{}::acme:ui", self.sides[other].node.name())),
            _ => address("acme:service"),
        };
        let origin = Origin { address: address("starlane:page"), caller: Principal::named("me") };
        let (kind, timeout) = (self.rng.u8(0..3), self.rng.u32(500..40_000));
        let payload = if kind == 2 { Payload::nothing() } else { self.open_stream(from) };
        let (now, node) = (self.now, &mut self.sides[from].node);
        match kind {
            0 => drop(node.handle_notify(now, &origin, &target, "upload", payload)),
            1 => drop(node.handle_request(now, &origin, &target, "upload", payload, timeout)),
            _ => drop(node.handle_request(now, &origin, &target, "download", payload, timeout)),
        }
    }

    /// A handler got a message about streams.
    pub(crate) fn stream_delivered(&mut self, at: usize, message: &mut Message) {
        self.stream_came(at, &mut message.payload);
        let Some(request) = message.request else { return };
        // Some handlers never answer.
        if self.rng.u8(..) > 20 {
            let payload = if message.operation == "download" { self.open_stream(at) } else { Payload::nothing() };
            let now = self.now;
            self.sides[at].node.handle_reply(now, request, Ok(payload));
        }
    }

    /// A host got a payload, and reads its stream from now on.
    pub(crate) fn stream_came(&mut self, at: usize, payload: &mut Payload) {
        let Some(stream) = payload.stream.take() else { return };
        let number: usize = payload.header(NUMBER).unwrap().parse().unwrap();
        let streamed = &mut self.streams.all[number];
        assert!(streamed.reader.is_none(), "stream {number} was given to two readers");
        streamed.reader = Some((at, self.sides[at].epoch));
        self.streams.read.insert((at, stream.id), number);
    }

    /// The writer goes on, as far as its credit allows.
    pub(crate) fn write_stream(&mut self, number: usize) {
        let stream = &self.streams.all[number];
        let (side, epoch) = stream.writer;
        if self.sides[side].epoch != epoch || stream.finished.is_some() || stream.stopped.is_some() {
            return;
        }
        let (from, written) = (stream.from, stream.written);
        let may = stream.limit.min(stream.goal).min(written + self.rng.u64(1..90_000));
        let fails = self.rng.u16(..) < 200;
        let part: Vec<u8> = (written..may).map(|at| pattern(number, at)).collect();
        let (now, node) = (self.now, &mut self.sides[side].node);
        if !part.is_empty() {
            node.handle_write(now, from, Bytes::from(part));
        }
        let stream = &mut self.streams.all[number];
        stream.written = stream.written.max(may);
        if fails {
            stream.finished = Some(false);
            node.handle_finish(now, from, Some(Failure::conflict("as planned")));
        } else if stream.written == stream.goal {
            stream.finished = Some(true);
            node.handle_finish(now, from, None);
        } else if may > written {
            let delay = self.rng.u64(1..150);
            self.at(delay, Event::Write { number });
        }
    }

    pub(crate) fn stream_part(&mut self, at: usize, id: StreamId, part: &Bytes) {
        let number = self.streams.read[&(at, id)];
        let stream = &mut self.streams.all[number];
        assert!(stream.ended.is_none(), "stream {number} goes on after its end");
        assert!(!stream.gave_up, "stream {number} goes on after its reader gave up");
        let from = stream.received;
        stream.received += part.len() as u64;
        let is_right = part.iter().zip(from..).all(|(byte, at)| *byte == pattern(number, at));
        assert!(is_right, "stream {number} differs between {from} and {}", stream.received);
        assert!(stream.received <= stream.written, "more bytes than were written");
        let waiting = stream.received - stream.consumed;
        assert!(waiting <= 1024 * 1024, "{waiting} bytes wait for the reader of stream {number}");
        self.streams.bytes += part.len() as u64;
        let delay = match self.rng.u8(..) {
            0..2 => 200_000,
            2..30 => self.rng.u64(0..3_000),
            _ => self.rng.u64(0..20),
        };
        let epoch = self.sides[at].epoch;
        self.at(delay, Event::Read { at, stream: id, number, bytes: part.len(), epoch });
    }

    /// The reader has consumed a part, or gives up.
    pub(crate) fn read_stream(&mut self, at: usize, id: StreamId, number: usize, bytes: usize) {
        let stream = &mut self.streams.all[number];
        stream.consumed += bytes as u64;
        if stream.gave_up {
            return;
        }
        let (now, node) = (self.now, &mut self.sides[at].node);
        if self.rng.u16(..) < 300 {
            stream.gave_up = true;
            node.handle_stop(now, id, Failure::cancelled("enough"));
        } else {
            node.handle_consumed(now, id, bytes);
        }
    }

    pub(crate) fn stream_ended(&mut self, at: usize, id: StreamId, failure: Option<Failure>) {
        let number = self.streams.read[&(at, id)];
        let stream = &mut self.streams.all[number];
        assert!(stream.ended.is_none() && !stream.gave_up, "stream {number} ended twice");
        if failure.is_none() {
            assert_eq!(stream.finished, Some(true), "stream {number} is not complete");
            assert_eq!(stream.received, stream.written, "stream {number} lost bytes");
            self.streams.complete += 1;
        }
        stream.ended = Some(failure);
    }

    pub(crate) fn stream_credit(&mut self, at: usize, id: StreamId, limit: u64) {
        let Some(number) = self.streams.written.get(&(at, id)).copied() else { return };
        let stream = &mut self.streams.all[number];
        assert!(limit > stream.limit, "the limit of stream {number} fell");
        assert!(limit <= stream.written + 1024 * 1024, "the limit of stream {number} is too high");
        stream.limit = limit;
        self.at(1, Event::Write { number });
    }

    pub(crate) fn stream_stopped(&mut self, at: usize, id: StreamId, failure: Failure) {
        let number = self.streams.written[&(at, id)];
        let stream = &mut self.streams.all[number];
        assert!(stream.stopped.is_none() && stream.finished.is_none(), "the writer of stream {number} hears two ends");
        stream.stopped = Some(failure);
    }

    /// Each half has seen one end, and no host keeps anything of a stream.
    pub(crate) fn check_streams(&self) {
        for (number, stream) in self.streams.all.iter().enumerate().filter(|(_, stream)| !stream.excused) {
            let is_over = stream.finished.is_some() || stream.stopped.is_some();
            assert!(is_over, "the writer of stream {number} waits: {} of {}", stream.written, stream.goal);
            let heard = stream.reader.is_none() || stream.gave_up || stream.ended.is_some();
            assert!(heard, "the reader of stream {number} waits: {} of {}", stream.received, stream.goal);
        }
        for (index, side) in self.sides.iter().enumerate() {
            assert_eq!(side.node.open_streams(), 0, "open streams of host {index}");
        }
    }
}
