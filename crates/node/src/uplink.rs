//! The link of a browser host to its server: when to dial. Messages wait in the link's own queue until the link is up.

use std::collections::VecDeque;

use starlane_protocol::{Address, Failure, HostName, HostSecret};

use crate::{
    effect::{Effect, LinkState, LinkStatus, RequestId, SocketId},
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

/// The maximum of dials within a second, whatever asks for them.
const MAX_DIALS_PER_SECOND: usize = 3;
/// The maximum of links in a row that end because a rule of the protocol was broken. The two hosts then speak different protocols.
const MAX_BROKEN_LINKS: u32 = 2;

/// The maximum pause that a server can ask for, in milliseconds, before the random part.
const MAX_RETRY_MS: u64 = 5 * 60_000;
/// The highest dial number that is believed: a larger one would leave no room for later dials.
const MAX_DIAL: u64 = 1 << 52;

/// The dialling side of the link to the server.
#[derive(Debug, Default)]
pub(crate) struct Uplink {
    /// None if no server is wanted.
    link: Option<(LinkKey, Phase)>,
    /// The number of dials in a row that failed: the next pause grows with it.
    attempts: u32,
    /// The number in the last hello.
    dial: u64,
    /// When the last dials began.
    dials: VecDeque<u64>,
    /// When the present socket brought the link up.
    up_since: Option<u64>,
    /// When a wake-up last shortened a pause.
    woken: Option<u64>,
    /// How many links in a row broke a rule of the protocol.
    broken: u32,
    /// Whether the token of the last dial was refused. The next dial asks for another one; a second refusal is final.
    token_refused: bool,
    /// What was last reported.
    status: Option<LinkStatus>,
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
    fn dialled(&self) -> Option<LinkKey> {
        self.link.as_ref().filter(|(_, phase)| *phase == Phase::Dialling).map(|(key, _)| *key)
    }

    fn set(&mut self, phase: Phase) {
        if let Some((_, present)) = &mut self.link {
            *present = phase;
        }
    }

    /// The number for the next hello: it rises with each, and with the time.
    fn next_dial(&mut self, unix_ms: u64) -> u64 {
        self.dial = unix_ms.max(self.dial + 1);
        self.dial
    }

    fn up(&mut self, now: u64) {
        self.token_refused = false;
        self.up_since = Some(now);
        self.was_up = true;
    }

    /// The socket is gone. `makes_progress`: the server acknowledged a frame that was numbered on it.
    fn down(&mut self, now: u64, makes_progress: bool, config: &LinkConfig) {
        let up_for = self.up_since.take().map_or(0, |since| now.saturating_sub(since));
        if up_for >= config.stable_ms {
            (self.attempts, self.broken) = (0, 0);
        } else if makes_progress {
            (self.attempts, self.broken) = (self.attempts.min(1), 0);
        }
    }

    /// The bounds of the pause before the next dial, in milliseconds: up to the first pause, then doubling.
    fn next_pause(&mut self, config: &LinkConfig) -> (u64, u64) {
        let attempt = self.attempts;
        self.attempts = attempt.saturating_add(1);
        let Some(doublings) = attempt.checked_sub(1) else { return (0, config.redial_first_ms) };
        let most = (config.redial_first_ms << doublings.min(20)).min(config.redial_most_ms);
        (most / 2, most)
    }

    /// The time at which a dial may begin that is wanted at `at`.
    fn not_too_often(&self, at: u64) -> u64 {
        let first = self.dials.front().filter(|_| self.dials.len() >= MAX_DIALS_PER_SECOND);
        first.map_or(at, |first| at.max(first + 1_000))
    }

    fn begins(&mut self, now: u64) {
        self.dials.push_back(now);
        if self.dials.len() > MAX_DIALS_PER_SECOND {
            self.dials.pop_front();
        }
        self.set(Phase::Dialling);
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
        code if code.refuses_token() => Failure::auth_refused(goodbye.reason.clone()),
        code => Failure::new(503, code.as_str(), goodbye.reason.clone()),
    }
}

impl Node {
    /// Connects this host to its server: dials at once, and again after each failure.
    pub fn handle_connect(&mut self, now: u64) {
        if !self.uplink.is_wanted() {
            let key = LinkKey(self.fresh());
            self.links.insert(key, Box::new(Link::dialling(self.config.link.clone())));
            self.uplink.want(key);
            self.report(now, LinkState::Connecting, None);
            self.dial(now);
        }
    }

    /// The network may have changed, or the page is seen again: a link that is up is probed, and a pause before a dial is
    /// shortened.
    pub fn handle_wake(&mut self, now: u64) {
        let Some((key, phase)) = self.uplink.link.clone() else { return };
        let config = &self.config.link;
        match phase {
            Phase::Open => {
                if let Some(link) = self.links.get_mut(&key) {
                    link.probe(now);
                    self.touched(key);
                }
            }
            Phase::Pause(at) if self.uplink.woken.is_none_or(|last| now >= last + config.wake_every_ms) => {
                self.uplink.woken = Some(now);
                let soon = now + self.random.between(0, config.redial_first_ms);
                let soon = self.uplink.not_too_often(soon.min(at));
                self.uplink.set(Phase::Pause(soon));
                let reason = self.uplink.status.clone().and_then(|status| status.reason);
                self.report(now, LinkState::Down, reason.as_ref());
            }
            _ => {}
        }
    }

    /// Dials again, also after the server refused this host.
    pub fn handle_reconnect(&mut self, now: u64) {
        if let Some((_, Phase::Refused(goodbye))) = self.uplink.link.clone() {
            (self.uplink.broken, self.uplink.token_refused) = (0, false);
            let at = self.uplink.not_too_often(now);
            self.uplink.set(Phase::Pause(at));
            self.report(now, LinkState::Down, Some(&goodbye));
        } else {
            self.handle_wake(now);
        }
    }

    /// The socket that `Dial` asked for is open. `token` goes into the hello frame. `unix_ms` is the time of the hello, in
    /// milliseconds since 1970.
    pub fn handle_dialled(&mut self, now: u64, socket: SocketId, token: Option<String>, unix_ms: u64) {
        let Some(key) = self.uplink.dialled() else {
            self.effects.push_back(Effect::Hangup { socket, goodbye: closed() });
            return;
        };
        self.uplink.set(Phase::Open);
        self.sockets.insert(socket, key);
        let dial = self.uplink.next_dial(unix_ms);
        if let Some(link) = self.links.get_mut(&key) {
            link.opened(now, socket, &self.config.secret, token, dial);
        }
        self.touched(key);
    }

    /// The socket that `Dial` asked for could not be opened, or there was no token for it.
    pub fn handle_dial_failed(&mut self, now: u64, code: CloseCode, reason: &str) {
        if self.uplink.dialled().is_some() {
            self.redial_later(now, &Goodbye::new(code, reason));
        }
    }

    pub(crate) fn uplink_timeout(&mut self, now: u64) {
        let link = self.uplink.key().and_then(|key| self.links.get_mut(&key));
        for waiting in link.map_or_else(VecDeque::new, |link| link.expired(now)) {
            let failure = Failure::unreachable("the link to the server did not come up in time").sent(false);
            self.bury(now, &waiting, &failure);
        }
        if self.uplink.next_timeout().is_some_and(|at| at <= now) {
            self.dial(now);
        }
    }

    fn dial(&mut self, now: u64) {
        self.uplink.begins(now);
        if let Some(LinkStatus { state, reason, .. }) =
            self.uplink.status.clone().filter(|status| status.next.is_some())
        {
            self.report(now, state, reason.as_ref());
        }
        self.effects.push_back(Effect::Dial);
    }

    /// Reports a state of the link.
    fn report(&mut self, now: u64, state: LinkState, reason: Option<&Goodbye>) {
        let before = self.uplink.status.as_ref().filter(|before| before.state == state);
        let since = before.map_or(now, |before| before.since);
        let (reason, next) = (reason.cloned(), self.uplink.next_timeout());
        let status = LinkStatus { state, reason, since, attempt: self.uplink.attempts, next };
        self.uplink.status = Some(status.clone());
        self.effects.push_back(Effect::LinkStatus(status));
    }

    fn redial_later(&mut self, now: u64, goodbye: &Goodbye) {
        let (least, most) = self.uplink.next_pause(&self.config.link);
        let mut at = now + self.random.between(least, most);
        if let Some(retry) = goodbye.retry_ms {
            let retry = u64::from(retry).min(MAX_RETRY_MS);
            at = at.max(now + self.random.between(retry, 2 * retry));
        }
        let at = self.uplink.not_too_often(at);
        self.uplink.set(Phase::Pause(at));
        self.report(now, LinkState::Down, Some(goodbye));
    }

    /// Sends on the uplink if it is up. Subscriptions and served addresses are sent again whenever it comes up anew.
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

    /// A new link to the server is up. The server learns first what this host serves and subscribes to; waiting messages follow.
    pub(crate) fn uplink_up(&mut self, now: u64, key: LinkKey) {
        let Some(link) = self.links.get_mut(&key) else { return };
        self.uplink.server = link.session.peer;
        let waiting = link.take_waiting();
        let after_a_break = self.uplink.was_up;
        self.uplink.up(now);
        self.report(now, LinkState::Up, None);
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

    /// The link to the server has a socket again, and goes on where it was.
    pub(crate) fn uplink_resumed(&mut self, now: u64) {
        self.uplink.up(now);
        self.report(now, LinkState::Up, None);
    }

    /// The link to the server lost its socket, or has ended. `makes_progress`: the server acknowledged a frame that was numbered on
    /// its last socket.
    pub(crate) fn uplink_down(&mut self, now: u64, key: LinkKey, goodbye: &Goodbye, makes_progress: bool) {
        if !matches!(self.uplink.link, Some((_, Phase::Open))) {
            // Its time to be resumed is over, and it is being dialled already.
            return;
        }
        let was_up = self.uplink.up_since.is_some();
        self.uplink.down(now, makes_progress, &self.config.link);
        self.uplink.broken += u32::from(matches!(goodbye.code, CloseCode::Malformed | CloseCode::TooLarge));
        if let Some(highest) = goodbye.dial {
            self.uplink.dial = self.uplink.dial.max(highest.min(MAX_DIAL));
        }
        if goodbye.code == CloseCode::PrincipalChanged {
            return self.principal_changed(now, key, None);
        }
        // A token that ends on a link that is up was good until then.
        let refuses_token = goodbye.code.refuses_token() && !(was_up && goodbye.code == CloseCode::Expired);
        let is_second = refuses_token && std::mem::replace(&mut self.uplink.token_refused, refuses_token);
        if goodbye.code.is_final() || is_second || self.uplink.broken >= MAX_BROKEN_LINKS {
            return self.refuse_uplink(now, key, goodbye);
        }
        self.redial_later(now, goodbye);
    }

    /// The server knows this host as another principal now. What waits was sent as the old one, so it fails. A name belongs to one
    /// principal, so this host takes another.
    pub(crate) fn principal_changed(&mut self, now: u64, key: LinkKey, principal: Option<String>) {
        let failure = Failure::link_lost("this host is linked as another principal now").sent(false);
        self.fail_waiting(now, key, &failure);
        self.take_new_name();
        let Some(link) = self.links.get_mut(&key) else { return };
        link.belongs_to(principal);
        let goodbye = Goodbye::new(CloseCode::Closed, "this host takes a new name for its new principal");
        match link.socket() {
            Some(_) => self.end_link(now, key, goodbye),
            None => self.redial_later(now, &goodbye),
        }
    }

    fn refuse_uplink(&mut self, now: u64, key: LinkKey, goodbye: &Goodbye) {
        self.uplink.set(Phase::Refused(goodbye.clone()));
        if goodbye.code == CloseCode::Fenced {
            // Another process has the same secret.
            self.take_new_name();
        }
        self.fail_waiting(now, key, &refused(goodbye).sent(false));
        self.report(now, LinkState::Refused, Some(goodbye));
    }

    fn take_new_name(&mut self) {
        self.config.secret = HostSecret(self.random.bytes());
        self.name = self.config.secret.name();
    }

    /// Fails everything that waits for the link to the server.
    fn fail_waiting(&mut self, now: u64, key: LinkKey, failure: &Failure) {
        let waiting = self.links.get_mut(&key).map_or_else(VecDeque::new, |link| link.take_waiting());
        for waiting in waiting {
            match waiting.parcel {
                Parcel::Request { id, .. } => self.finish(now, RequestId(id), Err(failure.clone())),
                _ => self.bury(now, &waiting, failure),
            }
        }
    }
}
