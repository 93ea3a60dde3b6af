//! One link to another host: bytes and time go in, bytes and events come out.
//!
//! The frames and their rules are specified in the README of `starlane-protocol`.

mod assembly;
mod close_code;
mod config;
mod outbox;

use std::collections::VecDeque;

use litemap::LiteMap;
use starlane_protocol::{
    Address, Failure, HostName, HostSecret, Outcome, Topic,
    bounds::cut,
    frame::{self, Frame, Limits, LinkId},
};

use self::{assembly::Assembly, outbox::Outbox};
pub use self::{close_code::CloseCode, config::LinkConfig};
use crate::principal::{Authenticated, Principal};

/// The channel in use.
const CHANNEL: u16 = 0;

/// What goes over a link in either direction, once it is up: whole, in order, exactly once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parcel {
    Request { id: u64, envelope: Envelope, remaining_ms: u32 },
    Response { id: u64, outcome: Outcome },
    Notify { envelope: Envelope },
    Event { topic: Topic, payload: starlane_protocol::Payload },
    Gap { topic: Topic },
    Refused { topic: Topic, failure: Failure },
    Subscribe { topic: Topic },
    Unsubscribe { topic: Topic },
    Cancel { id: u64 },
    Serve { address: Address, operations: Vec<String> },
    Release { address: Address },
}

/// What requests and one-way messages have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) from: Address,
    pub(crate) caller: Principal,
    pub(crate) to: Address,
    pub(crate) operation: String,
    pub(crate) payload: starlane_protocol::Payload,
    pub(crate) hops: u8,
    pub(crate) trace: Option<String>,
}

/// What a link tells its node.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// The peer showed a token, in its hello or to renew: whoever knows tokens must answer with `admit` or `end`.
    Hello { token: Option<String> },
    /// Our own token is good for not much longer.
    Expiring,
    /// The link is up.
    Up,
    /// A message arrived.
    Parcel(Parcel),
    /// The link is over; its last frame is still to be transmitted.
    Over(Goodbye),
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goodbye {
    /// What it is, for programs.
    pub code: CloseCode,
    /// For people.
    pub reason: String,
}

impl Goodbye {
    pub(crate) fn new(code: impl Into<CloseCode>, reason: impl Into<String>) -> Self {
        Self { code: code.into(), reason: cut(reason.into(), 1024) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Dialled side: nothing has arrived yet.
    AwaitHello,
    /// Dialled side: the token is being looked at.
    Admitting,
    /// Dialling side: hello has been sent.
    AwaitWelcome,
    Up,
    Over,
}

/// The state of one link. Dialling and redialling are its owner's business.
#[derive(Debug)]
pub(crate) struct Link {
    config: LinkConfig,
    phase: Phase,
    dialled: bool,
    /// The other host, once known.
    pub(crate) peer: Option<HostName>,
    /// On the dialled side the peer's principal; on the dialling side our own.
    pub(crate) principal: Principal,
    /// On the dialled side the token that the peer showed last.
    pub(crate) token: Option<String>,
    /// When the token ends; on the dialling side, when to have a fresh one.
    expires: Option<u64>,
    /// The addresses that the peer serves, with their operations.
    pub(crate) served: LiteMap<Address, Vec<String>>,
    outbox: Outbox,
    assembly: Assembly,
    events: VecDeque<LinkEvent>,
    received: u64,
    unacked_received: (u32, usize),
    ack_due: Option<u64>,
    opened: u64,
    heard: u64,
    ping_due: u64,
    nonce: u64,
}

impl Link {
    /// The side that dialled: says hello.
    pub(crate) fn dialling(config: LinkConfig, now: u64, secret: &HostSecret, token: Option<String>) -> Self {
        let mut link = Self::new(config, now, Phase::AwaitWelcome, false);
        link.outbox.control(&Frame::Hello {
            versions: vec![frame::VERSION],
            token,
            secret: secret.clone(),
            capabilities: Vec::new(),
        });
        link
    }

    /// The side that was dialled: waits for hello.
    pub(crate) fn dialled(config: LinkConfig, now: u64) -> Self {
        Self::new(config, now, Phase::AwaitHello, true)
    }

    fn new(config: LinkConfig, now: u64, phase: Phase, dialled: bool) -> Self {
        Self {
            outbox: Outbox::new(&config),
            assembly: Assembly::new(config.payload),
            phase,
            dialled,
            peer: None,
            principal: Principal::default(),
            token: None,
            expires: None,
            served: LiteMap::new(),
            events: VecDeque::new(),
            received: 0,
            unacked_received: (0, 0),
            ack_due: None,
            opened: now,
            heard: now,
            ping_due: now + config.ping_every_ms,
            nonce: 0,
            config,
        }
    }

    /// Whether this side was dialled, and so decides who the peer is.
    pub(crate) fn is_dialled(&self) -> bool {
        self.dialled
    }

    pub(crate) fn is_up(&self) -> bool {
        self.phase == Phase::Up
    }

    /// A WebSocket message arrived.
    pub(crate) fn handle_message(&mut self, now: u64, bytes: &[u8]) {
        if self.phase == Phase::Over {
            return;
        }
        self.heard = now;
        match frame::decode_message(bytes) {
            Ok(frames) => {
                for (channel, frame) in frames {
                    if self.phase == Phase::Over {
                        return;
                    }
                    if channel != CHANNEL {
                        return self
                            .end(Goodbye::new(CloseCode::Malformed, format!("channel {channel} is not in use")));
                    }
                    if let Err(goodbye) = self.handle_frame(now, frame) {
                        return self.end(goodbye);
                    }
                }
            }
            Err(error) => self.end(Goodbye::new(error.code(), error.to_string())),
        }
    }

    fn handle_frame(&mut self, now: u64, frame: Frame) -> Result<(), Goodbye> {
        match (self.phase, frame) {
            (_, Frame::Goodbye { code, reason }) => Err(Goodbye::new(&*code, reason)),
            (_, Frame::Ping { nonce }) => {
                self.outbox.control(&Frame::Pong { nonce });
                Ok(())
            }
            (Phase::AwaitHello, Frame::Hello { versions, token, secret, .. }) => {
                if !versions.contains(&frame::VERSION) {
                    let spoken = frame::VERSION;
                    return Err(Goodbye::new(
                        CloseCode::Version,
                        format!("this host speaks version {spoken}, not {versions:?}"),
                    ));
                }
                self.peer = Some(secret.name());
                self.phase = Phase::Admitting;
                self.shown(token);
                Ok(())
            }
            (Phase::AwaitWelcome, Frame::Welcome { host, principal, limits, .. }) => {
                self.peer = Some(host);
                self.principal = Principal::named(&principal);
                self.outbox.limit(limits);
                self.phase = Phase::Up;
                self.events.push_back(LinkEvent::Up);
                Ok(())
            }
            (Phase::Up, Frame::Ack { received }) => self.outbox.acked(received),
            (Phase::Up, Frame::Pong { .. }) => Ok(()),
            (Phase::Up, Frame::Renew { token }) if self.dialled => {
                self.shown(Some(token));
                Ok(())
            }
            (Phase::Up, Frame::Expires { remaining_ms }) if !self.dialled => {
                self.expires = remaining_ms.map(|remaining| now.saturating_add(remaining / 5 * 4));
                Ok(())
            }
            (Phase::Up, frame) if frame.sequence().is_some() => self.handle_numbered(now, frame),
            (_, frame) => {
                let name = frame.name().to_ascii_lowercase();
                Err(Goodbye::new(CloseCode::Malformed, format!("a {name} frame is out of place here")))
            }
        }
    }

    fn handle_numbered(&mut self, now: u64, frame: Frame) -> Result<(), Goodbye> {
        let sequence = frame.sequence().unwrap_or_default();
        if sequence != self.received + 1 {
            let expected = self.received + 1;
            return Err(Goodbye::new(
                CloseCode::Malformed,
                format!("sequence {sequence} where {expected} was expected"),
            ));
        }
        self.received = sequence;
        let (frames, bytes) = &mut self.unacked_received;
        *frames += 1;
        *bytes += outbox::weight(&frame);
        if *frames >= self.config.ack_frames || *bytes >= self.config.ack_bytes {
            self.ack_due = Some(now);
        } else if self.ack_due.is_none() {
            self.ack_due = Some(now + self.config.ack_after_ms);
        }
        if let Some(parcel) = self.assembly.take(frame)? {
            self.events.push_back(LinkEvent::Parcel(parcel));
        }
        Ok(())
    }

    fn shown(&mut self, token: Option<String>) {
        self.token.clone_from(&token);
        self.events.push_back(LinkEvent::Hello { token });
    }

    /// The dialled side accepts the peer: at hello, and again when its token was renewed or what it may has changed.
    pub(crate) fn admit(&mut self, now: u64, own: HostName, found: Authenticated, link: LinkId) {
        self.principal = found.principal;
        self.expires = found.remaining_ms.map(|remaining| now.saturating_add(remaining));
        let renewed = self.phase == Phase::Up;
        if self.phase == Phase::Admitting {
            let limits = Limits {
                payload: self.config.payload as u32,
                unacked_frames: self.config.window_frames as u32,
                unacked_bytes: self.config.window_bytes as u32,
            };
            let principal = self.principal.name().to_owned();
            self.outbox.control(&Frame::Welcome { version: frame::VERSION, link, host: own, principal, limits });
            self.phase = Phase::Up;
            self.events.push_back(LinkEvent::Up);
        }
        if renewed || found.remaining_ms.is_some() {
            self.outbox.control(&Frame::Expires { remaining_ms: found.remaining_ms });
        }
    }

    /// The dialling side shows a fresh token.
    pub(crate) fn renew(&mut self, token: String) {
        if self.phase == Phase::Up {
            self.outbox.control(&Frame::Renew { token });
        }
    }

    /// Whether the peer may subscribe to a topic of this host or one that it knows.
    pub(crate) fn permit_topic(&self, own: HostName, topic: &Topic) -> Result<(), Failure> {
        match topic.address.host() {
            Some(host) if host == own => self
                .principal
                .permit_topic(&Topic { address: topic.address.without_host(), event: topic.event.clone() }),
            _ => self.principal.permit_topic(topic),
        }
    }

    /// Ends the link: the peer is told why.
    pub(crate) fn end(&mut self, goodbye: Goodbye) {
        if self.phase == Phase::Over {
            return;
        }
        self.phase = Phase::Over;
        self.outbox.last(&Frame::Goodbye { code: goodbye.code.as_str().to_owned(), reason: goodbye.reason.clone() });
        self.events.push_back(LinkEvent::Over(goodbye));
    }

    /// Queues a message. Errors when too much waits already, or the payload is too long for the peer.
    pub(crate) fn send(&mut self, parcel: Parcel) -> Result<(), Failure> {
        self.outbox.send(parcel)
    }

    /// How many one-way messages the peer is not known to have.
    pub(crate) fn one_way_unacked(&self) -> usize {
        self.outbox.one_way_unacked()
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, now: u64) {
        match self.phase {
            Phase::Over => {}
            Phase::AwaitHello | Phase::AwaitWelcome if now >= self.opened + self.config.first_frame_ms => {
                let waited = self.config.first_frame_ms;
                self.end(Goodbye::new(CloseCode::Silent, format!("no first frame within {waited} ms")));
            }
            _ if now >= self.heard + self.config.silence_ms => {
                let waited = self.config.silence_ms;
                self.end(Goodbye::new(CloseCode::Silent, format!("nothing was heard for {waited} ms")));
            }
            Phase::Up if self.expires.is_some_and(|expires| now >= expires) => self.token_ended(now),
            Phase::Up if now >= self.ping_due => {
                self.ping_due = now + self.config.ping_every_ms;
                if self.dialled {
                    self.nonce += 1;
                    self.outbox.control(&Frame::Ping { nonce: self.nonce });
                }
            }
            _ => {}
        }
    }

    /// The dialled side ends the link; the other asks for a fresh token, and after a while again, until there is one.
    fn token_ended(&mut self, now: u64) {
        if self.dialled {
            return self
                .end(Goodbye::new(CloseCode::Expired, "the token is no longer good: dial again with a fresh one"));
        }
        self.expires = Some(now + self.config.renew_again_ms);
        self.events.push_back(LinkEvent::Expiring);
    }

    /// When `handle_timeout` or `poll_transmit` has something to do next.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        let first = |due: u64| Some(self.ack_due.map_or(due, |ack| ack.min(due)));
        match self.phase {
            Phase::AwaitHello | Phase::AwaitWelcome => Some(self.opened + self.config.first_frame_ms),
            Phase::Admitting => Some(self.heard + self.config.silence_ms),
            Phase::Up => {
                let due = (self.heard + self.config.silence_ms).min(self.ping_due);
                first(self.expires.map_or(due, |expires| expires.min(due)))
            }
            Phase::Over => None,
        }
    }

    /// The next WebSocket message to send, if any: all frames that wait and fit the window, together.
    pub(crate) fn poll_transmit(&mut self, now: u64) -> Option<Vec<u8>> {
        let riding = self.unacked_received.0 > 0 && self.outbox.has_numbered();
        if self.phase == Phase::Up && (riding || self.ack_due.is_some_and(|due| due <= now)) {
            self.outbox.control(&Frame::Ack { received: self.received });
            self.ack_due = None;
            self.unacked_received = (0, 0);
        }
        let frames = self.outbox.take(self.phase == Phase::Up);
        if frames.is_empty() { None } else { Some(frame::encode_message(CHANNEL, frames.iter().map(Vec::as_slice))) }
    }

    pub(crate) fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }
}
