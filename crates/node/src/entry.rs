//! Messages and subscriptions from other hosts: who sent them, and whether the sender has permission. Every message is checked
//! here. Subscriptions are checked again when the permissions of their principal change.

use starlane_protocol::{Address, Failure, HostName, Message, OWN_SPACE, Topic, Verb, address::MAX_ADDRESS};

use crate::{
    link::{Link, LinkKey, Parcel},
    node::Node,
    parcels::few,
    principal::Principal,
    topics::{Subscriber, Topics},
};

impl Node {
    /// Admits a message from outside that did not come over a link: counts it, and checks its sender's permission. Errors with 429
    /// `too-many` and 403 `no-grant`.
    pub fn admit(&mut self, now: u64, caller: &Principal, to: &Address, operation: &str) -> Result<(), Failure> {
        self.count_message(now, caller)?;
        self.permits(caller, Verb::Request, to, operation)
    }

    /// Counts a message from outside that was permitted elsewhere, by the author of a route. Errors with 429 `too-many`.
    pub fn count_message(&mut self, now: u64, caller: &Principal) -> Result<(), Failure> {
        self.usage.message(now, caller, &self.config.limits)
    }

    /// Checks whether a caller may send a message from outside to an address: by a grant, or because the address is on another host
    /// of the same principal. The space `starlane` is open: its resources check each caller themselves. Errors with 403 `no-grant`.
    fn permits(&self, caller: &Principal, verb: Verb, to: &Address, operation: &str) -> Result<(), Failure> {
        let to = if to.host() == Some(self.name) { &to.without_host() } else { to };
        let is_own = |link: &Link| link.is_dialled() && link.session.principal.name() == caller.name();
        let linked =
            |host| self.by_host.get(&host).and_then(|key| self.links.get(key)).is_some_and(|link| is_own(link));
        let own_host = to.host().is_some_and(linked);
        if own_host || (to.host().is_none() && to.space() == OWN_SPACE) {
            Ok(())
        } else {
            caller.permit(verb, to, operation)
        }
    }

    /// Replaces the sender and the caller of a message from a link by what this host knows of them, and checks their permission.
    pub(crate) fn enter(&self, key: LinkKey, mut message: Message, verb: Verb) -> Result<Message, Failure> {
        let Some((link, peer)) = self.links.get(&key).and_then(|link| Some((link, link.session.peer?))) else {
            return Err(Failure::link_lost("the link broke"));
        };
        if link.is_dialled() {
            message.from = on_host(&message.from, &peer)?;
            message.caller = link.session.principal.clone();
            self.permits(&message.caller, verb, &message.to, &message.operation)?;
            return Ok(message);
        }
        // The server has checked a message that it relays, and has stamped its prefix, which stays. A mechtron of the server itself
        // may send to this page only if its app was launched here.
        if message.from.host().is_some_and(|host| host != peer) || self.apps.holds(&message.from) {
            if message.from.host().is_none() {
                message.from = on_host(&message.from, &peer)?;
            }
            return Ok(message);
        }
        let text = format!("{} cannot send to this page: its app was not launched here", message.from);
        Err(Failure::no_grant(text).at(&message.to))
    }

    /// Checks whether a caller from outside may subscribe to a topic. Errors with 403 `no-grant`, and with 404 `no-resource` or
    /// `no-event` when there is no such topic.
    pub fn admit_subscriber(&self, caller: &Principal, topic: &Topic) -> Result<(), Failure> {
        self.permit_topic(caller, topic)?;
        self.check_topic(topic)
    }

    /// Subscribes a peer, or reports the refusal to it.
    pub(crate) fn enter_subscription(&mut self, key: LinkKey, topic: Topic) {
        let Some(link) = self.links.get(&key) else { return };
        let who = Subscriber::Link(key);
        let permitted = self.admit_subscriber(&link.session.principal, &topic);
        // A repeated subscription does not count twice.
        let more = !self.is_subscribed(&topic, who);
        let (count, most) = (self.topics.count(who), self.config.link.topics);
        let permitted = permitted.and_then(|()| if more { few(count, most, "topics") } else { Ok(()) });
        match permitted.and_then(|()| if more { self.may_keep(key, Topics::weight(&topic)) } else { Ok(()) }) {
            Ok(()) => self.subscribe(topic, who),
            Err(failure) => drop(self.send(key, Parcel::Refused { topic, failure }, None)),
        }
    }

    /// Ends the subscriptions of a link that its principal is no longer permitted.
    pub(crate) fn end_what_is_refused(&mut self, key: LinkKey) {
        let who = Subscriber::Link(key);
        for topic in self.topics.of(who) {
            let Some(link) = self.links.get(&key) else { return };
            if let Err(failure) = self.permit_topic(&link.session.principal, &topic) {
                let _ = self.send(key, Parcel::Refused { topic: topic.clone(), failure }, None);
                self.unsubscribe(topic, who);
            }
        }
    }
}

/// Returns a sender's address with the name of its host. Errors with 413 when that is too long for an address.
fn on_host(from: &Address, peer: &HostName) -> Result<Address, Failure> {
    from.on_host(peer).ok_or_else(|| {
        Failure::too_large(format!(
            "the sender's address with the name of its host is longer than {MAX_ADDRESS} bytes: send from a shorter one"
        ))
    })
}
