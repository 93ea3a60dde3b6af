//! A stream that a function writes.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context as Task, Poll, Waker},
};

use super::Part;
use crate::Failure;

/// The function of [`Stream::from_fn`](super::Stream::from_fn), running.
pub(super) struct Made {
    function: Option<Function>,
    pipe: Rc<RefCell<Pipe>>,
    /// How the function failed, until the bytes before that are read.
    failed: Option<Failure>,
}

type Function = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// The bytes between the function and the reader of its stream, never more than the reader has room for.
#[derive(Default)]
struct Pipe {
    written: Vec<u8>,
    room: usize,
    /// Why nothing more can be written.
    closed: Option<Failure>,
    /// The writer that waits for room.
    writer: Option<Waker>,
}

impl Made {
    pub(super) fn new(write: impl AsyncFnOnce(StreamWriter) -> Result<(), Failure> + 'static) -> Self {
        let pipe = Rc::<RefCell<Pipe>>::default();
        let writer = StreamWriter { pipe: Rc::clone(&pipe) };
        Made { function: Some(Box::pin(async move { write(writer).await })), pipe, failed: None }
    }

    pub(super) fn poll_part(&mut self, room: usize, task: &mut Task<'_>) -> Poll<Part> {
        self.pipe.borrow_mut().make_room(room);
        if let Some(function) = &mut self.function
            && let Poll::Ready(result) = function.as_mut().poll(task)
        {
            self.function = None;
            self.failed = result.err();
            self.pipe.borrow_mut().close(Failure::conflict("the function of this stream has returned, which ended it"));
        }
        let written = mem::take(&mut self.pipe.borrow_mut().written);
        if !written.is_empty() {
            return Poll::Ready(Ok(Some(written)));
        }
        match (self.failed.take(), &self.function) {
            (Some(failure), _) => Poll::Ready(Err(failure)),
            (None, None) => Poll::Ready(Ok(None)),
            (None, Some(_)) => Poll::Pending,
        }
    }

    pub(super) fn stop(&self, reason: Failure) {
        self.pipe.borrow_mut().close(reason);
    }
}

impl Pipe {
    fn make_room(&mut self, room: usize) {
        self.room = room.saturating_sub(self.written.len());
        if self.room > 0 {
            self.wake_writer();
        }
    }

    fn close(&mut self, reason: Failure) {
        self.closed.get_or_insert(reason);
        self.wake_writer();
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

/// Writes a stream. [`Stream::from_fn`](crate::Stream::from_fn) passes it to its function.
pub struct StreamWriter {
    pipe: Rc<RefCell<Pipe>>,
}

impl StreamWriter {
    /// Writes all bytes. It waits while the reader has no room for them: what is written is never more than the reader allowed.
    ///
    /// Fails if nobody reads the stream any more, with the reason: `cancelled`, `link-lost`, `idle` and so on. Return then.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let mut rest = bytes.as_ref();
        poll_fn(|task| {
            let mut pipe = self.pipe.borrow_mut();
            if let Some(reason) = &pipe.closed {
                return Poll::Ready(Err(reason.clone()));
            }
            let (now, later) = rest.split_at(rest.len().min(pipe.room));
            pipe.written.extend_from_slice(now);
            pipe.room -= now.len();
            rest = later;
            if rest.is_empty() {
                return Poll::Ready(Ok(()));
            }
            pipe.writer = Some(task.waker().clone());
            Poll::Pending
        })
        .await
    }
}
