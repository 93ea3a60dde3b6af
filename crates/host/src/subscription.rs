//! A subscription: a stream of items with a bounded buffer. A full buffer drops the oldest items and reports their
//! number.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_util::Stream;
use starlane_node::Notice;
use starlane_protocol::{Address, Failure, Payload};

/// An item of a subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event {
        /// The resource that emitted it.
        from: Address,
        /// Its payload.
        payload: Payload,
    },
    /// Events may have been missed on the way to this host.
    Gap,
    /// There are no more events: the subscription was refused, or the resource's host ended it.
    Refused(Failure),
    /// The buffer was full, and this number of oldest items was dropped.
    Lagged(u64),
}

/// The state of a host's subscriptions that answer together.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The number of waiting items.
    pub(crate) waiting: Cell<usize>,
    /// Whether an item was read since the last check.
    pub(crate) advanced: Cell<bool>,
}

#[derive(Debug)]
struct Buffer {
    items: VecDeque<Item>,
    dropped: u64,
    capacity: usize,
    closed: bool,
    waker: Option<Waker>,
    /// Set if this subscription answers together with others.
    reading: Option<Rc<Reading>>,
}

impl Buffer {
    fn push(&mut self, item: Item) {
        self.items.push_back(item);
        if let Some(reading) = &self.reading {
            reading.waiting.set(reading.waiting.get() + 1);
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if let Some(reading) = &self.reading {
            reading.waiting.set(reading.waiting.get().saturating_sub(1));
        }
        Some(item)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// The host's end of a subscription.
#[derive(Debug, Clone)]
pub(crate) struct Sink(Rc<RefCell<Buffer>>);

/// A stream of the events of a topic. Dropping it ends the subscription.
pub struct Subscription {
    buffer: Rc<RefCell<Buffer>>,
    reading: Rc<Reading>,
    on_drop: Option<Box<dyn FnOnce()>>,
}

/// Makes both ends, with a buffer for `capacity` items.
pub(crate) fn channel(capacity: usize, reading: Rc<Reading>) -> (Sink, Subscription) {
    let buffer = Buffer {
        items: VecDeque::new(),
        dropped: 0,
        capacity: capacity.max(1),
        closed: false,
        waker: None,
        reading: None,
    };
    let buffer = Rc::new(RefCell::new(buffer));
    (Sink(Rc::clone(&buffer)), Subscription { buffer, reading, on_drop: None })
}

impl Sink {
    pub(crate) fn push(&self, notice: Notice) {
        let mut buffer = self.0.borrow_mut();
        buffer.closed |= matches!(notice, Notice::Refused(_));
        if buffer.items.len() >= buffer.capacity {
            buffer.pop();
            buffer.dropped += 1;
        }
        buffer.push(match notice {
            // Copy the bytes, so that a buffered event does not keep its whole WebSocket message in memory.
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

    /// Closes the subscription with the host. The reader still gets buffered items.
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

    /// Declares that the reader reads all waiting items without a pause. The host then sends its frames together, when
    /// no items wait any more or after two milliseconds.
    #[must_use]
    pub fn answer_together(self) -> Self {
        {
            let mut buffer = self.buffer.borrow_mut();
            if buffer.reading.replace(Rc::clone(&self.reading)).is_none() {
                self.reading.waiting.set(self.reading.waiting.get() + buffer.items.len());
            }
        }
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
        match buffer.pop() {
            Some(item) => {
                if let Some(reading) = &buffer.reading {
                    reading.advanced.set(true);
                }
                Poll::Ready(Some(item))
            }
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
    fn a_slow_reader_loses_the_oldest_and_gets_their_number() {
        let (sink, mut subscription) = channel(2, Rc::default());
        for text in ["1", "2", "3", "4"] {
            sink.push(event(text));
        }
        let mut read = || subscription.next().now_or_never().flatten();
        assert_eq!(read(), Some(Item::Lagged(2)));
        let Some(Item::Event { payload, .. }) = read() else { panic!("an event") };
        assert_eq!(&payload.body[..], b"3");
        sink.close();
        assert!(matches!(read(), Some(Item::Event { .. })), "buffered items can still be read");
        assert_eq!(read(), None);
    }
}
