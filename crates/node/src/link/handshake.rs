//! How a link begins, loses its socket, gets another one, and ends.

use starlane_protocol::{
    HostName, HostSecret,
    frame::{self, FirstCredit, Frame, LinkLimits, LinkOutcome, OpenStreams, Resume},
};

use super::{Carrier, CloseCode, Goodbye, Identity, Link, LinkConfig, LinkEvent, Lost, Session, carrier::Phase};
use crate::{
    admission::IS_DIALLED,
    effect::SocketId,
    principal::{Authenticated, Principal},
};

/// The least window that a host may give its peer.
const MIN_UNACKED_FRAMES: u32 = 16;
const MIN_UNACKED_BYTES: u32 = 64 * 1024;

/// What a peer showed in its hello, beside its name and token.
#[derive(Debug, Clone)]
pub(crate) struct Hello {
    /// The dial number.
    pub(crate) dial: u64,
    /// The earlier link that it asks for.
    pub(crate) resume: Option<Resume>,
    limits: LinkLimits,
}

impl LinkConfig {
    fn limits(&self) -> LinkLimits {
        LinkLimits {
            payload: self.payload as u32,
            unacked_frames: self.window_frames as u32,
            unacked_bytes: self.window_bytes as u32,
            open_streams: OpenStreams(self.open_streams as u32),
            first_credit: FirstCredit(self.first_credit as u32),
        }
    }
}

impl Link {
    /// The socket to the server is open: sends hello, which asks for the earlier link if there was one.
    pub(crate) fn opened(&mut self, now: u64, socket: SocketId, secret: &HostSecret, token: Option<String>, dial: u64) {
        let mut carrier = Carrier::new(Phase::AwaitWelcome, now, &self.config);
        carrier.control(&Frame::Hello {
            versions: vec![frame::VERSION],
            token,
            secret: secret.clone(),
            capabilities: Vec::new(),
            dial,
            resume: self.session.resume(),
            limits: self.config.limits(),
        });
        self.carrier = Some((socket, carrier));
        self.until = None;
    }

    /// Takes hello.
    pub(super) fn greeted(&mut self, hello: Frame) -> Result<(), Goodbye> {
        let Frame::Hello { versions, token, secret, dial, resume, limits, .. } = hello else { return Ok(()) };
        if !IS_DIALLED {
            return Ok(());
        }
        if !versions.contains(&frame::VERSION) {
            let reason = format!("this host speaks version {}, not {versions:?}", frame::VERSION);
            return Err(Goodbye::new(CloseCode::Version, reason));
        }
        check(&limits)?;
        if let Some((_, carrier)) = &mut self.carrier {
            carrier.phase = Phase::Admitting;
        }
        self.session.peer = Some(secret.name());
        self.hello = Some(Hello { dial, resume, limits });
        self.shown(token);
        Ok(())
    }

    pub(super) fn shown(&mut self, token: Option<String>) {
        self.session.token.clone_from(&token);
        self.events.push_back(LinkEvent::Hello { token });
    }

    /// The hello of a peer that was not admitted yet.
    pub(crate) fn hello(&self) -> Option<&Hello> {
        self.hello.as_ref().filter(|_| self.phase() == Phase::Admitting)
    }

    /// Accepts the peer on a new link, on the dialled side.
    pub(crate) fn admit(
        &mut self,
        now: u64,
        own: HostName,
        found: Authenticated,
        identity: Identity,
        outcome: LinkOutcome,
    ) {
        let Some(hello) = self.hello.clone() else { return };
        self.session.identity = Some(identity);
        self.session.dial = hello.dial;
        self.queue.limit(&hello.limits);
        self.welcome(now, own, found, outcome);
        self.up(LinkEvent::Up);
    }

    /// Gives this link the socket of a peer that showed its key, on the dialled side. `received` is the last frame that the peer
    /// got.
    pub(crate) fn attach(
        &mut self,
        now: u64,
        own: HostName,
        found: Authenticated,
        newer: &mut Self,
        received: u64,
    ) -> Result<(), Goodbye> {
        self.queue.resume(received)?;
        self.carrier = newer.carrier.take();
        self.session.token = newer.session.token.take();
        self.session.dial = newer.hello.take().map_or(0, |hello| hello.dial);
        let received = self.session.received();
        self.welcome(now, own, found, LinkOutcome::Resumed { received });
        self.resumed(now);
        Ok(())
    }

    fn welcome(&mut self, now: u64, own: HostName, found: Authenticated, outcome: LinkOutcome) {
        let Some(Identity { id, key, window_ms }) = self.session.identity.clone() else { return };
        if let Some((_, carrier)) = &mut self.carrier {
            carrier.control(&Frame::Welcome {
                version: frame::VERSION,
                link: id,
                host: own,
                principal: found.principal.name().to_owned(),
                limits: self.config.limits(),
                key,
                outcome,
                window_ms: u32::try_from(window_ms).unwrap_or(u32::MAX),
                route: None,
            });
        }
        self.renewed(now, found);
    }

    /// Takes the present permissions of the peer, and how long its token is good for.
    pub(crate) fn renewed(&mut self, now: u64, found: Authenticated) {
        self.session.principal = found.principal;
        let Some((_, carrier)) = &mut self.carrier else { return };
        carrier.expires = found.remaining_ms.map(|remaining| now.saturating_add(remaining));
        if carrier.is_up() || found.remaining_ms.is_some() {
            carrier.control(&Frame::Expires { remaining_ms: found.remaining_ms });
        }
        if carrier.is_full() {
            self.end(Goodbye::new(CloseCode::SlowConsumer, "the peer renews tokens and does not read the answers"));
        }
    }

    /// Takes welcome.
    pub(super) fn welcomed(&mut self, now: u64, welcome: Frame) -> Result<(), Goodbye> {
        let Frame::Welcome { host, principal, limits, link: id, key, outcome, window_ms, .. } = welcome else {
            return Ok(());
        };
        check(&limits)?;
        if self.principal_before.as_ref().is_some_and(|before| *before != principal) {
            self.events.push_back(LinkEvent::OtherPrincipal(principal));
            return Ok(());
        }
        let reason = match outcome {
            LinkOutcome::Resumed { received } => {
                let asked = self.session.identity.as_ref().is_some_and(|own| own.id == id && own.key == key);
                if !asked || self.session.peer != Some(host) {
                    let reason = "welcome resumes a link that this host did not ask for";
                    return Err(Goodbye::new(CloseCode::Malformed, reason));
                }
                if !self.queue.window.can_resume(received) {
                    let reason = format!("welcome names frame {received}, which cannot be the last received one");
                    return Err(Goodbye::new(CloseCode::Malformed, reason));
                }
                self.queue.resume(received)?;
                self.resumed(now);
                return Ok(());
            }
            LinkOutcome::Gap { reason } => reason,
            LinkOutcome::Fresh => "the server has begun a new link".to_owned(),
        };
        if self.session.identity.is_some() {
            let lost = Box::new(self.lose());
            self.events.push_back(LinkEvent::Gap(lost, Goodbye::new(CloseCode::NotResumed, reason)));
        }
        self.session.identity = Some(Identity { id, key, window_ms: window_ms.into() });
        self.session.peer = Some(host);
        self.session.principal = Principal::named(&principal);
        self.principal_before = Some(principal);
        self.queue.limit(&limits);
        self.up(LinkEvent::Up);
        Ok(())
    }

    /// Notes as which principal the server knows this host now, if that is known.
    pub(crate) fn belongs_to(&mut self, principal: Option<String>) {
        self.principal_before = principal;
    }

    fn resumed(&mut self, now: u64) {
        let pause = self.lost_at.take().map_or(0, |at| now.saturating_sub(at));
        self.session.assembly.postpone(pause);
        self.until = None;
        self.up(LinkEvent::Resumed);
    }

    fn up(&mut self, event: LinkEvent) {
        if let Some((_, carrier)) = self.carrier.as_mut().filter(|(_, carrier)| carrier.phase != Phase::Over) {
            carrier.phase = Phase::Up;
            self.events.push_back(event);
        }
    }

    /// Whether another socket may carry it. A link on the dialled side that carried nothing is not worth its memory.
    pub(crate) fn may_resume(&self) -> bool {
        let is_unused = self.queue.is_unused() && self.session.received() == 0;
        self.session.identity.is_some() && !self.is_over && !(self.is_dialled && is_unused)
    }

    /// The socket is closed, and the link waits for another one.
    pub(crate) fn detach(&mut self, now: u64) {
        self.close();
        self.lost_at.get_or_insert(now);
        let window = self.session.identity.as_ref().map_or(0, |identity| identity.window_ms);
        self.until = self.lost_at.map(|at| at + window);
    }

    /// Ends the present socket, because the peer has a newer one. Returns the socket and its last message.
    pub(crate) fn fence(&mut self, now: u64, goodbye: &Goodbye) -> Option<(SocketId, Option<Vec<u8>>)> {
        let socket = self.socket()?;
        if let Some((_, carrier)) = &mut self.carrier {
            carrier.end(goodbye);
        }
        let message = self.poll_transmit(now);
        self.close();
        self.lost_at = Some(now);
        Some((socket, message))
    }

    /// The socket is closed.
    pub(crate) fn close(&mut self) {
        self.carrier = None;
        self.arrived.clear();
        self.events.clear();
        self.is_ready &= !std::mem::take(&mut self.has_no_room);
    }

    /// The link has ended, and its shared state is lost. On the dialling side, messages that were not numbered wait for the next.
    pub(crate) fn lose(&mut self) -> Lost {
        let session = std::mem::replace(&mut self.session, Session::new(&self.config));
        let unsure = self.queue.unsure();
        let mut streams = session.assembly.streams.ids();
        streams.extend(self.queue.restart(&self.config));
        (self.until, self.lost_at, self.is_over) = (None, None, false);
        let asking = session.asking.values().copied().collect();
        let counted = std::mem::take(&mut self.counted);
        Lost {
            was_up: session.identity.is_some(),
            peer: session.peer,
            principal: session.principal,
            asking,
            unsure,
            streams,
            counted,
        }
    }
}

/// Checks the limits of a peer.
fn check(limits: &LinkLimits) -> Result<(), Goodbye> {
    if limits.unacked_frames >= MIN_UNACKED_FRAMES && limits.unacked_bytes >= MIN_UNACKED_BYTES {
        return Ok(());
    }
    let reason =
        format!("a window must have at least {MIN_UNACKED_FRAMES} frames and {MIN_UNACKED_BYTES} bytes: {limits:?}");
    Err(Goodbye::new(CloseCode::Malformed, reason))
}
