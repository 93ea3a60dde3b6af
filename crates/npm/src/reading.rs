//! What JavaScript reads item by item: a subscription, a stream.

use std::{
    cell::RefCell,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use futures_util::Stream;

/// A Rust stream that JavaScript reads. Closing it ends a pending read.
pub(crate) struct Reading<S>(Rc<RefCell<State<S>>>);

struct State<S> {
    source: Option<S>,
    waker: Option<Waker>,
}

impl<S: Stream + Unpin + 'static> Reading<S> {
    pub(crate) fn new(source: S) -> Self {
        Self(Rc::new(RefCell::new(State { source: Some(source), waker: None })))
    }

    /// The next item, if it is there already.
    pub(crate) fn take(&self) -> Poll<Option<S::Item>> {
        self.0.borrow_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Waits for the next item; `None` at the end.
    pub(crate) fn next(&self) -> impl Future<Output = Option<S::Item>> + use<S> {
        let state = Rc::clone(&self.0);
        poll_fn(move |context| state.borrow_mut().poll(context))
    }

    /// Ends the reading. Returns the source, if it was not closed before.
    pub(crate) fn close(&self) -> Option<S> {
        let (source, waker) = {
            let mut state = self.0.borrow_mut();
            (state.source.take(), state.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        source
    }
}

impl<S: Stream + Unpin> State<S> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let Some(source) = &mut self.source else { return Poll::Ready(None) };
        let polled = Pin::new(source).poll_next(context);
        if polled.is_pending() {
            self.waker = Some(context.waker().clone());
        }
        polled
    }
}
