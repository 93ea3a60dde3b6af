//! A stream that the host delivers.

use std::{
    collections::VecDeque,
    mem,
    rc::Rc,
    task::{Context as Task, Poll, Waker},
};

use super::{FIRST_CREDIT, Part, Streams, split};
use crate::Failure;

/// The reader's end. It cancels the stream if it is dropped before the stream has ended.
pub(super) struct Incoming {
    streams: Rc<Streams>,
    id: u64,
}

/// What has come of a stream and is not read yet: at most what was granted.
#[derive(Default)]
pub(super) struct Inflow {
    parts: VecDeque<Vec<u8>>,
    ended: Option<Result<(), Failure>>,
    /// The bytes that were read since the last grant.
    consumed: u32,
    reader: Option<Waker>,
}

impl Incoming {
    pub(super) fn open(streams: Rc<Streams>, id: u64) -> Self {
        streams.incoming.borrow_mut().insert(id, Inflow::default());
        Incoming { streams, id }
    }

    pub(super) fn poll_part(&mut self, room: usize, task: &mut Task<'_>) -> Poll<Part> {
        let mut flows = self.streams.incoming.borrow_mut();
        let Some(flow) = flows.get_mut(&self.id) else { return Poll::Ready(Ok(None)) };
        let Some(next) = flow.parts.front_mut() else {
            let Some(ended) = flow.ended.take() else { return flow.wait(task) };
            flows.remove(&self.id);
            return Poll::Ready(ended.map(|()| None));
        };
        if room == 0 {
            return flow.wait(task);
        }
        let part = split(next, room);
        if next.is_empty() {
            flow.parts.pop_front();
        }
        let granted = flow.consume(part.len());
        drop(flows);
        if let Some(bytes) = granted {
            self.streams.mesh.grant(self.id, bytes);
        }
        Poll::Ready(Ok(Some(part)))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let flow = self.streams.incoming.borrow_mut().remove(&self.id);
        if flow.is_some_and(|flow| flow.ended.is_none()) {
            self.streams.mesh.cancel_stream(self.id);
        }
    }
}

impl Inflow {
    pub(super) fn part(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.parts.push_back(bytes);
            self.wake_reader();
        }
    }

    pub(super) fn end(&mut self, error: Option<Failure>) {
        self.ended = Some(error.map_or(Ok(()), Err));
        self.wake_reader();
    }

    /// Returns the number of bytes to grant: what was read, once that is half of the credit.
    fn consume(&mut self, bytes: usize) -> Option<u32> {
        self.consumed = self.consumed.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let due = self.consumed >= FIRST_CREDIT / 2 && self.ended.is_none();
        due.then(|| mem::take(&mut self.consumed))
    }

    fn wait(&mut self, task: &Task<'_>) -> Poll<Part> {
        self.reader = Some(task.waker().clone());
        Poll::Pending
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}
