//! Both ends of the streams between a test and the actor.
//!
//! A stream is named by its payload, which can be cloned: the payload that the test sends, that the actor replied, or that the
//! actor sent.

use std::{
    collections::BTreeMap,
    mem,
    task::{Context as Task, Poll, Waker},
};

use serde::de::DeserializeOwned;

use super::Actor;
use crate::{
    Failure, Payload,
    engine::Engine,
    stream::{FIRST_CREDIT, Part, Stream},
};

/// Streams that the actor reads. The test writes them.
impl<A: crate::Actor> Actor<A> {
    /// Makes a payload whose stream the test writes with [`part`](Self::part) and [`end`](Self::end). To send a stream that needs no
    /// such steps, send a [`Stream::from_fn`] or a whole body.
    pub fn stream(&mut self, content_type: &str) -> Payload {
        let id = self.mesh.peers.borrow_mut().open_input(None);
        Payload::new(content_type, Stream::of_test(id))
    }

    /// Delivers the next bytes of a stream. A host delivers only what the actor has allowed: 64 KiB, and what it granted.
    ///
    /// # Panics
    ///
    /// If these bytes are more than that, or the stream has ended.
    pub fn part(&mut self, stream: &Payload, bytes: impl AsRef<[u8]>) {
        let (id, bytes) = (number(stream), bytes.as_ref());
        self.mesh.peers.borrow_mut().deliver(id, bytes.len());
        self.run(|engine| engine.part(id, bytes.to_vec()));
    }

    /// Ends a stream: it is complete, or has failed.
    pub fn end(&mut self, stream: &Payload, end: Result<(), Failure>) {
        let id = number(stream);
        self.mesh.peers.borrow_mut().deliver(id, 0).ended = true;
        self.run(|engine| engine.ended(id, end.err()));
    }

    /// The number of bytes that the actor has allowed after the first 64 KiB.
    pub fn granted(&self, stream: &Payload) -> u64 {
        self.mesh.peers.borrow_mut().input(number(stream)).granted
    }

    /// Whether the actor has cancelled a stream.
    pub fn is_cancelled(&self, stream: &Payload) -> bool {
        self.mesh.peers.borrow_mut().input(number(stream)).cancelled
    }
}

/// Streams that the actor writes. The test reads them.
impl<A: crate::Actor> Actor<A> {
    /// Reads the body of a payload to its end. Allows the actor to write as it reads, answers requests, and ends sleeps immediately.
    /// The error is that of the stream.
    pub fn read(&mut self, stream: &Payload) -> Result<Vec<u8>, Failure> {
        if stream.attached.is_none() {
            return Ok(stream.body.clone());
        }
        let mut body = Vec::new();
        loop {
            let part = self.written(stream);
            body.extend_from_slice(&part);
            if let Some(end) = self.ended(stream) {
                return end.map(|()| body);
            }
            let credit = u32::try_from(part.len()).unwrap_or(u32::MAX);
            if credit > 0 {
                self.credit(stream, credit);
            } else if self.mesh.peers.borrow_mut().output(number(stream)).credit == 0 {
                self.credit(stream, FIRST_CREDIT);
            } else if !self.step() {
                panic!(
                    "the stream never ends: its writer awaits something that is not a request, a sleep or a stream of this test"
                );
            }
        }
    }

    /// Reads lines of JSON to the end of a stream.
    ///
    /// # Panics
    ///
    /// If a line is not the JSON of a `T`.
    pub fn read_lines<T: DeserializeOwned>(&mut self, stream: &Payload) -> Result<Vec<T>, Failure> {
        let body = self.read(stream)?;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let values = lines.map(|line| match serde_json::from_slice(line) {
            Ok(value) => value,
            Err(error) => panic!("the line `{}` has another form: {error}", String::from_utf8_lossy(line)),
        });
        Ok(values.collect())
    }

    /// Takes the bytes that the actor has written since the last call. It may write no more for that: see [`credit`](Self::credit).
    pub fn written(&mut self, stream: &Payload) -> Vec<u8> {
        mem::take(&mut self.mesh.peers.borrow_mut().output(number(stream)).written)
    }

    /// Allows the actor to write so many bytes more. A new stream has 64 KiB.
    pub fn credit(&mut self, stream: &Payload, bytes: u32) {
        let id = number(stream);
        self.mesh.peers.borrow_mut().output(id).credit += bytes;
        self.run(|engine| engine.ready(id, bytes));
    }

    /// Ends a stream as its reader: it went away, or a host ended the stream.
    pub fn stop(&mut self, stream: &Payload, reason: Failure) {
        let id = number(stream);
        self.mesh.peers.borrow_mut().output(id).ended.get_or_insert(Err(reason.clone()));
        self.run(|engine| engine.ended(id, Some(reason)));
    }

    /// How a stream ended; `None` if it has not.
    pub fn ended(&self, stream: &Payload) -> Option<Result<(), Failure>> {
        self.mesh.peers.borrow_mut().output(number(stream)).ended.clone()
    }
}

impl<A: crate::Actor> Actor<A> {
    /// Makes a call, and then writes the streams of the test as far as the actor reads them.
    pub(super) fn run(&mut self, call: impl FnOnce(&mut Engine)) {
        call(&mut self.engine);
        loop {
            let fed = self.mesh.peers.borrow_mut().feed();
            match fed {
                Some((id, Ok(Some(part)))) => self.engine.part(id, part),
                Some((id, end)) => self.engine.ended(id, end.err()),
                None => return,
            }
        }
    }

    /// Gives the actor the stream of a payload.
    pub(super) fn attach(&self, payload: Payload) -> Payload {
        let Some(attached) = &payload.attached else { return payload };
        let id = match attached.0.test_number() {
            Some(id) if id % 2 == 1 => {
                panic!("the actor writes this stream: send it a `Stream::from_fn` or `stream(…)`")
            }
            Some(id) => id,
            None => self.mesh.peers.borrow_mut().open_input(attached.0.take()),
        };
        self.mesh.peers.borrow_mut().input(id).is_delivered = true;
        self.engine.attach(payload, id)
    }

    /// Reads what waits for credit of the streams that the actor sent with its messages. They stay in [`written`](Self::written).
    pub(super) fn read_sent(&mut self) -> bool {
        let waiting = self.mesh.peers.borrow().waiting();
        for id in &waiting {
            self.mesh.peers.borrow_mut().output(*id).credit += FIRST_CREDIT;
            self.run(|engine| engine.ready(*id, FIRST_CREDIT));
        }
        !waiting.is_empty()
    }
}

fn number(stream: &Payload) -> u64 {
    match stream.attached.as_ref().and_then(|attached| attached.0.test_number()) {
        Some(id) => id,
        None => panic!("this payload has no stream between the test and the actor"),
    }
}

/// Returns a payload with the stream of this number, if it is not 0.
pub(super) fn named(payload: Payload, stream: u64) -> Payload {
    if stream == 0 {
        return payload;
    }
    let Payload { content_type, headers, .. } = payload;
    Payload { headers, ..Payload::new(content_type, Stream::of_test(stream)) }
}

/// The test's ends of all streams. As in a host, those that the actor reads have even numbers, and those that it writes odd ones.
#[derive(Default)]
pub(super) struct Peers {
    inputs: BTreeMap<u64, Input>,
    outputs: BTreeMap<u64, Output>,
}

/// A stream that the actor reads.
struct Input {
    /// Whether a message or a reply with it was delivered.
    is_delivered: bool,
    /// What writes it, if the test does not.
    feed: Option<Stream>,
    room: u64,
    granted: u64,
    ended: bool,
    cancelled: bool,
}

/// A stream that the actor writes.
struct Output {
    written: Vec<u8>,
    credit: u32,
    ended: Option<Result<(), Failure>>,
    /// It is the body of a message that the actor sent.
    is_sent: bool,
}

impl Peers {
    fn open_input(&mut self, feed: Option<Stream>) -> u64 {
        let id = (self.inputs.len() as u64 + 1) * 2;
        let room = FIRST_CREDIT.into();
        self.inputs.insert(id, Input { is_delivered: false, feed, room, granted: 0, ended: false, cancelled: false });
        id
    }

    fn input(&mut self, id: u64) -> &mut Input {
        match self.inputs.get_mut(&id) {
            Some(input) => input,
            None => panic!("the actor writes this stream; expected one that the test writes"),
        }
    }

    /// Takes bytes from what the actor allows.
    fn deliver(&mut self, id: u64, bytes: usize) -> &mut Input {
        let input = self.input(id);
        assert!(input.is_delivered, "no message has this stream yet: send its payload first");
        assert!(!input.ended, "the stream has ended: nothing can follow");
        match input.room.checked_sub(bytes as u64) {
            Some(room) => input.room = room,
            None => {
                panic!("{bytes} bytes are more than the actor allows (limit {}): wait until it grants more", input.room)
            }
        }
        input
    }

    /// Polls the streams that feed the actor. Returns the next part or end of one.
    fn feed(&mut self) -> Option<(u64, Part)> {
        for (id, input) in &mut self.inputs {
            let Some(feed) = &mut input.feed else { continue };
            let room = usize::try_from(input.room).unwrap_or(usize::MAX);
            let Poll::Ready(part) = feed.poll_part(room, &mut Task::from_waker(Waker::noop())) else { continue };
            match &part {
                Ok(Some(bytes)) => input.room -= bytes.len() as u64,
                _ => {
                    input.feed = None;
                    input.ended = true;
                }
            }
            return Some((*id, part));
        }
        None
    }

    pub(super) fn grant(&mut self, id: u64, bytes: u32) {
        let input = self.input(id);
        input.room += u64::from(bytes);
        input.granted += u64::from(bytes);
    }

    pub(super) fn cancel(&mut self, id: u64) {
        let input = self.input(id);
        assert!(!input.ended, "the actor cancels a stream that has ended");
        (input.cancelled, input.ended, input.feed) = (true, true, None);
    }

    pub(super) fn open_output(&mut self) -> u64 {
        let id = self.outputs.len() as u64 * 2 + 1;
        let output = Output { written: Vec::new(), credit: FIRST_CREDIT, ended: None, is_sent: false };
        self.outputs.insert(id, output);
        id
    }

    fn output(&mut self, id: u64) -> &mut Output {
        match self.outputs.get_mut(&id) {
            Some(output) => output,
            None => panic!("the test writes this stream; expected one that the actor writes"),
        }
    }

    pub(super) fn write(&mut self, id: u64, bytes: &[u8]) {
        let output = self.output(id);
        if output.ended.is_some() {
            return;
        }
        match output.credit.checked_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX)) {
            Some(credit) => output.credit = credit,
            None => panic!("the actor writes {} bytes; its credit is {} bytes", bytes.len(), output.credit),
        }
        output.written.extend_from_slice(bytes);
    }

    pub(super) fn finish(&mut self, id: u64, error: Option<Failure>) {
        self.output(id).ended.get_or_insert(error.map_or(Ok(()), Err));
    }

    pub(super) fn read_with_request(&mut self, id: u64) {
        if let Some(output) = self.outputs.get_mut(&id) {
            output.is_sent = true;
        }
    }

    fn waiting(&self) -> Vec<u64> {
        let waits = |output: &Output| output.is_sent && output.credit == 0 && output.ended.is_none();
        self.outputs.iter().filter(|(_, output)| waits(output)).map(|(id, _)| *id).collect()
    }

    /// Ends the streams of an instance that has ended, as a host does.
    pub(super) fn end_all(&mut self) {
        for output in self.outputs.values_mut() {
            output.ended.get_or_insert_with(|| {
                Err(Failure::new(503, "swapped", "the instance that wrote this stream has ended"))
            });
        }
    }
}
