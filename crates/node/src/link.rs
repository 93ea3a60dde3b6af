//! One link to another host: bytes and time go in, bytes and events come out.
//!
//! The frames and their rules are specified in the README of `starlane-protocol`.

mod assembly;
mod carrier;
mod close_code;
mod config;
mod event;
mod handshake;
mod inflow;
mod lanes;
mod notices;
mod outflow;
mod parcel;
mod send_queue;
mod session;
mod streams;
mod window;

use std::collections::VecDeque;

use starlane_protocol::{
    Failure,
    frame::{self, Frame},
};

use self::{
    carrier::{Carrier, Due, Phase},
    send_queue::{Room, SendQueue, Unsent},
};
pub use self::{
    close_code::{CloseCode, Goodbye},
    config::LinkConfig,
};
pub(crate) use self::{
    event::LinkEvent,
    handshake::Hello,
    lanes::Waiting,
    parcel::Parcel,
    session::{Identity, Lost, Session},
};
use crate::{
    effect::{RequestId, SocketId},
    timers::Key,
};

/// The channel in use.
const CHANNEL: u16 = 0;
/// The least time between two renewals of the token, in milliseconds.
const MIN_RENEW_MS: u64 = 500;
/// The maximum of bytes beside the hello frame in its message.
const MAX_BESIDE_HELLO_BYTES: usize = 16;

/// A link of this node, under a number that the node never uses again. Its sockets may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkKey(pub(crate) u64);

/// One link: the state that both hosts share, the present socket, if any, and the waiting messages. Its owner dials and redials.
#[derive(Debug)]
pub(crate) struct Link {
    config: LinkConfig,
    is_dialled: bool,
    pub(crate) session: Session,
    carrier: Option<(SocketId, Carrier)>,
    queue: SendQueue,
    /// Whether it has ended, though its node may not know yet.
    is_over: bool,
    /// When a link without a socket ends. None for a link with a socket, and for one that was never up.
    until: Option<u64>,
    /// When the last socket of a link that waits for another one was lost.
    lost_at: Option<u64>,
    /// On the dialled side the last hello.
    hello: Option<Hello>,
    /// On the dialling side the principal of the last welcome.
    principal_before: Option<String>,
    /// Frames that arrived and were not handled yet.
    arrived: VecDeque<Frame>,
    events: VecDeque<LinkEvent>,
    /// The bytes of waiting messages, of incoming bodies and of names, as last counted for its principal.
    counted: usize,
    /// Whether it is in the node's queue of links that have something to send, or would be if its socket had room.
    pub(crate) is_ready: bool,
    pub(crate) has_no_room: bool,
    /// Its timer in the node, which may come too early.
    pub(crate) timer: Option<Key>,
}

impl Link {
    /// A link to a server, without a socket.
    pub(crate) fn dialling(config: LinkConfig) -> Self {
        Self {
            is_dialled: false,
            session: Session::new(&config),
            carrier: None,
            queue: SendQueue::new(&config),
            is_over: false,
            until: None,
            lost_at: None,
            hello: None,
            principal_before: None,
            arrived: VecDeque::new(),
            events: VecDeque::new(),
            counted: 0,
            is_ready: false,
            has_no_room: false,
            timer: None,
            config,
        }
    }

    /// A link of a peer that dialled; it waits for hello.
    pub(crate) fn dialled(config: LinkConfig, now: u64, socket: SocketId) -> Self {
        let carrier = Carrier::new(Phase::AwaitHello, now, &config);
        Self { is_dialled: true, carrier: Some((socket, carrier)), ..Self::dialling(config) }
    }

    /// The socket that carries it.
    pub(crate) fn socket(&self) -> Option<SocketId> {
        self.carrier.as_ref().map(|(socket, _)| *socket)
    }

    /// Whether this side was dialled, and so decides who the peer is.
    pub(crate) fn is_dialled(&self) -> bool {
        self.is_dialled
    }

    pub(crate) fn is_up(&self) -> bool {
        self.phase() == Phase::Up
    }

    /// Whether it has no socket and waits for another one.
    pub(crate) fn is_detached(&self) -> bool {
        self.until.is_some()
    }

    /// When a link without a socket lost it.
    pub(crate) fn detached_since(&self) -> u64 {
        self.lost_at.unwrap_or_default()
    }

    fn phase(&self) -> Phase {
        self.carrier.as_ref().map_or(Phase::Over, |(_, carrier)| carrier.phase)
    }

    /// Takes a WebSocket message. `poll_event` returns the events, frame by frame.
    pub(crate) fn handle_message(&mut self, now: u64, bytes: &[u8]) {
        if self.phase() == Phase::Over {
            return;
        }
        if let Some((_, carrier)) = &mut self.carrier {
            carrier.heard(now);
        }
        if let Err(goodbye) = self.receive(now, bytes) {
            self.end(goodbye);
        }
    }

    fn receive(&mut self, now: u64, bytes: &[u8]) -> Result<(), Goodbye> {
        let (length, longest) = (bytes.len(), frame::MAX_HELLO_BYTES + MAX_BESIDE_HELLO_BYTES);
        if self.phase() == Phase::AwaitHello && length > longest {
            let reason = format!("the first message is {length} bytes; the maximum is {longest}");
            return Err(Goodbye::new(CloseCode::TooLarge, reason));
        }
        // Frames are counted before they are decoded, because many short ones are much more memory than bytes.
        if let Some((_, carrier)) = &mut self.carrier {
            carrier.receive(now, frame::count(bytes), bytes.len(), &self.config)?;
        }
        let frames = frame::decode_message(bytes).map_err(|error| Goodbye::new(error.code(), error.to_string()))?;
        if self.phase() == Phase::AwaitHello && frames.is_empty() {
            return Err(Goodbye::new(CloseCode::Malformed, "the first message has no hello frame"));
        }
        for (channel, frame) in frames {
            if channel != CHANNEL {
                return Err(Goodbye::new(CloseCode::Malformed, format!("channel {channel} is not in use")));
            }
            self.arrived.push_back(frame);
        }
        Ok(())
    }

    fn handle_frame(&mut self, now: u64, frame: Frame) -> Result<(), Goodbye> {
        let Some((_, carrier)) = &mut self.carrier else { return Ok(()) };
        match (carrier.phase, frame) {
            (phase, Frame::Goodbye { code, reason, keep, retry_ms, dial }) => {
                let goodbye = Goodbye::new(&*code, reason);
                // Before welcome, only the dial has failed: the server may still have the earlier link.
                let keep = keep || (phase == Phase::AwaitWelcome && goodbye.code.spares_link());
                return Err(Goodbye { keep, retry_ms, dial, ..goodbye });
            }
            (Phase::AwaitHello, frame @ Frame::Hello { .. }) => return self.greeted(frame),
            (Phase::AwaitWelcome, frame @ Frame::Welcome { .. }) => return self.welcomed(now, frame),
            (Phase::Up, Frame::Ping { nonce }) => carrier.asked(nonce),
            (Phase::Up, Frame::Ack { received }) => return self.queue.acknowledge(received),
            (Phase::Up, Frame::Pong { nonce }) => carrier.ponged(now, nonce),
            (Phase::Up, Frame::Renew { token }) if self.is_dialled => {
                carrier.renews(now, &self.config)?;
                self.shown(Some(token));
            }
            (Phase::Up, Frame::Expires { remaining_ms }) if !self.is_dialled => {
                let pause = |remaining: u64| (remaining / 5 * 4).max(MIN_RENEW_MS);
                carrier.expires = remaining_ms.map(|remaining| now.saturating_add(pause(remaining)));
            }
            (Phase::Up, frame) if frame.sequence().is_some() => {
                let event = self.session.take(now, frame, &self.config)?;
                self.took(event)?;
            }
            (_, frame) => {
                let name = frame.name().to_ascii_lowercase();
                return Err(Goodbye::new(CloseCode::Malformed, format!("unexpected {name} frame")));
            }
        }
        Ok(())
    }

    /// Ends the socket, and unless the reason keeps it, the link. The peer gets the reason.
    pub(crate) fn end(&mut self, mut goodbye: Goodbye) {
        goodbye.keep &= self.may_resume();
        match &mut self.carrier {
            Some((_, carrier)) if carrier.phase != Phase::Over => carrier.end(&goodbye),
            None if !goodbye.keep && self.until.take().is_some() => {}
            _ => return,
        }
        let is_over = !goodbye.keep;
        self.is_over |= is_over;
        self.events.push_back(if is_over { LinkEvent::Over(goodbye) } else { LinkEvent::Dropped(goodbye) });
    }

    /// Sends a fresh token, on the dialling side.
    pub(crate) fn renew(&mut self, token: String) {
        if let Some((_, carrier)) = self.carrier.as_mut().filter(|(_, carrier)| carrier.is_up()) {
            carrier.control(&Frame::Renew { token });
        }
    }

    /// Asks the peer for a sign of life, because the network may have changed.
    pub(crate) fn probe(&mut self, now: u64) {
        if let Some((_, carrier)) = self.carrier.as_mut().filter(|(_, carrier)| carrier.is_up()) {
            carrier.probe(now, &self.config);
        }
    }

    /// Queues a message. Before a link is up, only requests and one-way messages of its dialling side wait; everything else is
    /// derived from the node's state when the link comes up. Errors when too much waits, or when the payload is too long for the
    /// peer: then the peer did not get it.
    pub(crate) fn send(&mut self, parcel: Parcel, deadline: Option<u64>) -> Result<(), Failure> {
        let is_message = matches!(parcel, Parcel::Request { .. } | Parcel::Notify { .. });
        // A reply that cannot be sent says nothing about the request.
        let unsent = |failure: Failure| if is_message { failure.sent(false) } else { failure };
        let room = match (self.session.identity.is_some(), self.is_up()) {
            (true, true) => Room::Known(self.config.queue_bytes),
            (true, false) if self.is_dialled => Room::Known(self.config.detached_queue_bytes),
            (true, false) => Room::Known(self.config.waiting_bytes),
            (false, _) if is_message && !self.is_dialled => Room::New,
            (false, _) => return Err(unsent(Failure::link_lost("the link broke"))),
        };
        match self.queue.send(parcel, deadline, room, &self.config) {
            Ok(()) => Ok(()),
            Err(Unsent::Failed(failure)) => Err(unsent(failure)),
            Err(Unsent::TooSlow(goodbye)) => {
                let failure = Failure::link_lost(goodbye.reason.clone());
                self.end(goodbye);
                Err(unsent(failure))
            }
        }
    }

    /// Cancels a request: removes it from the queue, or sends a cancel to the peer. Returns whether the peer may have got it.
    pub(crate) fn cancel(&mut self, id: u64) -> bool {
        let is_sent = !self.queue.cancel(id);
        if is_sent {
            let _ = self.send(Parcel::Cancel { id }, None);
        }
        is_sent
    }

    /// Whether a request waits: the peer did not get it.
    pub(crate) fn has_waiting(&self, request: RequestId) -> bool {
        self.queue.has(request.0)
    }

    /// Whether the peer can go on after this frame. Errors if it cannot have received it.
    pub(crate) fn can_resume(&self, received: u64) -> Result<bool, Goodbye> {
        let last = self.queue.window.last();
        if received > last {
            let reason = format!("frame {received} cannot have been received: only {last} were sent");
            return Err(Goodbye::new(CloseCode::Malformed, reason));
        }
        Ok(self.queue.window.can_resume(received))
    }

    /// Keeps the body that a frame announced.
    pub(crate) fn keep(&mut self, now: u64, of: u64, parcel: Parcel) {
        self.session.assembly.keep(now, of, parcel);
        self.send_orders();
    }

    /// Drops the body that a frame announced, and tells the peer why.
    pub(crate) fn refuse_body(&mut self, of: u64, failure: Failure) {
        self.session.assembly.refuse(of, failure);
        self.send_orders();
    }

    /// The bytes that are kept for the peer: the last count and the present one, if they differ.
    pub(crate) fn count(&mut self) -> Option<(usize, usize)> {
        let (before, now) = (self.counted, self.queue.bytes() + self.session.bytes());
        self.counted = now;
        (self.is_dialled && before != now).then_some((before, now))
    }

    /// The bytes that were last counted for its principal.
    pub(crate) fn counted(&self) -> usize {
        self.counted
    }

    /// Removes the messages that wait for the link.
    pub(crate) fn take_waiting(&mut self) -> VecDeque<Box<Waiting>> {
        self.queue.take_waiting()
    }

    /// Removes the one-way messages that waited too long for the link to come up.
    pub(crate) fn expired(&mut self, now: u64) -> VecDeque<Box<Waiting>> {
        if self.is_up() { VecDeque::new() } else { self.queue.expired(now) }
    }

    /// When the first one-way message may have waited too long for the link to come up.
    pub(crate) fn first_deadline(&self) -> Option<u64> {
        if self.is_up() { None } else { self.queue.first_deadline() }
    }

    /// Whether the peer acknowledged a frame that was numbered on the present socket.
    pub(crate) fn makes_progress(&self) -> bool {
        self.queue.window.makes_progress()
    }

    /// Runs everything that is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: u64) {
        if let Some(until) = self.until.filter(|until| *until <= now) {
            if now > until + self.config.frozen_ms {
                // The clock stood still, so the peer had no time to come back.
                self.until = Some(now + self.config.frozen_ms);
                return;
            }
            return self.end(Goodbye::new(CloseCode::NotResumed, "the link was not resumed in time"));
        }
        let Some((_, carrier)) = &mut self.carrier else { return };
        match carrier.handle_timeout(now, self.is_dialled, self.queue.stalled_at(), &self.config) {
            Some(Due::End(goodbye)) => return self.end(goodbye),
            Some(Due::Frozen(ms)) => return self.session.assembly.postpone(ms),
            Some(Due::Renew) => self.events.push_back(LinkEvent::Expiring),
            None => {}
        }
        self.session.handle_timeout(now);
        while let Some((parcel, failure)) = self.session.assembly.late(now) {
            self.events.push_back(LinkEvent::Late(Box::new(parcel), failure));
        }
        self.send_orders();
    }

    /// When `handle_timeout` has something to do next; at once if the link has ended and its node does not know.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        if self.phase() == Phase::Over && !self.events.is_empty() {
            return Some(0);
        }
        let Some((_, carrier)) = &self.carrier else { return self.until };
        let due = carrier.next_timeout(&self.config)?;
        Some(self.session.next_timeout().filter(|_| self.is_up()).map_or(due, |ack| ack.min(due)))
    }

    /// Whether `poll_transmit` has something to send.
    pub(crate) fn has_output(&self) -> bool {
        let Some((_, carrier)) = &self.carrier else { return false };
        carrier.has_control() || (carrier.is_up() && (self.session.owes_ack() || self.queue.has_output()))
    }

    /// The next WebSocket message to send, if any: all waiting frames that fit the window, together.
    pub(crate) fn poll_transmit(&mut self, now: u64) -> Option<Vec<u8>> {
        let (_, carrier) = self.carrier.as_mut()?;
        let is_up = carrier.is_up();
        if is_up {
            let ack = self.session.ack(carrier.answers() || self.queue.has_output());
            if let Some(ack) = ack {
                carrier.control(&ack);
            }
        }
        let mut frames = carrier.take_control();
        if is_up {
            self.queue.number(now, &mut frames);
            if self.queue.window.is_exhausted() {
                self.end(Goodbye::new(CloseCode::Exhausted, "the link has used all sequence numbers"));
            }
        }
        if frames.is_empty() { None } else { Some(frame::encode_message(CHANNEL, frames.iter().map(|frame| &**frame))) }
    }

    /// The next event. A frame is handled when all events of the frame before it have been taken.
    pub(crate) fn poll_event(&mut self, now: u64) -> Option<LinkEvent> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let frame = self.arrived.pop_front()?;
            if self.phase() == Phase::Over {
                self.arrived.clear();
            } else if let Err(goodbye) = self.handle_frame(now, frame) {
                self.end(goodbye);
            }
        }
    }
}
