//! The streams of actors: what a guest does to them by its calls of the mesh, and the calls that tell it about them.

use std::collections::VecDeque;

use bytes::Bytes;
use litemap::LiteMap;
use starlane_protocol::{Failure, Payload, StreamId, StreamRef, stream::join_small};

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
    /// Those that it reads, until it has heard their ends: how many bytes of each were given to it.
    pub(crate) reads: Map<StreamId, u64>,
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

    /// Checks whether it may read another stream. Errors with 429 `too-many-streams`.
    pub(crate) fn may_read_another(&self) -> Result<(), Failure> {
        check_count("reads", self.reads.len())
    }

    /// Checks whether it may write another stream. Errors with 429 `too-many-streams`.
    fn may_write_another(&self) -> Result<(), Failure> {
        check_count("writes", self.writes.len())
    }

    /// Adds a call. Several credits of one stream become one, and so do small parts.
    fn add(&mut self, call: GuestCall) {
        let call = match (call, self.calls.back_mut()) {
            (GuestCall::Part { stream, bytes }, Some(GuestCall::Part { stream: its, bytes: last }))
                if *its == stream =>
            {
                let Some(bytes) = join_small(Some(last), bytes) else { return };
                GuestCall::Part { stream, bytes }
            }
            (call, _) => call,
        };
        if let GuestCall::Ended { stream, error: Some(_) } = call {
            // A failure overtakes the parts that were not given.
            self.drop_calls(stream);
        }
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
            if let Some((given, bytes)) = self.given_by(&call) {
                *given += bytes;
            }
            taken.push(call);
        }
        taken
    }

    /// How many bytes of a stream were given to the guest, and how many a call gives.
    fn given_by(&mut self, call: &GuestCall) -> Option<(&mut u64, u64)> {
        let GuestCall::Part { stream, bytes } = call else { return None };
        Some((self.reads.get_mut(&stream_of(*stream)?)?, bytes.len() as u64))
    }

    /// Puts back a call that the sandbox did not run.
    pub(crate) fn put_back(&mut self, call: GuestCall) {
        if let Some((given, bytes)) = self.given_by(&call) {
            *given -= bytes;
        }
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

/// Checks one of the limits of an actor's streams. Errors with 429 `too-many-streams`.
fn check_count(does: &str, count: usize) -> Result<(), Failure> {
    if count < MAX_STREAMS {
        return Ok(());
    }
    let message = format!("this actor {does} {count} streams; the maximum is {MAX_STREAMS}: wait until one ends");
    Err(Failure::too_many_streams(message))
}

impl Node {
    /// The stream of a payload that a guest sends, instead of the guest's number. The guest can send each once.
    pub(crate) fn with_stream(&mut self, id: ActorId, mut payload: Payload) -> Result<Payload, Failure> {
        let Some(StreamRef { id: StreamId(guest), .. }) = payload.stream else { return Ok(payload) };
        let Some(actor) = self.actors.get_mut(&id) else { return Ok(payload) };
        let own = actor.streams.writes.get_mut(&guest).and_then(|(_, stream)| stream.take());
        let full = actor.streams.may_write_another();
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

    /// Gives an actor a call about a stream.
    pub(crate) fn call_stream(&mut self, now: u64, id: ActorId, call: GuestCall) {
        // An instance that is ending hears nothing more.
        let lives = |actor: &Actor| actor.instance().is_some_and(|instance| self.by_instance.contains_key(&instance));
        if let Some(actor) = self.actors.get_mut(&id).filter(|actor| lives(actor)) {
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
            actor.streams.reads.insert(stream, 0);
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
        if let Err(failure) = actor.streams.may_write_another() {
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

    /// `mesh.grant`. A guest cannot have consumed what it was not given.
    pub(crate) fn guest_grants(&mut self, now: u64, id: ActorId, guest: u64, bytes: u32) {
        let Some(stream) = stream_of(guest) else { return };
        let given = self.actors.get(&id).and_then(|actor| actor.streams.reads.get(&stream)).copied();
        let consumed = self.flows.get(&stream).map(|flow| flow.consumed());
        if let (Some(given), Some(consumed)) = (given, consumed) {
            let bytes = u64::from(bytes).min(given.saturating_sub(consumed));
            self.consumed(now, stream, End::Guest(id), bytes);
        }
    }

    /// A guest has taken a call about a stream. Of a stream that it reads, the end is the last.
    pub(crate) fn stream_call_done(&mut self, id: ActorId, call: &GuestCall) {
        let GuestCall::Ended { stream, .. } = call else { return };
        let Some(stream) = stream_of(*stream) else { return };
        if self.flows.get(&stream).is_some_and(|flow| flow.is_read_by(End::Guest(id)) && flow.has_ended()) {
            self.forget_stream(stream);
        }
    }

    /// `mesh.cancel-stream`, or a failure of a stream that the guest reads.
    pub(crate) fn guest_stops(&mut self, now: u64, id: ActorId, guest: u64, failure: Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.streams.drop_calls(guest);
        if let Some(stream) = stream_of(guest).filter(|stream| actor.streams.reads.contains_key(stream)) {
            self.stop_stream(now, stream, failure);
        }
    }

    /// Ends the streams of an instance that is gone.
    pub(crate) fn end_guest_streams(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let lost = actor.streams.lose();
        self.lose_guest_streams(now, id, lost, failure);
    }

    pub(crate) fn lose_guest_streams(&mut self, now: u64, id: ActorId, lost: Vec<StreamId>, failure: &Failure) {
        for stream in lost {
            let end = End::Guest(id);
            self.flow_end(now, stream, end, Some(failure.clone()));
            if self.flows.get(&stream).is_some_and(|flow| flow.is_read_by(end)) {
                self.stop_stream(now, stream, failure.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_streams_that_a_guest_writes_name_no_stream_that_it_reads() {
        for id in [0, 1, 7, 1_000] {
            assert_eq!(stream_of(guest_number(StreamId(id))), Some(StreamId(id)));
            assert_eq!(stream_of(2 * id + 1), None);
        }
    }

    #[test]
    fn part_that_the_sandbox_did_not_run_was_not_given() {
        let mut streams = ActorStreams::default();
        let id = StreamId(4);
        streams.reads.insert(id, 0);
        streams.add(GuestCall::Part { stream: guest_number(id), bytes: Bytes::from_static(b"abc") });
        for _ in 0..3 {
            let call = streams.take_calls(|_| true).pop().unwrap();
            assert_eq!(streams.reads.get(&id), Some(&3));
            streams.put_back(call);
            assert_eq!(streams.reads.get(&id), Some(&0));
        }
    }
}
