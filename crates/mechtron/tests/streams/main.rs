//! Streams, both ends driven by tests.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod lines;
mod reading;
mod writing;

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

use mechtron::{Bytes, Call, Failure, Json, Lines, Payload, Stream, Text, actor, testing};
use serde::{Deserialize, Serialize};

/// The credit of a new stream, in bytes.
const FIRST: usize = 64 * 1024;

#[derive(Default)]
struct Streamer {
    /// Lines for the readers of `tail`.
    tails: Vec<Rc<RefCell<Tail>>>,
    /// The outcomes of writers whose readers went away.
    seen: Rc<RefCell<Vec<String>>>,
}

/// What waits for a reader of `tail`, and the waker of its writer.
#[derive(Default)]
struct Tail {
    lines: VecDeque<u32>,
    waker: Option<Waker>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Step {
    add: i64,
}

#[actor]
impl Streamer {
    /// Returns the number of bytes.
    #[operation]
    async fn count(&self, mut body: Stream) -> Result<Json<usize>, Failure> {
        let mut bytes = 0;
        while let Some(Bytes(part)) = body.next().await? {
            bytes += part.len();
        }
        Ok(Json(bytes))
    }

    /// Returns the first part, and drops the rest.
    #[operation]
    async fn first(&self, mut body: Stream) -> Result<Bytes, Failure> {
        body.next().await?.ok_or_else(|| Failure::invalid("there is nothing"))
    }

    /// Takes no stream.
    #[operation]
    fn whole(&self, Bytes(body): Bytes) -> Json<usize> {
        Json(body.len())
    }

    /// Writes so many bytes, 1000 at a time, then fails if `fail` is set.
    #[operation]
    fn pattern(&self, Json((bytes, fail)): Json<(usize, bool)>) -> Stream {
        let seen = Rc::clone(&self.seen);
        Stream::from_fn(async move |mut writer| {
            let pattern: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            for part in pattern.chunks(1000) {
                if let Err(failure) = writer.write(part).await {
                    seen.borrow_mut().push(failure.code.to_string());
                    return Err(failure);
                }
            }
            if fail { Err(Failure::conflict("out of pattern")) } else { Ok(()) }
        })
    }

    /// How writers ended whose readers went away.
    #[operation]
    fn seen(&self) -> Json<Vec<String>> {
        Json(self.seen.borrow().clone())
    }

    #[operation]
    fn mirror(&self, body: Stream) -> Stream {
        body
    }

    /// Adds the steps, and returns each sum as a line.
    #[operation]
    fn sums(&self, mut steps: Lines<Step>) -> Lines<i64> {
        Lines::from_fn(async move |mut sums| {
            let mut sum = 0;
            while let Some(Step { add }) = steps.next().await? {
                sum += add;
                sums.write(&sum).await?;
            }
            Ok(())
        })
    }

    /// Returns the values of good lines, and the failures of bad ones.
    #[operation]
    async fn tolerant(&self, mut steps: Lines<Step>) -> Json<Vec<String>> {
        let mut seen = Vec::new();
        loop {
            match steps.next().await {
                Ok(Some(Step { add })) => seen.push(add.to_string()),
                Ok(None) => return Json(seen),
                Err(failure) => seen.push(failure.to_string()),
            }
        }
    }

    /// Reads two streams at once, and returns one of both.
    #[operation]
    async fn zip(&self, call: &Call) -> Result<Stream, Failure> {
        let ask = |name: &str| call.request(format!("a:{name}"), "read", ());
        let (left, right) = mechtron::join(ask("left"), ask("right")).await;
        let (mut left, mut right) = (left?.stream()?, right?.stream()?);
        Ok(Stream::from_fn(async move |mut writer| {
            loop {
                let (one, other) = mechtron::join(left.next(), right.next()).await;
                match (one?, other?) {
                    (None, None) => return Ok(()),
                    (one, other) => {
                        for Bytes(part) in [one, other].into_iter().flatten() {
                            writer.write(part).await?;
                        }
                    }
                }
            }
        }))
    }

    /// Sends a stream, and returns the reply as text.
    #[operation]
    async fn send(&self, call: &Call, Json(bytes): Json<usize>) -> Result<Text, Failure> {
        let body = Stream::from_fn(async move |mut writer| writer.write(vec![7; bytes]).await);
        Ok(Text(call.request("a:sink", "take", body).await?.text()?))
    }

    /// Sends the own body on.
    #[operation]
    fn forward(&self, call: &Call, body: Stream) -> Result<(), Failure> {
        call.notify("a:sink", "take", body)
    }

    #[operation]
    fn emit(&self, call: &Call) -> Result<(), Failure> {
        call.emit("changed", Stream::from_fn(async |_| Ok(())))
    }

    /// Writes the time each second, three times.
    #[operation]
    fn clock(&self, call: &Call) -> Lines<u64> {
        let context = call.context();
        Lines::from_fn(async move |mut times| {
            for _ in 0..3 {
                times.write(&context.now()).await?;
                context.sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        })
    }

    /// Writes what `tell` gives, for as long as somebody reads.
    #[operation]
    fn tail(&mut self) -> Lines<u32> {
        let tail = Rc::<RefCell<Tail>>::default();
        self.tails.push(Rc::clone(&tail));
        Lines::from_fn(async move |mut lines| {
            loop {
                let next = poll_fn(|task| {
                    let mut tail = tail.borrow_mut();
                    tail.waker = Some(task.waker().clone());
                    tail.lines.pop_front().map_or(Poll::Pending, Poll::Ready)
                });
                lines.write(&next.await).await?;
            }
        })
    }

    /// Gives a line to all tails. Those without a reader have ended.
    #[operation]
    fn tell(&mut self, Json(line): Json<u32>) -> Json<usize> {
        self.tails.retain(|tail| Rc::strong_count(tail) > 1);
        for tail in &self.tails {
            let mut tail = tail.borrow_mut();
            tail.lines.push_back(line);
            if let Some(waker) = tail.waker.take() {
                waker.wake();
            }
        }
        Json(self.tails.len())
    }

    #[operation]
    fn later(&self, call: &Call) {
        call.wake_at(call.now() + 5_000_000_000, 1);
        call.wake_after(Duration::from_millis(6_000_000_000), 2);
        call.wake_after(Duration::from_secs(1), 3);
    }
}

fn streamer() -> testing::Actor<Streamer> {
    testing::Actor::start(()).unwrap()
}

const NDJSON: &str = "application/x-ndjson";
const BYTES: &str = "application/octet-stream";

fn json<T: serde::de::DeserializeOwned>(outcome: Result<Payload, Failure>) -> T {
    outcome.unwrap().json().unwrap()
}

mechtron::export! { streams; "streamer" => Streamer }
