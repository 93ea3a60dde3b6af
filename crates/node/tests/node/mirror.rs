//! A guest's part that reads streams and writes what it read to streams of its own.

use std::collections::HashMap;

use bytes::Bytes;
use starlane_node::guest::{GuestCall, GuestEffect};
use starlane_protocol::{Failure, Payload, StreamId, StreamRef};

const FIRST_CREDIT: u64 = 64 * 1024;

#[derive(Default)]
pub(crate) struct Mirror {
    opened: u64,
    /// By the numbers of the streams that it reads.
    open: HashMap<u64, Copying>,
    /// The streams that are only counted: the message of each, and its bytes.
    counted: HashMap<u64, (u64, usize)>,
    /// The ends that it was told, by number.
    pub(crate) ended: Vec<(u64, Option<Failure>)>,
}

struct Copying {
    to: u64,
    credit: u64,
    waiting: Vec<u8>,
    ends: bool,
}

impl Mirror {
    /// Begins to copy the stream of a payload. Returns the payload of the copy, and the effects.
    pub(crate) fn begin(&mut self, payload: &Payload) -> (Payload, Vec<GuestEffect>) {
        let to = 2 * self.opened + 1;
        self.opened += 1;
        let copying = Copying { to, credit: FIRST_CREDIT, waiting: Vec::new(), ends: false };
        self.open.insert(payload.stream.as_ref().expect("it has a stream").id.0, copying);
        let copy = Payload::of_stream(&payload.content_type, StreamRef::loose(StreamId(to)));
        (copy, vec![GuestEffect::OpenStream { stream: to }])
    }

    /// Begins to count the bytes of the stream in a message.
    pub(crate) fn read(&mut self, payload: &Payload, message: u64) {
        self.counted.insert(payload.stream.as_ref().expect("it has a stream").id.0, (message, 0));
    }

    pub(crate) fn call(&mut self, call: GuestCall) -> Vec<GuestEffect> {
        match call {
            GuestCall::Part { stream, bytes } if self.counted.contains_key(&stream) => {
                self.counted.get_mut(&stream).unwrap().1 += bytes.len();
                vec![GuestEffect::Grant { stream, bytes: bytes.len() as u32 }]
            }
            GuestCall::Ended { stream, .. } if self.counted.contains_key(&stream) => {
                let (id, bytes) = self.counted.remove(&stream).unwrap();
                vec![GuestEffect::Reply { id, outcome: Ok(crate::world::text(&bytes.to_string())) }]
            }
            // A stream that nobody reads.
            GuestCall::Part { stream, .. } if !self.open.contains_key(&stream) => Vec::new(),
            GuestCall::Part { stream, bytes } => {
                self.open.get_mut(&stream).expect("it reads this stream").waiting.extend_from_slice(&bytes);
                self.copy(stream)
            }
            GuestCall::Ready { stream, credit } => {
                let found = self.open.iter_mut().find(|(_, copying)| copying.to == stream);
                let (from, copying) = found.expect("it writes this stream");
                copying.credit += u64::from(credit);
                let from = *from;
                self.copy(from)
            }
            GuestCall::Ended { stream, error } => {
                assert!(self.ended.iter().all(|(ended, _)| *ended != stream), "{stream} ended twice");
                self.ended.push((stream, error.clone()));
                if stream % 2 == 1 {
                    // The reader of the copy is gone.
                    self.open.retain(|_, copying| copying.to != stream);
                    return Vec::new();
                }
                let Some(copying) = self.open.get_mut(&stream) else { return Vec::new() };
                copying.ends = true;
                match error {
                    Some(_) => vec![GuestEffect::Finish { stream: self.open.remove(&stream).unwrap().to, error }],
                    None => self.copy(stream),
                }
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn copy(&mut self, from: u64) -> Vec<GuestEffect> {
        let copying = self.open.get_mut(&from).expect("it copies this stream");
        let length = copying.waiting.len().min(copying.credit as usize);
        let mut effects = Vec::new();
        if length > 0 {
            let bytes: Vec<u8> = copying.waiting.drain(..length).collect();
            copying.credit -= length as u64;
            effects.push(GuestEffect::Write { stream: copying.to, bytes: Bytes::from(bytes) });
            effects.push(GuestEffect::Grant { stream: from, bytes: length as u32 });
        }
        if copying.ends && copying.waiting.is_empty() {
            effects.push(GuestEffect::Finish { stream: copying.to, error: None });
            self.open.remove(&from);
        }
        effects
    }
}
