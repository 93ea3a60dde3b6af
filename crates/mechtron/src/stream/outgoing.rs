//! A stream that the host takes. It is moved there under its credit, also after the message is finished.

use std::{
    rc::Rc,
    task::{Context as Task, Poll},
};

use super::{FIRST_CREDIT, Stream, Streaming, Streams};
use crate::Failure;

/// What the reader of a stream has said.
pub(super) struct Outflow {
    credit: u32,
    /// Why the reader wants no more.
    stopped: Option<Failure>,
}

impl Default for Outflow {
    fn default() -> Self {
        Outflow { credit: FIRST_CREDIT, stopped: None }
    }
}

impl Outflow {
    pub(super) fn ready(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit);
    }

    pub(super) fn end(&mut self, error: Option<Failure>) {
        self.credit = 0;
        self.stopped = error.or_else(|| Some(Failure::new(499, "cancelled", "the reader of the stream went away")));
    }
}

/// Opens the stream of a payload. Returns its number.
pub(super) fn send(stream: Option<Stream>, streams: Option<&Rc<dyn Streaming>>) -> Result<u64, Failure> {
    let Some(stream) = stream else {
        return Err(Failure::internal("the stream of this payload was taken by a clone of it: a stream is sent once"));
    };
    match streams {
        Some(streams) => Ok(Rc::clone(streams).send(stream)),
        None => Err(Failure::internal(
            "this module does not export what streams need: write `mechtron::export! { streams; … }`",
        )),
    }
}

/// Moves the bytes of a stream to the host until its end.
pub(super) struct Pump {
    streams: Rc<Streams>,
    id: u64,
    stream: Stream,
    /// The host has ended the stream. The author's function is told, and runs until it returns.
    is_stopped: bool,
}

impl Pump {
    pub(super) fn new(streams: &Rc<Streams>, id: u64, stream: Stream) -> Self {
        Pump { streams: Rc::clone(streams), id, stream, is_stopped: false }
    }

    pub(super) fn poll(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let end = loop {
            let credit = self.credit();
            match self.stream.poll_part(credit as usize, task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(bytes))) => self.write(&bytes),
                Poll::Ready(Ok(None)) => break None,
                Poll::Ready(Err(failure)) => break Some(failure),
            }
        };
        self.finish(end);
        Poll::Ready(())
    }

    fn credit(&mut self) -> u32 {
        let told = self.streams.outgoing.with(self.id, |flow| (flow.credit, flow.stopped.take()));
        let (credit, stopped) = told.unwrap_or_default();
        if let Some(reason) = stopped {
            self.is_stopped = true;
            self.stream.stop(reason);
        }
        credit
    }

    fn write(&self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.streams.outgoing.with(self.id, |flow| flow.credit = flow.credit.saturating_sub(length));
        self.streams.mesh.write(self.id, bytes);
    }

    fn finish(&self, error: Option<Failure>) {
        self.streams.outgoing.remove(self.id);
        if !self.is_stopped {
            self.streams.mesh.finish(self.id, error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_streams_cannot_send_one() {
        let failure = send(Some(Stream::from_fn(async |_| Ok(()))), None).unwrap_err();
        assert_eq!((failure.status, &*failure.code), (500, "guest-failed"));
        assert!(failure.message.contains("write `mechtron::export! { streams; … }`"), "{failure}");
    }
}
