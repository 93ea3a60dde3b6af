//! One link to another host: bytes and time go in, bytes and events come out.
//!
//! The frames and their rules are specified in the README of `starlane-protocol`.

mod assembly;
mod carrier;
mod close_code;
mod config;
mod parcel;
mod send_queue;
mod session;

use std::collections::VecDeque;

use starlane_protocol::{
    Failure, HostName, HostSecret,
    frame::{self, Frame, Limits, LinkId},
};

use self::{
    carrier::{Carrier, Due, Phase},
    send_queue::{SendQueue, Unsent},
    session::Lost,
};
pub use self::{
    close_code::{CloseCode, Goodbye},
    config::LinkConfig,
};
pub(crate) use self::{parcel::Parcel, send_queue::Waiting, session::Session};
use crate::{
    effect::SocketId,
    principal::{Authenticated, Principal},
    timers::Key,
};

/// The channel in use.
const CHANNEL: u16 = 0;
/// The maximum of bytes beside the hello frame in its message.
const MAX_BESIDE_HELLO_BYTES: usize = 16;

/// A link of this node, under a number that the node never uses again. Its sockets may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkKey(pub(crate) u64);

/// An event of a link for its node.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LinkEvent {
    /// The peer sent a token, in its hello or to renew it. The node must answer with `admit` or `end`.
    Hello { token: Option<String> },
    /// Our own token expires soon.
    Expiring,
    /// The link is up.
    Up,
    /// A complete message arrived in one frame.
    Parcel(Box<Parcel>),
    /// A message arrived whose body follows. The body is dropped unless `keep` is called.
    Announced { of: u64, parcel: Box<Parcel>, length: usize },
    /// The body of a kept message is complete.
    Complete(Box<Parcel>),
    /// The body of a kept message was not complete in time.
    Late(Box<Parcel>),
    /// The link has ended; its last frame is still to be transmitted.
    Over(Goodbye),
}

/// One link: the state of the peer, the present socket, if any, and the waiting messages. Its owner dials and redials.
#[derive(Debug)]
pub(crate) struct Link {
    config: LinkConfig,
    is_dialled: bool,
    pub(crate) session: Session,
    carrier: Option<(SocketId, Carrier)>,
    queue: SendQueue,
    /// Frames that arrived and were not handled yet.
    arrived: VecDeque<Frame>,
    events: VecDeque<LinkEvent>,
    /// Whether it was up on its present socket.
    has_been_up: bool,
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
            arrived: VecDeque::new(),
            events: VecDeque::new(),
            has_been_up: false,
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

    /// The socket to the server is open: sends hello.
    pub(crate) fn opened(&mut self, now: u64, socket: SocketId, secret: &HostSecret, token: Option<String>) {
        let mut carrier = Carrier::new(Phase::AwaitWelcome, now, &self.config);
        carrier.control(&Frame::Hello {
            versions: vec![frame::VERSION],
            token,
            secret: secret.clone(),
            capabilities: Vec::new(),
        });
        self.carrier = Some((socket, carrier));
    }

    /// The socket is closed, and the shared state of both sides is lost. If the link was not up yet, waiting messages wait for the
    /// next socket.
    pub(crate) fn lose(&mut self) -> Lost {
        let was_up = std::mem::take(&mut self.has_been_up);
        self.carrier = None;
        self.arrived.clear();
        self.events.clear();
        self.is_ready &= !std::mem::take(&mut self.has_no_room);
        let session = std::mem::replace(&mut self.session, Session::new(&self.config));
        let one_way = if was_up { self.queue.one_way_unacked() } else { 0 };
        if was_up {
            self.queue = SendQueue::new(&self.config);
        }
        let asking = session.asking.values().copied().collect();
        let counted = std::mem::take(&mut self.counted);
        Lost { was_up, peer: session.peer, principal: session.principal, asking, one_way, counted }
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
        let frames = frame::decode_message(bytes).map_err(|error| Goodbye::new(error.code(), error.to_string()))?;
        if let Some((_, carrier)) = &mut self.carrier {
            carrier.receive(now, frames.len(), bytes.len(), &self.config)?;
        }
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
            (_, Frame::Goodbye { code, reason }) => return Err(Goodbye::new(&*code, reason)),
            (Phase::Up, Frame::Ping { nonce }) => carrier.pinged(nonce),
            (Phase::AwaitHello, Frame::Hello { versions, token, secret, .. }) => {
                if !versions.contains(&frame::VERSION) {
                    let reason = format!("this host speaks version {}, not {versions:?}", frame::VERSION);
                    return Err(Goodbye::new(CloseCode::Version, reason));
                }
                carrier.phase = Phase::Admitting;
                self.session.peer = Some(secret.name());
                self.shown(token);
            }
            (Phase::AwaitWelcome, Frame::Welcome { host, principal, limits, .. }) => {
                self.session.peer = Some(host);
                self.session.principal = Principal::named(&principal);
                self.queue.limit(limits);
                self.up();
            }
            (Phase::Up, Frame::Ack { received }) => return self.queue.acked(received),
            (Phase::Up, Frame::Pong { .. }) => {}
            (Phase::Up, Frame::Renew { token }) if self.is_dialled => self.shown(Some(token)),
            (Phase::Up, Frame::Expires { remaining_ms }) if !self.is_dialled => {
                carrier.expires = remaining_ms.map(|remaining| now.saturating_add(remaining / 5 * 4));
            }
            (Phase::Up, frame) if frame.sequence().is_some() => {
                let event = self.session.take(now, frame, &self.config)?;
                self.events.extend(event);
            }
            (_, frame) => {
                let name = frame.name().to_ascii_lowercase();
                return Err(Goodbye::new(CloseCode::Malformed, format!("unexpected {name} frame")));
            }
        }
        Ok(())
    }

    fn shown(&mut self, token: Option<String>) {
        self.session.token.clone_from(&token);
        self.events.push_back(LinkEvent::Hello { token });
    }

    fn up(&mut self) {
        if let Some((_, carrier)) = &mut self.carrier {
            carrier.phase = Phase::Up;
        }
        self.has_been_up = true;
        self.events.push_back(LinkEvent::Up);
    }

    /// Accepts the peer, on the dialled side: at hello, and again when its token was renewed or its permissions changed.
    pub(crate) fn admit(&mut self, now: u64, own: HostName, found: Authenticated, link: LinkId) {
        let Some((_, carrier)) = &mut self.carrier else { return };
        self.session.principal = found.principal;
        carrier.expires = found.remaining_ms.map(|remaining| now.saturating_add(remaining));
        let is_admitted = carrier.phase == Phase::Admitting;
        if is_admitted {
            let limits = Limits {
                payload: self.config.payload as u32,
                unacked_frames: self.config.window_frames as u32,
                unacked_bytes: self.config.window_bytes as u32,
            };
            let principal = self.session.principal.name().to_owned();
            carrier.control(&Frame::Welcome { version: frame::VERSION, link, host: own, principal, limits });
        }
        if carrier.is_up() || found.remaining_ms.is_some() {
            carrier.control(&Frame::Expires { remaining_ms: found.remaining_ms });
        }
        if carrier.is_full() {
            self.end(Goodbye::new(CloseCode::SlowConsumer, "the peer renews tokens and does not read the answers"));
        } else if is_admitted {
            self.up();
        }
    }

    /// Sends a fresh token, on the dialling side.
    pub(crate) fn renew(&mut self, token: String) {
        if let Some((_, carrier)) = self.carrier.as_mut().filter(|(_, carrier)| carrier.is_up()) {
            carrier.control(&Frame::Renew { token });
        }
    }

    /// Ends the link and sends the reason to the peer.
    pub(crate) fn end(&mut self, goodbye: Goodbye) {
        let Some((_, carrier)) = self.carrier.as_mut().filter(|(_, carrier)| carrier.phase != Phase::Over) else {
            return;
        };
        let code = goodbye.code.as_str().to_owned();
        carrier.end(&Frame::Goodbye { code, reason: goodbye.reason.clone() });
        self.events.push_back(LinkEvent::Over(goodbye));
    }

    /// Queues a message. While the link is not up, requests and one-way messages wait; everything else is derived from the node's
    /// state when the link comes up. Errors when too much waits, or when the payload is too long for the peer.
    pub(crate) fn send(&mut self, parcel: Parcel, deadline: Option<u64>) -> Result<(), Failure> {
        let is_up = self.is_up();
        if !is_up && (self.has_been_up || !matches!(parcel, Parcel::Request { .. } | Parcel::Notify { .. })) {
            return Err(Failure::link_lost("the link broke"));
        }
        match self.queue.send(parcel, deadline, is_up, &self.config) {
            Ok(()) => Ok(()),
            Err(Unsent::Failed(failure)) => Err(failure),
            Err(Unsent::TooSlow(goodbye)) => {
                let failure = Failure::link_lost(goodbye.reason.clone());
                self.end(goodbye);
                Err(failure)
            }
        }
    }

    /// Cancels a request: removes it from the queue, or sends a cancel to the peer.
    pub(crate) fn cancel(&mut self, id: u64) {
        if !self.queue.cancel(id) {
            let _ = self.send(Parcel::Cancel { id }, None);
        }
    }

    /// Keeps the body that a frame announced.
    pub(crate) fn keep(&mut self, now: u64, of: u64, parcel: Parcel) {
        self.session.assembly.keep(now, of, parcel, &self.config);
    }

    /// The bytes that are kept for the peer: the last count and the present one, if they differ.
    pub(crate) fn count(&mut self) -> Option<(usize, usize)> {
        let (before, now) = (self.counted, self.queue.bytes() + self.session.bytes());
        self.counted = now;
        (self.is_dialled && before != now).then_some((before, now))
    }

    /// Removes the messages that wait for the link.
    pub(crate) fn take_waiting(&mut self) -> VecDeque<Box<Waiting>> {
        self.queue.take_waiting()
    }

    /// Removes the one-way messages that waited too long for the link to come up.
    pub(crate) fn expired(&mut self, now: u64) -> VecDeque<Box<Waiting>> {
        if self.has_been_up { VecDeque::new() } else { self.queue.expired(now) }
    }

    /// Runs everything that is due at `now`.
    pub(crate) fn handle_timeout(&mut self, now: u64) {
        self.session.handle_timeout(now);
        while let Some(parcel) = self.session.assembly.late(now) {
            self.events.push_back(LinkEvent::Late(Box::new(parcel)));
        }
        let Some((_, carrier)) = &mut self.carrier else { return };
        match carrier.handle_timeout(now, self.is_dialled, self.queue.stalled_at(), &self.config) {
            Some(Due::End(goodbye)) => self.end(goodbye),
            Some(Due::Renew) => self.events.push_back(LinkEvent::Expiring),
            None => {}
        }
    }

    /// When `handle_timeout` has something to do next; at once if the link has ended and its node does not know.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        if self.phase() == Phase::Over && !self.events.is_empty() {
            return Some(0);
        }
        let due = self.carrier.as_ref()?.1.next_timeout(&self.config)?;
        Some(self.session.next_timeout().filter(|_| self.is_up()).map_or(due, |ack| ack.min(due)))
    }

    /// Whether `poll_transmit` has something to send.
    pub(crate) fn has_output(&self) -> bool {
        let Some((_, carrier)) = &self.carrier else { return false };
        carrier.has_control() || (carrier.is_up() && (self.session.owes_ack() || self.queue.may_number()))
    }

    /// The next WebSocket message to send, if any: all waiting frames that fit the window, together.
    pub(crate) fn poll_transmit(&mut self, now: u64) -> Option<Vec<u8>> {
        let (_, carrier) = self.carrier.as_mut()?;
        let is_up = carrier.is_up();
        if is_up {
            let ack = self.session.ack(self.queue.may_number());
            if let Some(ack) = ack {
                carrier.control(&ack);
            }
        }
        let mut frames = carrier.take_control();
        if is_up {
            self.queue.number(now, &mut frames);
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
