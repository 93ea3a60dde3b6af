//! A subscription: a stream of notices with a bounded buffer that drops the oldest and says how many.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream;
use starlane_node::Notice;
use starlane_protocol::{Address, Failure, Payload};

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event {
        /// The resource that emitted it.
        from: Address,
        /// What it carries.
        payload: Payload,
    },
    /// Events may have been missed on the way.
    Gap,
    /// There will be no more events: the subscription is refused, or was ended by the resource's host.
    Refused(Failure),
    /// The buffer was full: so many of the oldest were dropped.
    Lagged(u64),
}

#[derive(Debug, Default)]
struct Buffer {
    items: VecDeque<Item>,
    dropped: u64,
    capacity: usize,
    closed: bool,
    waker: Option<Waker>,
}

/// The host's end.
#[derive(Debug, Clone)]
pub(crate) struct Sink(Rc<RefCell<Buffer>>);

/// The events of a topic, as a stream. Dropping it unsubscribes.
pub struct Subscription {
    buffer: Rc<RefCell<Buffer>>,
    on_drop: Option<Box<dyn FnOnce()>>,
}

/// A pair of ends with room for `capacity` items.
pub(crate) fn channel(capacity: usize) -> (Sink, Subscription) {
    let buffer = Rc::new(RefCell::new(Buffer { capacity: capacity.max(1), ..Buffer::default() }));
    (Sink(Rc::clone(&buffer)), Subscription { buffer, on_drop: None })
}

impl Sink {
    pub(crate) fn push(&self, notice: Notice) {
        let mut buffer = self.0.borrow_mut();
        buffer.closed |= matches!(notice, Notice::Refused(_));
        if buffer.items.len() >= buffer.capacity {
            buffer.items.pop_front();
            buffer.dropped += 1;
        }
        buffer.items.push_back(match notice {
            // A buffered event keeps only its own bytes alive, not the message that it came in.
            Notice::Event { from, mut payload } => {
                payload.body = Bytes::copy_from_slice(&payload.body);
                Item::Event { from, payload }
            }
            Notice::Gap => Item::Gap,
            Notice::Refused(failure) => Item::Refused(failure),
        });
        if let Some(waker) = buffer.waker.take() {
            waker.wake();
        }
    }

    /// The host closes: what is buffered is still read.
    pub(crate) fn close(&self) {
        let mut buffer = self.0.borrow_mut();
        buffer.closed = true;
        if let Some(waker) = buffer.waker.take() {
            waker.wake();
        }
    }
}

impl Subscription {
    pub(crate) fn on_drop(mut self, on_drop: impl FnOnce() + 'static) -> Self {
        self.on_drop = Some(Box::new(on_drop));
        self
    }
}

impl Stream for Subscription {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        let mut buffer = self.buffer.borrow_mut();
        if buffer.dropped > 0 {
            return Poll::Ready(Some(Item::Lagged(std::mem::take(&mut buffer.dropped))));
        }
        match buffer.items.pop_front() {
            Some(item) => Poll::Ready(Some(item)),
            None if buffer.closed => Poll::Ready(None),
            None => {
                buffer.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, StreamExt};

    use super::*;

    fn event(text: &'static str) -> Notice {
        Notice::Event { from: Address::parse("acme:x").unwrap(), payload: Payload::new("text/plain", text) }
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_and_is_told_how_many() {
        let (sink, mut subscription) = channel(2);
        for text in ["1", "2", "3", "4"] {
            sink.push(event(text));
        }
        let mut read = || subscription.next().now_or_never().flatten();
        assert_eq!(read(), Some(Item::Lagged(2)));
        let Some(Item::Event { payload, .. }) = read() else { panic!("an event") };
        assert_eq!(&payload.body[..], b"3");
        sink.close();
        assert!(matches!(read(), Some(Item::Event { .. })), "what is buffered is still read");
        assert_eq!(read(), None);
    }
}
