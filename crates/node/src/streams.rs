//! Streams through this node. Each goes from a writer to a reader, and each of the two is this host, a guest or a peer. A part
//! goes to the reader at once, and the writer gets credit for it when the reader has consumed it. The node keeps only parts that come
//! before there is a reader.

mod links;

use bytes::Bytes;
use starlane_protocol::{Failure, StreamId, StreamRef, stream::join_small};

use crate::{
    actor::ActorId,
    effect::{Effect, RequestId},
    guest::GuestCall,
    link::LinkKey,
    node::Node,
    principal::Principal,
    timers::{Key, Timer},
};

/// The credit of a stream that an actor reads is at most the actor's memory divided by this.
const MEMORY_DIVISOR: u64 = 16;
/// While others wait for an instance, a stream of an actor ends if nothing moves for this long, in milliseconds: an actor with a
/// stream does not sleep.
const IDLE_IN_NEED_MS: u64 = 30_000;

/// An end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// This host: a page, an HTTP route, a driver.
    Host,
    Guest(ActorId),
    Link(LinkKey),
}

/// A stream that has not ended at both ends.
#[derive(Debug)]
pub(crate) struct Flow {
    /// None when it needs to hear nothing more.
    writer: Option<End>,
    /// The number that a guest that writes has for it.
    guest: u64,
    /// None until its message has reached a receiver.
    reader: Option<End>,
    written: u64,
    consumed: u64,
    /// How many bytes the writer may write in total. It only grows.
    limit: u64,
    /// How many bytes may be under way or wait for the reader.
    allowance: u64,
    /// The parts that came before there was a reader.
    early: Vec<Bytes>,
    /// Set when the writer has ended it: complete, or why not.
    end: Option<Option<Failure>>,
    /// When something was written or consumed last.
    moved: u64,
    opened: u64,
    timer: Key,
    /// The principal that pays for its bytes, and how many they are.
    held: Option<(Principal, usize)>,
    /// The request whose stream it is.
    pub(crate) request: Option<RequestId>,
}

impl Flow {
    /// When something was written or consumed last.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Whether its writer has ended it.
    pub(crate) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    pub(crate) fn is_read_by(&self, end: End) -> bool {
        self.reader == Some(end)
    }
}

impl Node {
    /// Opens a stream that this host writes. Its reference belongs into the payload of one message; the stream ends when that is
    /// dropped before it has reached a receiver. It begins with the credit of [`Self::first_credit`].
    pub fn handle_open_stream(&mut self, now: u64) -> StreamRef {
        self.open_stream(now, End::Host, 0)
    }

    /// The bytes of a stream that may be written before the first credit.
    pub fn first_credit(&self) -> u64 {
        self.config.link.first_credit as u64
    }

    /// The number of streams that have not ended at both ends.
    pub fn open_streams(&self) -> usize {
        self.flows.len()
    }

    /// Writes to a stream of this host, within its credit. A stream that has ended takes nothing.
    pub fn handle_write(&mut self, now: u64, stream: StreamId, part: Bytes) {
        self.flow(now, stream, End::Host, part);
    }

    /// Ends a stream that this host writes: it is complete, or why not.
    pub fn handle_finish(&mut self, now: u64, stream: StreamId, failure: Option<Failure>) {
        self.flow_end(now, stream, End::Host, failure);
    }

    /// This host has consumed bytes of a stream that it reads.
    pub fn handle_consumed(&mut self, now: u64, stream: StreamId, bytes: usize) {
        self.consumed(now, stream, End::Host, bytes as u64);
    }

    /// This host wants no more of a stream that it reads.
    pub fn handle_stop(&mut self, now: u64, stream: StreamId, failure: Failure) {
        if self.flows.get(&stream).is_some_and(|flow| flow.reader == Some(End::Host)) {
            self.stop_stream(now, stream, failure);
        }
    }

    /// Opens a stream. `guest` is the number that a guest has for it.
    pub(crate) fn open_stream(&mut self, now: u64, writer: End, guest: u64) -> StreamRef {
        let id = StreamId(self.fresh());
        let first = self.first_credit();
        let timer = self.after(now + self.config.link.stream_idle_ms.min(IDLE_IN_NEED_MS), Timer::Stream(id));
        let flow = Flow {
            writer: Some(writer),
            guest,
            reader: None,
            written: 0,
            consumed: 0,
            limit: first,
            allowance: first,
            early: Vec::new(),
            end: None,
            moved: now,
            opened: now,
            timer,
            held: None,
            request: None,
        };
        self.flows.insert(id, Box::new(flow));
        self.stream_drops.hold(id)
    }

    /// Gives a stream its reader, and the reader what was written before.
    pub(crate) fn attach_stream(&mut self, now: u64, id: StreamId, reader: End) {
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.reader.is_none()) else { return };
        flow.reader = Some(reader);
        flow.moved = now;
        let (early, end) = (std::mem::take(&mut flow.early), flow.end.clone());
        for part in early {
            self.give(now, id, reader, part);
        }
        if let Some(failure) = end {
            self.give_end(now, id, reader, failure);
        }
    }

    /// Takes bytes of a writer.
    pub(crate) fn flow(&mut self, now: u64, id: StreamId, writer: End, part: Bytes) {
        let is_its = |flow: &Flow| flow.writer == Some(writer) && flow.end.is_none();
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| is_its(flow)) else { return };
        if flow.written + part.len() as u64 > flow.limit {
            let reason = format!("{} bytes were written with a credit of {}", part.len(), flow.limit - flow.written);
            return self.end_stream(now, id, &Failure::malformed(reason));
        }
        flow.written += part.len() as u64;
        flow.moved = now;
        match flow.reader {
            Some(reader) => self.give(now, id, reader, part),
            None => {
                let alone = join_small(flow.early.last_mut(), part);
                flow.early.extend(alone);
            }
        }
    }

    /// Takes the end of a writer.
    pub(crate) fn flow_end(&mut self, now: u64, id: StreamId, writer: End, failure: Option<Failure>) {
        let is_its = |flow: &Flow| flow.writer == Some(writer) && flow.end.is_none();
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| is_its(flow)) else { return };
        flow.end = Some(failure.clone());
        flow.moved = now;
        let reader = flow.reader;
        self.forget_writer(id);
        if let Some(reader) = reader {
            self.give_end(now, id, reader, failure);
        }
    }

    /// A reader has consumed bytes. Its writer gets credit for them when half of the allowance is consumed.
    pub(crate) fn consumed(&mut self, now: u64, id: StreamId, reader: End, bytes: u64) {
        let most = match reader {
            End::Guest(actor) => {
                self.actors.get(&actor).map_or(0, |actor| actor.role.plan.limits.memory / MEMORY_DIVISOR)
            }
            End::Host | End::Link(_) => u64::MAX,
        };
        let most = most.min(self.config.link.most_credit as u64);
        let Some(flow) = self.flows.get_mut(&id).filter(|flow| flow.reader == Some(reader)) else { return };
        let consumed = flow.consumed.saturating_add(bytes).min(flow.written);
        if consumed > flow.consumed {
            (flow.consumed, flow.moved) = (consumed, now);
        }
        if reader == End::Host && flow.end.is_some() && flow.consumed == flow.written {
            return self.forget_stream(id);
        }
        // The reader has read all that the writer was allowed: it could read more.
        if flow.consumed == flow.limit && 2 * flow.allowance <= most && self.may_grow(id) {
            self.grow(id);
        }
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let target = flow.consumed + flow.allowance;
        let (Some(writer), None) = (flow.writer, &flow.end) else { return };
        if target < flow.limit + flow.allowance / 2 {
            return;
        }
        let (more, guest) = (target - flow.limit, flow.guest);
        flow.limit = target;
        match writer {
            End::Host => self.effects.push_back(Effect::StreamCredit { stream: id, limit: target }),
            End::Guest(actor) => self.guest_is_ready(now, actor, guest, more),
            End::Link(key) => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.grant(id, target);
                }
                self.touched(key);
            }
        }
    }

    /// Whether a stream may have twice as many bytes under way.
    fn may_grow(&self, id: StreamId) -> bool {
        let Some(flow) = self.flows.get(&id) else { return false };
        let Some(End::Link(key)) = flow.writer else { return true };
        let more = flow.allowance as usize;
        let extra = self.links.get(&key).map_or(0, |link| link.session.extra_credit);
        extra + more <= self.config.link.extra_credit && self.may_keep(key, more).is_ok()
    }

    fn grow(&mut self, id: StreamId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let more = flow.allowance as usize;
        flow.allowance *= 2;
        if let Some(End::Link(key)) = flow.writer
            && let Some(link) = self.links.get_mut(&key)
        {
            link.session.extra_credit += more;
        }
        if let Some((payer, held)) = &mut flow.held {
            *held += more;
            self.usage.wait(payer, 0, more);
        }
    }

    /// A reader wants no more: the writer hears it.
    pub(crate) fn stop_stream(&mut self, now: u64, id: StreamId, failure: Failure) {
        self.tell_writer(now, id, &failure);
        self.forget_stream(id);
    }

    /// Ends a stream for both ends.
    pub(crate) fn end_stream(&mut self, now: u64, id: StreamId, failure: &Failure) {
        self.tell_writer(now, id, failure);
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let reader = flow.reader;
        if flow.end.is_some() && matches!(reader, Some(End::Host | End::Guest(_))) {
            // The reader hears one end. What it has not read by now, nobody needs.
            if reader == Some(End::Host) {
                self.forget_stream(id);
            }
            return;
        }
        if !matches!(flow.end, Some(Some(_))) {
            flow.end = Some(Some(failure.clone()));
        }
        if let Some(reader) = reader {
            self.give_end(now, id, reader, Some(failure.clone()));
        }
    }

    fn tell_writer(&mut self, now: u64, id: StreamId, failure: &Failure) {
        let Some(flow) = self.flows.get(&id) else { return };
        let (writer, guest) = (flow.writer, flow.guest);
        self.forget_writer(id);
        match writer {
            Some(End::Host) => self.effects.push_back(Effect::StreamStopped { stream: id, failure: failure.clone() }),
            Some(End::Guest(actor)) => {
                let call = GuestCall::Ended { stream: guest, error: Some(failure.clone()) };
                self.call_stream(now, actor, call);
            }
            Some(End::Link(key)) => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.stop(id, failure.clone());
                }
                self.touched(key);
            }
            None => {}
        }
    }

    /// The writer of a stream has nothing more to hear or to say.
    fn forget_writer(&mut self, id: StreamId) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        match flow.writer.take() {
            Some(End::Guest(actor)) => {
                if let Some(actor) = self.actors.get_mut(&actor) {
                    actor.streams.writes.remove(&flow.guest);
                }
            }
            Some(End::Link(key)) => {
                let extra = flow.allowance as usize - self.config.link.first_credit;
                if let Some(link) = self.links.get_mut(&key) {
                    link.session.extra_credit = link.session.extra_credit.saturating_sub(extra);
                }
            }
            Some(End::Host) | None => {}
        }
    }

    fn give(&mut self, now: u64, id: StreamId, reader: End, part: Bytes) {
        match reader {
            End::Host => self.effects.push_back(Effect::StreamPart { stream: id, part }),
            End::Guest(actor) => {
                self.call_stream(now, actor, GuestCall::Part { stream: guest_number(id), bytes: part })
            }
            End::Link(key) => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.write(id, part);
                }
                self.touched(key);
            }
        }
    }

    fn give_end(&mut self, now: u64, id: StreamId, reader: End, failure: Option<Failure>) {
        match reader {
            // The flow stays until the reader has taken all parts and the end. A failure drops what was not taken.
            End::Host => {
                if failure.is_some() || self.flows.get(&id).is_some_and(|flow| flow.consumed == flow.written) {
                    self.forget_stream(id);
                }
                self.effects.push_back(Effect::StreamEnded { stream: id, failure });
            }
            End::Guest(actor) => {
                let call = GuestCall::Ended { stream: guest_number(id), error: failure };
                self.call_stream(now, actor, call);
            }
            // It is kept until its end has left.
            End::Link(key) => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.finish(id, failure);
                }
                self.touched(key);
            }
        }
    }

    /// Ends a stream on which nothing has moved for too long.
    pub(crate) fn stream_is_due(&mut self, now: u64, id: StreamId) {
        let (idle, longest) = (self.config.link.stream_idle_ms, self.config.link.stream_longest_ms);
        let Some(flow) = self.flows.get(&id) else { return };
        let (idle_at, last_at) = (flow.moved + idle, flow.opened + longest);
        if now >= last_at {
            let failure = Failure::too_long(format!(
                "the stream was open for {longest} ms, which is the maximum: continue with another stream"
            ));
            return self.end_stream(now, id, &failure);
        }
        if now >= idle_at {
            let failure = Failure::idle(format!(
                "nothing was written to or read from the stream for {idle} ms, the limit: write or read more often"
            ));
            return self.end_stream(now, id, &failure);
        }
        let is_of_guest = [flow.writer, flow.reader].iter().any(|end| matches!(end, Some(End::Guest(_))));
        if is_of_guest && now >= flow.moved + IDLE_IN_NEED_MS && !self.starts.is_empty() {
            let message = format!(
                "nothing moved on the stream for {IDLE_IN_NEED_MS} ms while others waited for an instance: write or read more often"
            );
            return self.end_stream(now, id, &Failure::idle(message));
        }
        let next = if is_of_guest { now + IDLE_IN_NEED_MS } else { u64::MAX };
        let timer = self.after(idle_at.min(last_at).min(next), Timer::Stream(id));
        if let Some(flow) = self.flows.get_mut(&id) {
            flow.timer = timer;
        }
    }

    pub(crate) fn forget_stream(&mut self, id: StreamId) {
        self.forget_writer(id);
        let Some(flow) = self.flows.remove(&id) else { return };
        self.timers.remove(flow.timer);
        if let Some(request) = flow.request {
            self.extend_request(request, flow.moved);
        }
        if let Some((payer, held)) = flow.held {
            self.usage.release(&payer, held);
        }
        if let Some(End::Guest(actor)) = flow.reader
            && let Some(actor) = self.actors.get_mut(&actor)
        {
            actor.streams.reads.remove(&id);
        }
    }
}

/// The number that a guest has for a stream that it reads. The numbers of those that it writes are odd.
pub(crate) fn guest_number(id: StreamId) -> u64 {
    2 * id.0
}

/// The stream that a guest reads under a number. None for the number of a stream that a guest writes.
pub(crate) fn stream_of(guest: u64) -> Option<StreamId> {
    guest.is_multiple_of(2).then_some(StreamId(guest / 2))
}
