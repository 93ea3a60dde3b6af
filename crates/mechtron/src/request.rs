//! Futures for handlers: requests and sleeps.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context as Task, Poll},
    time::Duration,
};

use crate::{Failure, Outcome, Payload, mesh::Wiring};

/// A request. Await it for the reply. [`Context::request`](crate::Context::request) makes it.
///
/// It is sent when it is first awaited, or by [`send`](Self::send). If it is dropped, its reply is ignored. A body that is a
/// [`Stream`](crate::Stream) is written until its end, also after the reply, which can come before that end.
#[must_use = "a request is sent when it is awaited, or by `send()`"]
pub struct Request {
    wiring: Rc<Wiring>,
    timeout_ms: u32,
    state: State,
}

enum State {
    Unsent { target: String, operation: String, payload: Result<Payload, Failure> },
    Sent(u64),
    Done,
}

impl Request {
    pub(crate) fn new(
        wiring: Rc<Wiring>,
        target: String,
        operation: String,
        payload: Result<Payload, Failure>,
    ) -> Self {
        Request { wiring, timeout_ms: 0, state: State::Unsent { target, operation, payload } }
    }

    /// Sets the timeout, which is 30 s by default and at least 1 ms. After it, the request fails with 408 `deadline`.
    pub fn timeout(mut self, at_most: Duration) -> Self {
        self.timeout_ms = millis(at_most).max(1);
        self
    }

    /// Sends the request now, so that others can be sent before this one is awaited.
    pub fn send(mut self) -> Self {
        self.dispatch();
        self
    }

    fn dispatch(&mut self) {
        let State::Unsent { target, operation, payload } = &mut self.state else { return };
        let Ok(body) = payload else { return };
        let stream = match body.open_stream(self.wiring.streams.as_ref()) {
            Ok(stream) => stream,
            Err(failure) => {
                *payload = Err(failure);
                return;
            }
        };
        let id = self.wiring.mesh.request(target, operation, std::mem::take(body), stream, self.timeout_ms);
        self.wiring.requests.borrow_mut().insert(id, None);
        self.state = State::Sent(id);
    }
}

impl Future for Request {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<Outcome> {
        self.dispatch();
        match &self.state {
            State::Unsent { payload: Err(failure), .. } => {
                let failure = failure.clone();
                self.state = State::Done;
                Poll::Ready(Err(failure))
            }
            State::Sent(id) => {
                let mut requests = self.wiring.requests.borrow_mut();
                if !matches!(requests.get(id), Some(Some(_))) {
                    return Poll::Pending;
                }
                let outcome = requests.remove(id).flatten();
                drop(requests);
                self.state = State::Done;
                outcome.map_or(Poll::Pending, Poll::Ready)
            }
            State::Unsent { .. } | State::Done => Poll::Pending,
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let State::Sent(id) = self.state {
            self.wiring.requests.borrow_mut().remove(&id);
        }
    }
}

/// A wait for a given time. [`Context::sleep`](crate::Context::sleep) makes it.
#[must_use = "a sleep begins when it is awaited"]
pub struct Sleep {
    wiring: Rc<Wiring>,
    delay: Duration,
    token: Option<u64>,
}

impl Sleep {
    pub(crate) fn new(wiring: Rc<Wiring>, delay: Duration) -> Self {
        Sleep { wiring, delay, token: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Task<'_>) -> Poll<()> {
        let Some(token) = self.token else {
            let token = self.wiring.sleep_token();
            self.wiring.sleeps.borrow_mut().insert(token, false);
            self.wiring.set_timer(self.delay, token);
            self.token = Some(token);
            return Poll::Pending;
        };
        let over = self.wiring.sleeps.borrow().get(&token).copied().unwrap_or(true);
        if over { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.wiring.sleeps.borrow_mut().remove(&token);
        }
    }
}

/// Awaits two futures at the same time.
pub async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|task| {
        advance(a.as_mut(), &mut first, task);
        advance(b.as_mut(), &mut second, task);
        match (first.take(), second.take()) {
            (Some(one), Some(other)) => Poll::Ready((one, other)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

/// Awaits all futures at the same time. The results are in the order of the futures.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut all: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    poll_fn(|task| {
        for (future, done) in &mut all {
            advance(future.as_mut(), done, task);
        }
        if all.iter().all(|(_, done)| done.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    all.into_iter().filter_map(|(_, done)| done).collect()
}

fn advance<F: Future>(future: Pin<&mut F>, done: &mut Option<F::Output>, task: &mut Task<'_>) {
    if done.is_none()
        && let Poll::Ready(output) = future.poll(task)
    {
        *done = Some(output);
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
