//! A stream that the host delivers.

use std::{
    collections::VecDeque,
    mem,
    rc::Rc,
    task::{Context as Task, Poll, Waker},
};

use super::{FIRST_CREDIT, Part, Streams, split};
use crate::Failure;

/// A part that waits is joined with the next one if it is smaller than this. The memory of many tiny parts is a multiple of their bytes.
const SMALL_BYTES: usize = 4096;

/// The reader's end. It cancels the stream if it is dropped before the stream has ended.
pub(super) struct Incoming {
    streams: Rc<Streams>,
    id: u64,
}

/// What has come of a stream and is not read yet: at most what was granted.
#[derive(Default)]
pub(super) struct Inflow {
    parts: VecDeque<Vec<u8>>,
    has_ended: bool,
    /// Why the stream is not complete.
    failed: Option<Failure>,
    /// The bytes that were read since the last grant.
    consumed: u32,
    reader: Option<Waker>,
}

impl Incoming {
    pub(super) fn open(streams: Rc<Streams>, id: u64) -> Self {
        streams.incoming.insert(id, Inflow::default());
        Incoming { streams, id }
    }

    pub(super) fn poll_part(&mut self, room: usize, task: &mut Task<'_>) -> Poll<Part> {
        let (part, granted) = match self.streams.incoming.with(self.id, |flow| flow.poll_part(room, task)) {
            Some(Poll::Ready(taken)) => taken,
            Some(Poll::Pending) => return Poll::Pending,
            None => return Poll::Ready(Ok(None)),
        };
        if let Some(bytes) = granted {
            self.streams.mesh.grant(self.id, bytes);
        }
        Poll::Ready(part)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let flow = self.streams.incoming.remove(self.id);
        if flow.is_some_and(|flow| !flow.has_ended) {
            self.streams.mesh.cancel_stream(self.id);
        }
    }
}

impl Inflow {
    pub(super) fn part(&mut self, bytes: Vec<u8>) {
        match self.parts.back_mut() {
            _ if bytes.is_empty() => return,
            Some(last) if last.len() < SMALL_BYTES => last.extend_from_slice(&bytes),
            _ => self.parts.push_back(bytes),
        }
        self.wake_reader();
    }

    pub(super) fn end(&mut self, error: Option<Failure>) {
        (self.has_ended, self.failed) = (true, error);
        self.wake_reader();
    }

    /// Returns the next part, and the number of bytes to grant for it.
    fn poll_part(&mut self, room: usize, task: &Task<'_>) -> Poll<(Part, Option<u32>)> {
        let Some(next) = self.parts.front_mut() else {
            if !self.has_ended {
                return self.wait(task);
            }
            return Poll::Ready((self.failed.take().map_or(Ok(None), Err), None));
        };
        if room == 0 {
            return self.wait(task);
        }
        let part = split(next, room);
        if next.is_empty() {
            self.parts.pop_front();
        }
        let granted = self.consume(part.len());
        Poll::Ready((Ok(Some(part)), granted))
    }

    /// Returns the number of bytes to grant: what was read, once that is half of the credit.
    fn consume(&mut self, bytes: usize) -> Option<u32> {
        self.consumed = self.consumed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let due = self.consumed >= FIRST_CREDIT / 2 && !self.has_ended;
        due.then(|| mem::take(&mut self.consumed))
    }

    fn wait<T>(&mut self, task: &Task<'_>) -> Poll<T> {
        self.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
