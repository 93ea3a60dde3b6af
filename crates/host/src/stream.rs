//! The two ends of a stream in this host: what a page, an HTTP route or a driver reads and writes.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream;
use starlane_protocol::{Failure, Payload, StreamId, StreamRef, stream::join_small};

use crate::host::{Host, Inner};

/// A payload, and the stream that takes the place of its body, if it has one.
#[derive(Debug)]
pub struct Fetched {
    /// The payload. Its body is empty if there is a stream.
    pub payload: Payload,
    /// The stream.
    pub stream: Option<Incoming>,
}

impl Fetched {
    /// The payload, if it has a whole body. Errors with 415 `no-streams`, and stops the stream, if it has not.
    pub fn whole(self) -> Result<Payload, Failure> {
        match self.stream {
            None => Ok(self.payload),
            Some(_) => Err(Failure::no_streams("the answer is a stream: ask for it with `fetch`, which reads streams")),
        }
    }
}

/// The parts of a stream that wait for their reader.
#[derive(Debug, Default)]
pub(crate) struct Inflow {
    parts: VecDeque<Bytes>,
    end: Option<Option<Failure>>,
    waker: Option<Waker>,
}

impl Inflow {
    pub(crate) fn part(&mut self, part: Bytes) {
        if let Some(part) = join_small(self.parts.back_mut(), part) {
            self.parts.push_back(part);
        }
        self.wake();
    }

    /// A failure overtakes the parts that were not read.
    pub(crate) fn end(&mut self, failure: Option<Failure>) {
        if failure.is_some() {
            self.parts.clear();
        }
        self.end = Some(failure);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A stream that this host reads: its parts in order, then the end. A failure overtakes parts that were not read. Taking a part gives
/// the writer credit for it. Dropping it before its end stops the writer with `cancelled`.
#[derive(Debug)]
pub struct Incoming {
    host: Weak<Inner>,
    id: StreamId,
    flow: Rc<RefCell<Inflow>>,
}

impl Incoming {
    /// Begins to read the stream of a payload that the node has given to this host.
    pub(crate) fn open(host: &Host, stream: &StreamRef) -> Self {
        let flow = Rc::new(RefCell::new(Inflow::default()));
        host.0.inflows.borrow_mut().insert(stream.id, Rc::clone(&flow));
        Self { host: Rc::downgrade(&host.0), id: stream.id, flow }
    }

    /// Stops the writer for a reason of the reader.
    pub fn stop(self, failure: Failure) {
        self.stop_with(failure);
    }

    fn stop_with(&self, failure: Failure) {
        let Some(inner) = self.host.upgrade() else { return };
        let host = Host(inner);
        host.0.inflows.borrow_mut().remove(&self.id);
        // The node keeps a stream in mind until all of it is read.
        host.turn(|node, now| node.handle_stop(now, self.id, failure));
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, Failure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = {
            let mut flow = self.flow.borrow_mut();
            match (flow.parts.pop_front(), &mut flow.end) {
                (Some(part), _) => Ok(part),
                (None, Some(end)) => Err(end.take()),
                (None, None) => {
                    flow.waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
            }
        };
        Poll::Ready(match next {
            Ok(part) => {
                if let Some(inner) = self.host.upgrade() {
                    Host(inner).turn(|node, now| node.handle_consumed(now, self.id, part.len()));
                }
                Some(Ok(part))
            }
            Err(failure) => failure.map(Err),
        })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.stop_with(Failure::cancelled("the reader of the stream went away"));
    }
}

/// The credit of a stream that this host writes.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    limit: Cell<u64>,
    stopped: RefCell<Option<Failure>>,
    wakers: RefCell<Vec<Waker>>,
}

impl Credit {
    pub(crate) fn allow(&self, limit: u64) {
        self.limit.set(limit);
        self.wake();
    }

    pub(crate) fn stop(&self, failure: Failure) {
        *self.stopped.borrow_mut() = Some(failure);
        self.wake();
    }

    fn wake(&self) {
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

/// A stream that this host writes. Dropping it before [`Outgoing::finish`] ends it with `cancelled`.
#[derive(Debug)]
pub struct Outgoing {
    host: Weak<Inner>,
    id: StreamId,
    written: u64,
    credit: Rc<Credit>,
    is_finished: bool,
}

impl Outgoing {
    /// Writes bytes, and waits for credit where the reader is slower. Errors with the reason of the reader when it wants no more, and
    /// with the reason of a host on the way when the stream broke.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let room = poll_fn(|context| self.poll_room(context)).await?;
            let part = bytes.split_to(bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX)));
            self.written += part.len() as u64;
            if let Some(inner) = self.host.upgrade() {
                Host(inner).turn(|node, now| node.handle_write(now, self.id, part));
            }
        }
        Ok(())
    }

    /// How many bytes may be written now, at least one.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<Result<u64, Failure>> {
        if let Some(failure) = &*self.credit.stopped.borrow() {
            return Poll::Ready(Err(failure.clone()));
        }
        if self.host.strong_count() == 0 {
            return Poll::Ready(Err(Failure::closed("the host of the stream closed")));
        }
        match self.credit.limit.get().saturating_sub(self.written) {
            0 => {
                self.credit.wakers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
            room => Poll::Ready(Ok(room)),
        }
    }

    /// Waits until the reader wants no more, and returns its reason.
    pub async fn stopped(&self) -> Failure {
        poll_fn(|context| match &*self.credit.stopped.borrow() {
            Some(failure) => Poll::Ready(failure.clone()),
            None => {
                self.credit.wakers.borrow_mut().push(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// Ends the stream: it is complete, or the failure says why it is not.
    pub fn finish(mut self, failure: Option<Failure>) {
        self.end(failure);
    }

    fn end(&mut self, failure: Option<Failure>) {
        if let (false, Some(inner)) = (std::mem::replace(&mut self.is_finished, true), self.host.upgrade()) {
            let host = Host(inner);
            host.0.credits.borrow_mut().remove(&self.id);
            host.turn(|node, now| node.handle_finish(now, self.id, failure));
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.end(Some(Failure::cancelled("the writer of the stream went away")));
    }
}

impl Host {
    /// Opens a stream. The reference goes into the payload of one message or answer, see [`Payload::of_stream`]; if that is dropped, the
    /// stream ends.
    pub fn open_stream(&self) -> (StreamRef, Outgoing) {
        let credit = Rc::new(Credit::default());
        let stream = {
            let now = self.0.ports.time.now_ms();
            let mut node = self.0.node.borrow_mut();
            credit.limit.set(node.first_credit());
            node.handle_open_stream(now)
        };
        self.0.credits.borrow_mut().insert(stream.id, Rc::clone(&credit));
        self.arm_timer();
        let outgoing = Outgoing { host: Rc::downgrade(&self.0), id: stream.id, written: 0, credit, is_finished: false };
        (stream, outgoing)
    }

    /// Takes the stream out of a payload that the node has given to this host.
    pub(crate) fn fetched(&self, mut payload: Payload) -> Fetched {
        let stream = payload.stream.take().map(|stream| Incoming::open(self, &stream));
        Fetched { payload, stream }
    }
}
