//! The streams of actors: what a guest does to them by its calls of the mesh, and the calls that tell it about them.

use std::collections::VecDeque;

use bytes::Bytes;
use litemap::LiteMap;
use starlane_protocol::{Failure, Payload, StreamId, StreamRef};

use crate::{
    actor::{Actor, ActorId},
    guest::GuestCall,
    maps::Map,
    node::Node,
    streams::{End, guest_number, stream_of},
};

/// The maximum number of open streams of an actor.
const MAX_STREAMS: usize = 16;
/// The maximum number of calls about streams in one batch.
const MAX_BATCH_CALLS: usize = 64;

/// The open streams of an actor.
#[derive(Debug, Default)]
pub(crate) struct ActorStreams {
    /// Those that it reads.
    pub(crate) reads: Map<StreamId, ()>,
    /// Those that it writes, by its own numbers. A reference is here until the guest puts it into a message.
    pub(crate) writes: LiteMap<u64, (StreamId, Option<StreamRef>)>,
    /// The calls that wait for its next batch.
    calls: VecDeque<GuestCall>,
}

impl ActorStreams {
    pub(crate) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty()
    }

    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Checks whether another stream may come. Errors with 429 `too-many-streams`.
    pub(crate) fn may_have_another(&self) -> Result<(), Failure> {
        if self.reads.len() + self.writes.len() < MAX_STREAMS {
            return Ok(());
        }
        let message = format!("this actor has {MAX_STREAMS} open streams, the maximum: wait until some have ended");
        Err(Failure::too_many_streams(message))
    }

    /// Adds a call. Several credits of one stream become one, and after an end nothing else is said of a stream.
    fn add(&mut self, call: GuestCall) {
        if let GuestCall::Ready { stream, credit } = call
            && let Some(waiting) = self.calls.iter_mut().find_map(|call| match call {
                GuestCall::Ready { stream: its, credit } if *its == stream => Some(credit),
                _ => None,
            })
        {
            *waiting = waiting.saturating_add(credit);
            return;
        }
        self.calls.push_back(call);
    }

    /// Drops the calls about a stream that the guest itself has ended.
    fn drop_calls(&mut self, stream: u64) {
        self.calls.retain(|call| number_of(call) != Some(stream));
    }

    /// Takes the calls for a batch, while `fits` says that their bytes fit.
    pub(crate) fn take_calls(&mut self, mut fits: impl FnMut(usize) -> bool) -> Vec<GuestCall> {
        let length = |call: &GuestCall| match call {
            GuestCall::Part { bytes, .. } => bytes.len(),
            _ => 64,
        };
        let mut taken = Vec::new();
        while taken.len() < MAX_BATCH_CALLS
            && let Some(call) = self.calls.pop_front_if(|call| fits(length(call)))
        {
            taken.push(call);
        }
        taken
    }

    /// Puts back a call that the sandbox did not run.
    pub(crate) fn put_back(&mut self, call: GuestCall) {
        self.calls.push_front(call);
    }

    /// Forgets all. Returns the streams.
    pub(crate) fn lose(&mut self) -> Vec<StreamId> {
        let lost = std::mem::take(self);
        let written = lost.writes.into_iter().map(|(_, (id, _))| id);
        lost.reads.keys().copied().chain(written).collect()
    }
}

fn number_of(call: &GuestCall) -> Option<u64> {
    match call {
        GuestCall::Part { stream, .. } | GuestCall::Ended { stream, .. } | GuestCall::Ready { stream, .. } => {
            Some(*stream)
        }
        _ => None,
    }
}

/// A payload as its guest sees it: with the guest's number of its stream.
pub(crate) fn for_guest(mut payload: Payload) -> Payload {
    payload.stream = payload.stream.map(|stream| StreamRef::loose(StreamId(guest_number(stream.id))));
    payload
}

impl Actor {
    /// The stream of a payload that the guest sends, instead of the guest's number. The guest can send each once.
    pub(crate) fn with_stream(&mut self, mut payload: Payload) -> Result<Payload, Failure> {
        let Some(StreamRef { id: StreamId(guest), .. }) = payload.stream else { return Ok(payload) };
        let own = self.streams.writes.get_mut(&guest).and_then(|(_, stream)| stream.take());
        let full = self.streams.may_have_another();
        payload.stream = Some(match own {
            Some(stream) => stream,
            None => {
                full?;
                let message = format!("stream {guest} has ended or was sent before: open another one");
                return Err(Failure::cancelled(message));
            }
        });
        Ok(payload)
    }
}

impl Node {
    /// Gives an actor a call about a stream.
    pub(crate) fn call_stream(&mut self, now: u64, id: ActorId, call: GuestCall) {
        if let Some(actor) = self.actors.get_mut(&id).filter(|actor| actor.instance().is_some()) {
            actor.streams.add(call);
            self.pump(now, id);
        }
    }

    /// An actor may write more to a stream.
    pub(crate) fn guest_is_ready(&mut self, now: u64, id: ActorId, stream: u64, more: u64) {
        let credit = u32::try_from(more).unwrap_or(u32::MAX);
        self.call_stream(now, id, GuestCall::Ready { stream, credit });
    }

    /// A guest has got a message or an outcome with a stream, which it reads from now on.
    pub(crate) fn guest_reads(&mut self, now: u64, id: ActorId, stream: Option<StreamId>) {
        let Some(stream) = stream else { return };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if self.flows.contains_key(&stream) {
            actor.streams.reads.insert(stream, ());
            self.attach_stream(now, stream, End::Guest(id));
        } else {
            // It has ended on its way.
            let error = Some(Failure::cancelled("the stream ended before it was read"));
            self.call_stream(now, id, GuestCall::Ended { stream: guest_number(stream), error });
        }
    }

    /// `mesh.open-stream`. One above the limit ends at once: the senders of messages decide how many streams a guest answers with, so
    /// it is not the guest's fault.
    pub(crate) fn guest_opens(&mut self, now: u64, id: ActorId, guest: u64) {
        let Some(actor) = self.actors.get(&id) else { return };
        if let Err(failure) = actor.streams.may_have_another() {
            return self.call_stream(now, id, GuestCall::Ended { stream: guest, error: Some(failure) });
        }
        let stream = self.open_stream(now, End::Guest(id), guest);
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.streams.writes.insert(guest, (stream.id, Some(stream)));
        }
    }

    fn written_by(&self, id: ActorId, guest: u64) -> Option<StreamId> {
        self.actors.get(&id)?.streams.writes.get(&guest).map(|(stream, _)| *stream)
    }

    /// `mesh.write`. A stream that has ended takes nothing.
    pub(crate) fn guest_writes(&mut self, now: u64, id: ActorId, guest: u64, part: Bytes) {
        if let Some(stream) = self.written_by(id, guest)
            && !part.is_empty()
        {
            self.flow(now, stream, End::Guest(id), part);
        }
    }

    /// `mesh.finish`.
    pub(crate) fn guest_finishes(&mut self, now: u64, id: ActorId, guest: u64, error: Option<Failure>) {
        let Some(stream) = self.written_by(id, guest) else { return };
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.streams.drop_calls(guest);
        }
        self.flow_end(now, stream, End::Guest(id), error.map(Failure::checked));
    }

    /// `mesh.grant`.
    pub(crate) fn guest_grants(&mut self, now: u64, id: ActorId, guest: u64, bytes: u32) {
        self.consumed(now, stream_of(guest), End::Guest(id), bytes.into());
    }

    /// `mesh.cancel-stream`, or a failure of a stream that the guest reads.
    pub(crate) fn guest_stops(&mut self, now: u64, id: ActorId, guest: u64, failure: Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.streams.drop_calls(guest);
        if actor.streams.reads.contains_key(&stream_of(guest)) {
            self.stop_stream(now, stream_of(guest), failure);
        }
    }

    /// Ends the streams of an instance that is gone.
    pub(crate) fn end_guest_streams(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        for stream in actor.streams.lose() {
            let end = End::Guest(id);
            self.flow_end(now, stream, end, Some(failure.clone()));
            if self.flows.get(&stream).is_some_and(|flow| flow.is_read_by(end)) {
                self.stop_stream(now, stream, failure.clone());
            }
        }
    }
}
