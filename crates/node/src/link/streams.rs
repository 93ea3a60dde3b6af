//! The streams of a link, for its node: what this host does to them, and what the peer does.

use bytes::Bytes;
use starlane_protocol::{Failure, StreamId};

use super::{Goodbye, Link, LinkEvent, Parcel, outflow::Step};

impl Link {
    /// Handles what a numbered frame was about, or leaves it to the node.
    pub(super) fn took(&mut self, event: Option<LinkEvent>) -> Result<(), Goodbye> {
        match event {
            Some(LinkEvent::Credit { of, limit }) => {
                self.queue.check_stream(of)?;
                self.queue.stream(|streams| streams.credit(of, limit));
            }
            Some(LinkEvent::Stop { of, failure }) => self.stopped(of, failure)?,
            event => self.events.extend(event),
        }
        self.send_orders();
        Ok(())
    }

    pub(super) fn send_orders(&mut self) {
        for order in self.session.assembly.take_orders() {
            let _ = self.send(order, None);
        }
    }

    /// The peer wants no more of a stream: its end follows at once.
    fn stopped(&mut self, of: u64, failure: Failure) -> Result<(), Goodbye> {
        self.queue.check_stream(of)?;
        if let Some(stream) = self.queue.stopped(of, &failure) {
            self.events.push_back(LinkEvent::Stopped { stream, failure });
        }
        Ok(())
    }

    /// Sends bytes of a stream whose message was queued here.
    pub(crate) fn write(&mut self, stream: StreamId, part: Bytes) {
        self.queue.stream(|streams| streams.write(stream, part));
    }

    /// Ends a stream whose message was queued here.
    pub(crate) fn finish(&mut self, stream: StreamId, failure: Option<Failure>) {
        self.queue.stream(|streams| streams.end(stream, failure));
    }

    /// The message of a stream was dropped: forgets the stream, unless the message has left. Returns whether it forgot it.
    pub(crate) fn forget_stream(&mut self, stream: StreamId) -> bool {
        if self.queue.is_announced(stream) {
            return false;
        }
        self.queue.stream(|streams| {
            streams.forget(stream);
            Step::None
        });
        true
    }

    /// How many bytes of which stream have left since this was last asked, and whether its end has.
    pub(crate) fn take_left(&mut self) -> Vec<(StreamId, u64, bool)> {
        let mut left = Vec::new();
        self.queue.stream(|streams| {
            left = streams.take_left();
            Step::None
        });
        left
    }

    /// Gives a stream of the peer its number in this host.
    pub(crate) fn name_stream(&mut self, of: u64, stream: StreamId) {
        self.session.assembly.streams.name(of, stream);
    }

    /// Allows the peer `limit` bytes of a stream in total.
    pub(crate) fn grant(&mut self, stream: StreamId, limit: u64) {
        if let Some(of) = self.session.assembly.streams.grant(stream, limit) {
            let _ = self.send(Parcel::Credit { of, limit }, None);
        }
    }

    /// Tells the peer that nobody wants more of a stream.
    pub(crate) fn stop(&mut self, stream: StreamId, failure: Failure) {
        if let Some(of) = self.session.assembly.streams.stop(stream) {
            let _ = self.send(Parcel::Stop { of, failure }, None);
        }
    }
}
