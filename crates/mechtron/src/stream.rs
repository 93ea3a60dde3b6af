//! Bodies that follow their message in parts: what authors read, and what they write.

mod incoming;
mod lines;
mod outgoing;
mod pipe;
mod table;

use std::{
    cell::RefCell,
    future::poll_fn,
    rc::Rc,
    task::{Context as Task, Poll},
};

pub(crate) use starlane_abi::limits::FIRST_CREDIT;

use self::{
    incoming::{Incoming, Inflow},
    outgoing::{Outflow, Pump},
    pipe::Made,
    table::Table,
};
pub use self::{
    lines::{Lines, LinesWriter},
    pipe::StreamWriter,
};
use crate::{Bytes, Failure, FromPayload, IntoPayload, Payload, mesh::StreamMesh, payload::Attach};

/// The maximum size of a part that [`Stream::next`] returns.
const PART_BYTES: usize = 64 * 1024;

/// A body that follows its message in parts, each a [`Bytes`], until its end.
///
/// An operation that takes a `Stream` reads it with [`next`](Self::next). An operation that returns one makes it with
/// [`from_fn`](Self::from_fn), or returns a stream that it got. The stream of a reply goes on after the method has returned,
/// while the actor handles other messages.
///
/// A sender can send a whole body too: it is then a stream of that body.
#[must_use = "a stream that is dropped is cancelled: read it, or send it"]
pub struct Stream(Source);

enum Source {
    /// A body that was there with its message.
    Whole(Vec<u8>),
    /// A stream that the host delivers.
    Incoming(Incoming),
    /// A stream that a function of the author writes.
    Made(Made),
    /// It has ended.
    Over,
    /// A stream between a test and the actor, by its number.
    #[cfg(not(target_arch = "wasm32"))]
    Test(u64),
}

/// The next bytes; `None` at the end of a complete stream.
pub(crate) type Part = Result<Option<Vec<u8>>, Failure>;

impl Stream {
    /// Makes a stream that a function writes. `Ok(())` completes it. An error ends it, and its reader gets the failure.
    ///
    /// ```
    /// # use mechtron::Stream;
    /// fn numbers(count: u32) -> Stream {
    ///     Stream::from_fn(async move |mut writer| {
    ///         for number in 0..count {
    ///             writer.write(format!("{number}\n")).await?;
    ///         }
    ///         Ok(())
    ///     })
    /// }
    /// ```
    ///
    /// The function begins when the stream is sent or read, and owns its data, because it can outlive the method that makes it:
    /// write `async move`. To send messages from it, give it a [`Call::context`](crate::Call::context).
    pub fn from_fn(write: impl AsyncFnOnce(StreamWriter) -> Result<(), Failure> + 'static) -> Self {
        Stream(Source::Made(Made::new(write)))
    }

    /// Returns the next bytes, in order, as soon as there are any, and `None` at the end. Parts have other boundaries than the
    /// writes of the sender.
    ///
    /// A stream that ended early is an error: the failure of its writer, or the reason of a host, such as
    /// `link-lost` or `idle`. After an error or `None`, it returns `None`.
    ///
    /// Reading lets the sender send more. A future of this method can be dropped without loss.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        let part = poll_fn(|task| self.poll_part(PART_BYTES, task)).await?;
        Ok(part.map(Bytes))
    }

    /// Returns at most `room` bytes. The function of a made stream runs also without room, since it may end or await something else.
    pub(crate) fn poll_part(&mut self, room: usize, task: &mut Task<'_>) -> Poll<Part> {
        let part = match &mut self.0 {
            Source::Whole(body) if body.is_empty() => Poll::Ready(Ok(None)),
            Source::Whole(_) if room == 0 => Poll::Pending,
            Source::Whole(body) => Poll::Ready(Ok(Some(split(body, room)))),
            Source::Incoming(incoming) => incoming.poll_part(room, task),
            Source::Made(made) => made.poll_part(room, task),
            Source::Over => Poll::Ready(Ok(None)),
            #[cfg(not(target_arch = "wasm32"))]
            Source::Test(_) => {
                Poll::Ready(Err(Failure::internal("a test reads this stream with `testing::Actor::read`")))
            }
        };
        if let Poll::Ready(Ok(None) | Err(_)) = part {
            self.0 = Source::Over;
        }
        part
    }

    /// Tells the writer that nobody reads any more. Its function gets the failure from its next write, and can then end.
    fn stop(&mut self, reason: Failure) {
        match &mut self.0 {
            Source::Made(made) => made.stop(reason),
            _ => self.0 = Source::Over,
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of_test(id: u64) -> Self {
        Stream(Source::Test(id))
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn test_number(&self) -> Option<u64> {
        if let Source::Test(id) = self.0 { Some(id) } else { None }
    }
}

/// Removes the first `room` bytes, or all.
fn split(bytes: &mut Vec<u8>, room: usize) -> Vec<u8> {
    if bytes.len() <= room { std::mem::take(bytes) } else { bytes.drain(..room).collect() }
}

impl FromPayload for Stream {
    fn from_payload(payload: Payload) -> Result<Self, Failure> {
        payload.take_stream(|body| Stream(Source::Whole(body)))
    }
}

/// The content type is `application/octet-stream`. For another, use [`Payload::new`] with the stream as its body.
impl IntoPayload for Stream {
    fn into_payload(self) -> Result<Payload, Failure> {
        Ok(Payload::new("application/octet-stream", self))
    }
}

/// A payload can be cloned, but its stream is read only once.
impl Attach for RefCell<Option<Stream>> {
    fn take(&self) -> Option<Stream> {
        self.borrow_mut().take()
    }

    fn send(&self, streams: Option<&Rc<dyn Streaming>>) -> Result<u64, Failure> {
        outgoing::send(self.take(), streams)
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn test_number(&self) -> Option<u64> {
        self.borrow().as_ref().and_then(Stream::test_number)
    }
}

/// The streams of an actor, for its engine. They are a trait object, so that their code is only in modules with streams.
pub(crate) trait Streaming {
    /// The stream with this number, which the host delivers.
    fn incoming(self: Rc<Self>, id: u64) -> Stream;
    /// Opens a stream that the actor writes. Returns its number.
    fn send(self: Rc<Self>, stream: Stream) -> u64;
    /// Takes bytes of a stream that the actor reads. They are dropped if it reads it no longer.
    fn part(&self, id: u64, bytes: Vec<u8>);
    /// Takes the end of a stream, in either direction.
    fn ended(&self, id: u64, error: Option<Failure>);
    /// Takes credit of a stream that the actor writes.
    fn ready(&self, id: u64, credit: u32);
    /// Writes as much as possible. Returns whether a stream has begun meanwhile.
    fn run(&self, task: &mut Task<'_>) -> bool;
    /// Drops the streams that the actor writes. They own what owns them.
    fn close(&self);
}

/// The open streams of an actor, by their numbers.
pub(crate) struct Streams {
    mesh: Rc<dyn StreamMesh>,
    incoming: Table<Inflow>,
    outgoing: Table<Outflow>,
    pumps: RefCell<Vec<Pump>>,
}

impl Streams {
    pub(crate) fn new(mesh: Rc<dyn StreamMesh>) -> Self {
        Streams { mesh, incoming: Table::default(), outgoing: Table::default(), pumps: RefCell::default() }
    }
}

impl Streaming for Streams {
    fn incoming(self: Rc<Self>, id: u64) -> Stream {
        Stream(Source::Incoming(Incoming::open(self, id)))
    }

    fn send(self: Rc<Self>, stream: Stream) -> u64 {
        let id = self.mesh.open_stream();
        self.outgoing.insert(id, Outflow::default());
        let pump = Pump::new(&self, id, stream);
        self.pumps.borrow_mut().push(pump);
        id
    }

    fn part(&self, id: u64, bytes: Vec<u8>) {
        self.incoming.with(id, |flow| flow.part(bytes));
    }

    fn ended(&self, id: u64, error: Option<Failure>) {
        // The numbers of the two directions differ.
        self.incoming.with(id, |flow| flow.end(error.clone()));
        self.outgoing.with(id, |flow| flow.end(error));
    }

    fn ready(&self, id: u64, credit: u32) {
        self.outgoing.with(id, |flow| flow.ready(credit));
    }

    fn run(&self, task: &mut Task<'_>) -> bool {
        let mut pumps = self.pumps.take();
        pumps.retain_mut(|pump| pump.poll(task).is_pending());
        let mut begun = self.pumps.borrow_mut();
        let has_begun = !begun.is_empty();
        pumps.append(&mut begun);
        *begun = pumps;
        has_begun
    }

    fn close(&self) {
        drop(self.pumps.take());
    }
}
