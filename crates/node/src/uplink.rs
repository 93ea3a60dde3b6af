//! The link of a browser host to its server: when to dial. Messages wait in the link's own queue until the link is up.

use std::collections::VecDeque;

use starlane_protocol::{Address, Failure, HostName};

use crate::{
    effect::{Effect, LinkState, RequestId, SocketId},
    link::{CloseCode, Goodbye, Link, LinkConfig, LinkKey, Parcel},
    node::{Node, closed},
};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// A socket is being opened.
    Dialling,
    /// A socket is open; its link may be up.
    Open,
    /// The next dial is at this time.
    Pause(u64),
    /// The server refused us for good.
    Refused(Goodbye),
}

/// The dialling side of the link to the server.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    /// None if no server is wanted.
    link: Option<(LinkKey, Phase)>,
    attempts: u32,
    pub(crate) server: Option<HostName>,
    pub(crate) was_up: bool,
}

impl Uplink {
    /// Wants a server from now on; `key` is its link.
    pub(crate) fn want(&mut self, key: LinkKey) {
        self.link = Some((key, Phase::Dialling));
    }

    /// Whether messages for addresses on other hosts go to a server.
    pub(crate) fn is_wanted(&self) -> bool {
        self.link.is_some()
    }

    /// The link to the server, if one is wanted.
    pub(crate) fn key(&self) -> Option<LinkKey> {
        self.link.as_ref().map(|(key, _)| *key)
    }

    /// The link whose socket is being opened.
    pub(crate) fn dialled(&self) -> Option<LinkKey> {
        self.link.as_ref().filter(|(_, phase)| *phase == Phase::Dialling).map(|(key, _)| *key)
    }

    fn set(&mut self, phase: Phase) {
        if let Some((_, present)) = &mut self.link {
            *present = phase;
        }
    }

    pub(crate) fn dialling(&mut self) {
        self.set(Phase::Dialling);
    }

    pub(crate) fn opened(&mut self) {
        self.set(Phase::Open);
    }

    pub(crate) fn up(&mut self) {
        self.attempts = 0;
        self.was_up = true;
    }

    /// The pause before the next dial, in milliseconds, before jitter: at once, then doubling.
    pub(crate) fn next_pause(&mut self, config: &LinkConfig) -> u64 {
        let attempt = self.attempts;
        self.attempts += 1;
        match attempt {
            0 if self.was_up => 0,
            _ => (config.redial_first_ms << attempt.min(20)).min(config.redial_most_ms),
        }
    }

    pub(crate) fn pause_until(&mut self, at: u64) {
        self.set(Phase::Pause(at));
    }

    pub(crate) fn refuse(&mut self, goodbye: Goodbye) {
        self.set(Phase::Refused(goodbye));
    }

    /// Stops dialling the server. Returns its link.
    pub(crate) fn stop(&mut self) -> Option<LinkKey> {
        self.link.take().map(|(key, _)| key)
    }

    /// When the next dial is due.
    pub(crate) fn next_timeout(&self) -> Option<u64> {
        match self.link {
            Some((_, Phase::Pause(at))) => Some(at),
            _ => None,
        }
    }

    /// The failure of messages over a link, if its server has refused this host.
    pub(crate) fn refusal(&self, key: LinkKey) -> Option<Failure> {
        match &self.link {
            Some((own, Phase::Refused(goodbye))) if *own == key => Some(refused(goodbye)),
            _ => None,
        }
    }
}

/// The failure of messages when the server refuses this host.
pub(crate) fn refused(goodbye: &Goodbye) -> Failure {
    match &goodbye.code {
        CloseCode::AuthRefused => Failure::auth_refused(goodbye.reason.clone()),
        code => Failure::new(503, code.as_str(), goodbye.reason.clone()),
    }
}

impl Node {
    /// Connects this host to its server: dials at once, and again after each failure.
    pub fn handle_connect(&mut self) {
        if !self.uplink.is_wanted() {
            let key = LinkKey(self.fresh());
            self.links.insert(key, Box::new(Link::dialling(self.config.link.clone())));
            self.uplink.want(key);
            self.effects.push_back(Effect::LinkState(LinkState::Connecting));
            self.dial();
        }
    }

    /// The socket that `Dial` asked for is open. `token` goes into the hello frame.
    pub fn handle_dialled(&mut self, now: u64, socket: SocketId, token: Option<String>) {
        let Some(key) = self.uplink.dialled() else {
            self.effects.push_back(Effect::Hangup { socket, goodbye: closed() });
            return;
        };
        self.uplink.opened();
        self.sockets.insert(socket, key);
        if let Some(link) = self.links.get_mut(&key) {
            link.opened(now, socket, &self.config.secret, token);
        }
        self.touched(key);
    }

    /// The socket that `Dial` asked for could not be opened.
    pub fn handle_dial_failed(&mut self, now: u64) {
        if self.uplink.dialled().is_some() {
            self.redial_later(now);
        }
    }

    pub(crate) fn uplink_timeout(&mut self, now: u64) {
        let link = self.uplink.key().and_then(|key| self.links.get_mut(&key));
        for waiting in link.map_or_else(VecDeque::new, |link| link.expired(now)) {
            let failure = Failure::unreachable("the link to the server did not come up in time");
            self.bury(now, &waiting, &failure);
        }
        if self.uplink.next_timeout().is_some_and(|at| at <= now) {
            self.dial();
        }
    }

    fn dial(&mut self) {
        self.uplink.dialling();
        self.effects.push_back(Effect::Dial);
    }

    fn redial_later(&mut self, now: u64) {
        let pause = self.uplink.next_pause(&self.config.link);
        let pause = self.random.jitter(pause);
        self.uplink.pause_until(now + pause);
        self.effects.push_back(Effect::LinkState(LinkState::Down));
    }

    /// Sends on the uplink if it is up. Subscriptions and served addresses are sent again whenever it comes up.
    pub(crate) fn send_up(&mut self, parcel: Parcel) {
        if let Some(key) = self.uplink.key() {
            let _ = self.send(key, parcel, None);
        }
    }

    /// Tells the server that this host serves an address.
    pub(crate) fn announce(&mut self, address: &Address, operations: Vec<String>) {
        self.send_up(Parcel::Serve { address: address.clone(), operations });
    }

    pub(crate) fn withdraw(&mut self, address: &Address) {
        self.send_up(Parcel::Release { address: address.clone() });
    }

    /// The link to the server is up. The server learns first what this host serves and subscribes to; waiting messages follow.
    pub(crate) fn uplink_up(&mut self, now: u64, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        self.uplink.server = link.session.peer;
        let waiting = link.take_waiting();
        let after_a_break = self.uplink.was_up;
        self.uplink.up();
        self.effects.push_back(Effect::LinkState(LinkState::Up));
        let served: Vec<_> = self
            .handlers
            .values()
            .map(|registered| (registered.address.clone(), registered.operations.names()))
            .collect();
        for (address, operations) in served {
            self.announce(&address, operations);
        }
        self.resubscribe(now, after_a_break);
        for waiting in waiting {
            let (request, notify) = match &waiting.parcel {
                Parcel::Request { id, .. } => (Some(RequestId(*id)), None),
                Parcel::Notify { message } => {
                    (None, Some((message.to.clone(), message.operation.clone(), message.trace)))
                }
                _ => (None, None),
            };
            let Err(failure) = self.send(key, waiting.parcel, waiting.deadline) else { continue };
            if let Some(request) = request {
                self.finish(now, request, Err(failure));
            } else if let Some((to, operation, trace)) = notify {
                self.dead_letter(now, &to, &operation, trace, &failure);
            }
        }
    }

    /// The socket to the server is closed.
    pub(crate) fn uplink_lost(&mut self, now: u64, key: LinkKey, goodbye: &Goodbye) {
        if !goodbye.code.is_final() {
            return self.redial_later(now);
        }
        self.uplink.refuse(goodbye.clone());
        let waiting = self.links.get_mut(&key).map_or_else(VecDeque::new, |link| link.take_waiting());
        for waiting in waiting {
            match waiting.parcel {
                Parcel::Request { id, .. } => self.finish(now, RequestId(id), Err(refused(goodbye))),
                _ => self.bury(now, &waiting, &refused(goodbye)),
            }
        }
        self.effects.push_back(Effect::LinkState(LinkState::Refused(goodbye.clone())));
    }
}
