//! Which peers this host admits: their tokens, their names, and the links that they resume.

use starlane_protocol::{
    bounds::MAX_PRINCIPAL_BYTES,
    frame::{LinkId, LinkOutcome, LinkSecret, Resume},
};
use subtle::ConstantTimeEq;

use crate::{
    effect::{Effect, PeerId, SocketId},
    link::{CloseCode, Goodbye, Hello, Identity, LinkKey},
    node::Node,
    principal::{Authenticated, Authentication},
};

/// Whether hosts of this build accept links. A page does not, so that its visitors load less.
pub(crate) const IS_DIALLED: bool = cfg!(feature = "dialled");
/// The code of the failure of a token that was good before.
const EXPIRED: &str = "expired";

impl Node {
    /// Takes the result of checking a peer's token, at its hello and at each later check: the peer's principal, or the reason of a
    /// refusal. A link whose principal changed ends.
    pub fn handle_authenticated(&mut self, now: u64, peer: PeerId, result: Authentication) {
        if !IS_DIALLED {
            return;
        }
        let key = LinkKey(peer.0);
        let Some(link) = self.links.get(&key) else { return };
        if link.is_detached() && result.as_ref().is_err_and(|failure| failure.code == EXPIRED) {
            // It needs a fresh token anyway.
            return;
        }
        let hello = link.hello().cloned();
        let admitted = match result {
            Err(failure) => Err(Goodbye::new(&*failure.code, failure.message)),
            Ok(found) if found.principal.name().len() > MAX_PRINCIPAL_BYTES => {
                let message = format!("the principal's name is longer than {MAX_PRINCIPAL_BYTES} bytes");
                Err(Goodbye::new(CloseCode::AuthRefused, message))
            }
            Ok(found) => match hello {
                Some(hello) => self.admit_peer(now, key, &hello, found),
                None => self.check_again(now, key, found),
            },
        };
        if let Err(goodbye) = admitted
            && let Some(link) = self.links.get_mut(&key)
        {
            link.end(goodbye);
        }
        self.follow_up(now, key);
    }

    /// Checks the tokens of all links again, because permissions of principals changed.
    pub fn handle_reauthenticate(&mut self) {
        let accepted = self.links.iter().filter(|(_, link)| link.is_dialled() && link.session.identity.is_some());
        let again =
            accepted.map(|(key, link)| Effect::Authenticate { peer: PeerId(key.0), token: link.session.token.clone() });
        self.effects.extend(again);
    }

    /// Takes a token for the uplink's next hello, or for the link that is up. None keeps the present token.
    pub fn handle_renewed(&mut self, socket: SocketId, token: Option<String>) {
        let Some(key) = self.sockets.get(&socket).copied() else { return };
        if let (Some(link), Some(token)) = (self.links.get_mut(&key), token) {
            link.renew(token);
            self.touched(key);
        }
    }

    /// The token of a link was checked again.
    fn check_again(&mut self, now: u64, key: LinkKey, found: Authenticated) -> Result<(), Goodbye> {
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        if link.session.principal.name() != found.principal.name() {
            let message = format!("the token belongs to `{}`: open a new link for it", found.principal.name());
            return Err(Goodbye::new(CloseCode::PrincipalChanged, message));
        }
        link.renewed(now, found);
        self.end_what_is_refused(key);
        Ok(())
    }

    /// Admits a peer whose token is good, to its earlier link or to a new one. Nothing changes before this.
    fn admit_peer(&mut self, now: u64, key: LinkKey, hello: &Hello, found: Authenticated) -> Result<(), Goodbye> {
        let earlier = self.links.get(&key).and_then(|link| self.by_host.get(&link.session.peer?)).copied();
        if let Some(earlier) = earlier {
            self.check_dial(now, earlier, hello, &found)?;
        }
        let outcome = match &hello.resume {
            None => LinkOutcome::Fresh,
            Some(asked) => match self.find_link(earlier, asked)? {
                Some(earlier) => return self.resume_link(now, earlier, key, asked.received, found),
                None => LinkOutcome::Gap { reason: "the server does not have this link any more".to_owned() },
            },
        };
        if let Some(earlier) = earlier {
            self.end_link(now, earlier, fenced());
        }
        self.make_room_for(now, &found)?;
        let (id, secret) = (self.random.bytes16(), self.random.bytes());
        let identity = Identity { id: LinkId(id), key: LinkSecret(secret), window_ms: self.config.link.resume_ms };
        let name = self.name;
        if let Some(link) = self.links.get_mut(&key) {
            link.admit(now, name, found, identity, outcome);
        }
        Ok(())
    }

    /// Checks that a hello is newer than the last one of the same host, and of the same principal.
    fn check_dial(&mut self, now: u64, earlier: LinkKey, hello: &Hello, found: &Authenticated) -> Result<(), Goodbye> {
        let Some(link) = self.links.get(&earlier) else { return Ok(()) };
        let highest = link.session.dial;
        if link.session.principal.name() != found.principal.name() {
            let reason = "this host was linked as another principal: take a new secret for this one";
            let goodbye = Goodbye::new(CloseCode::PrincipalChanged, reason);
            self.end_link(now, earlier, goodbye.clone());
            return Err(goodbye);
        }
        if hello.dial <= highest {
            let reason = format!("the dial {} is older than the last one, {highest}", hello.dial);
            return Err(Goodbye { dial: Some(highest), ..Goodbye::new(CloseCode::StaleDial, reason) });
        }
        Ok(())
    }

    /// The earlier link of a host, if it is the one that its hello asks for and can go on. Errors if the hello cannot be true.
    fn find_link(&self, earlier: Option<LinkKey>, asked: &Resume) -> Result<Option<LinkKey>, Goodbye> {
        let found = earlier.and_then(|key| Some((key, self.links.get(&key)?)));
        let Some((key, link)) = found else { return Ok(None) };
        let Some(identity) = link.session.identity.as_ref().filter(|own| own.id == asked.link) else { return Ok(None) };
        if !bool::from(identity.key.0.ct_eq(&asked.key.0)) {
            return Err(Goodbye::new(CloseCode::AuthRefused, "the key of the link is wrong"));
        }
        Ok(link.can_resume(asked.received)?.then_some(key))
    }

    /// Gives a link the socket of a newer hello of its host.
    fn resume_link(
        &mut self,
        now: u64,
        key: LinkKey,
        newer: LinkKey,
        received: u64,
        found: Authenticated,
    ) -> Result<(), Goodbye> {
        let Some(mut hello) = self.links.remove(&newer) else { return Ok(()) };
        if let Some(timer) = hello.timer {
            self.timers.remove(timer);
        }
        self.attached(key);
        let (name, goodbye) = (self.name, fenced());
        let Some(link) = self.links.get_mut(&key) else { return Ok(()) };
        if let Some((socket, message)) = link.fence(now, &goodbye) {
            self.sockets.remove(&socket);
            self.effects.extend(message.map(|message| Effect::Transmit { socket, message }));
            self.effects.push_back(Effect::Hangup { socket, goodbye });
        }
        if let Some(socket) = hello.socket() {
            self.sockets.insert(socket, key);
        }
        link.attach(now, name, found, &mut hello, received)?;
        self.end_what_is_refused(key);
        self.follow_up(now, key);
        Ok(())
    }

    /// Makes room for one more link of a principal: the oldest of its links without a socket ends first. Errors if all have one.
    fn make_room_for(&mut self, now: u64, found: &Authenticated) -> Result<(), Goodbye> {
        let limit = self.config.limits.links;
        while self.usage.links(&found.principal) >= limit {
            let Some(oldest) = self.detached.oldest_of(found.principal.account()) else {
                let reason = format!("this principal has {limit} links, the maximum: close one first");
                return Err(Goodbye::new(CloseCode::TooMany, reason));
            };
            self.end_link(
                now,
                oldest,
                Goodbye::new(CloseCode::TooMany, "a newer link of its principal took its place"),
            );
        }
        Ok(())
    }
}

/// The goodbye of a socket or link whose host has dialled again.
fn fenced() -> Goodbye {
    Goodbye::new(CloseCode::Fenced, "this host has dialled again")
}
