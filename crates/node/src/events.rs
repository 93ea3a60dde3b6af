//! Topics: subscriptions, and the way of an event to its subscribers.

use starlane_protocol::{Failure, Message, Payload, Topic, Trace};

use crate::{
    actor::ActorId,
    crashes::Crash,
    effect::Notice,
    guest::{Kind, Level},
    link::Parcel,
    node::Node,
    principal::Principal,
    topics::{Subscriber, Topics},
};

impl Node {
    /// Checks that a topic belongs to a resource of this host, or to a host that forwards its events to this one. Errors with 404:
    /// `no-resource` or `no-event`.
    pub(crate) fn check_topic(&self, topic: &Topic) -> Result<(), Failure> {
        let (address, event) = (&topic.address, &topic.event);
        if !self.is_here(address) {
            return Ok(());
        }
        let bare = address.without_host();
        if address.host().is_some_and(|host| host != self.name) {
            let message = "this host does not get the events of that host: subscribe there";
            return Err(Failure::no_resource(message).at(address));
        }
        let handler = self.handler_at(&bare).and_then(|id| self.handlers.get(&id));
        let role = self.apps.role(&bare);
        let names: Vec<&str> = match (handler.map(|registered| &registered.events), &role) {
            (Some(None), _) => return Ok(()),
            (Some(Some(names)), _) => names.iter().map(String::as_str).collect(),
            (None, Some(role)) => role.plan.bind.events.keys().map(String::as_str).collect(),
            (None, None) => {
                return Err(Failure::no_resource(format!("nothing on this host has the address {bare}")).at(address));
            }
        };
        if names.contains(&&**event) {
            return Ok(());
        }
        let has =
            if names.is_empty() { "there are none".to_owned() } else { format!("there are: {}", names.join(", ")) };
        Err(Failure::no_event(format!("no event `{event}` here; {has}")).at(address))
    }

    /// Checks whether a principal may subscribe to a topic of this host, in any form, or to a topic of another host
    /// that this one knows. Errors with 403 `no-grant`.
    pub fn permit_topic(&self, caller: &Principal, topic: &Topic) -> Result<(), Failure> {
        caller.permit_topic(&self.local_form(topic.clone()))
    }

    /// Adds a subscriber, and subscribes at the other host if the topic is there.
    pub(crate) fn subscribe(&mut self, topic: Topic, who: Subscriber) {
        let topic = self.local_form(topic);
        if !self.topics.has(&topic, who) {
            self.keeps_names(who, 0, Topics::weight(&topic));
        }
        let first = self.topics.add(topic.clone(), who);
        if first && !self.is_here(&topic.address) {
            self.send_up(Parcel::Subscribe { topic });
        }
    }

    /// Subscribes an actor. Errors when it has too many subscriptions.
    pub(crate) fn subscribe_actor(&mut self, id: ActorId, topic: Topic) -> Result<(), Crash> {
        let (topic, most) = (self.local_form(topic), self.config.actors.subscriptions);
        let known = self.check_topic(&topic);
        let Some(actor) = self.actors.get_mut(&id) else { return Ok(()) };
        if actor.subscriptions.contains(&topic) {
            return Ok(());
        }
        let address = actor.address.clone();
        match known {
            Err(failure) if failure.code == "no-event" => {
                self.log(&address, Level::Error, format!("not subscribed to {topic}: {failure}"));
                return Ok(());
            }
            // The app may be created later.
            Err(failure) => self.log(&address, Level::Warn, format!("subscribed to {topic}, though {failure}")),
            Ok(()) => {}
        }
        let Some(actor) = self.actors.get_mut(&id) else { return Ok(()) };
        let count = actor.subscriptions.len();
        if count >= most {
            self.stats.refuse("subscriptions");
            let detail =
                format!("it has {count} subscriptions and asked for another; the limit `subscriptions` is {most}");
            return Err(Crash::budget(detail));
        }
        actor.subscriptions.push(topic.clone());
        actor.keeping.relisted = true;
        self.subscribe(topic, Subscriber::Actor(id));
        Ok(())
    }

    pub(crate) fn unsubscribe_actor(&mut self, id: ActorId, topic: Topic) {
        let topic = self.local_form(topic);
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.subscriptions.retain(|own| *own != topic);
            actor.keeping.relisted = true;
        }
        self.unsubscribe(topic, Subscriber::Actor(id));
    }

    pub(crate) fn unsubscribe(&mut self, topic: Topic, who: Subscriber) {
        let topic = self.local_form(topic);
        if self.topics.has(&topic, who) {
            self.keeps_names(who, Topics::weight(&topic), 0);
        }
        if self.topics.remove(&topic, who) {
            self.unwanted(topic);
        }
    }

    /// Updates the count of names that are kept for a link: `less` bytes were removed and `more` bytes were added.
    pub(crate) fn keeps_names(&mut self, who: Subscriber, less: usize, more: usize) {
        let Subscriber::Link(key) = who else { return };
        if let Some(link) = self.links.get_mut(&key) {
            link.session.names = (link.session.names + more).saturating_sub(less);
            self.count_bytes(key);
        }
    }

    pub(crate) fn unsubscribe_all(&mut self, who: Subscriber) {
        for topic in self.topics.remove_all(who) {
            self.unwanted(topic);
        }
    }

    fn unwanted(&mut self, topic: Topic) {
        if !self.is_here(&topic.address) {
            self.send_up(Parcel::Unsubscribe { topic });
        }
    }

    pub(crate) fn is_subscribed(&self, topic: &Topic, who: Subscriber) -> bool {
        self.topics.has(&self.local_form(topic.clone()), who)
    }

    /// Removes the prefix of this host from a topic, if it has one.
    fn local_form(&self, topic: Topic) -> Topic {
        match topic.address.host() {
            Some(host) if host == self.name => Topic { address: topic.address.without_host(), ..topic },
            _ => topic,
        }
    }

    /// Delivers an event of a resource of this host, or one from the uplink. Actors and peers also get its trace. Errors when its
    /// payload cannot be forwarded.
    pub(crate) fn emit(
        &mut self,
        now: u64,
        topic: &Topic,
        payload: &Payload,
        trace: Option<Trace>,
    ) -> Result<(), Failure> {
        payload.check().map_err(|failure| failure.at(&topic.address))?;
        self.stats.events += 1;
        for subscriber in self.topics.subscribers(topic) {
            match subscriber {
                Subscriber::Host(subscription) => {
                    let event = Notice::Event { from: topic.address.clone(), payload: payload.clone() };
                    self.notice(subscription, event);
                }
                Subscriber::Actor(actor) => {
                    let (from, event) = (topic.address.clone(), topic.event.to_string());
                    let message = Message::new(from.clone(), Principal::default(), from, event, payload.clone());
                    let letter = Message { kind: Kind::Event, trace, ..message };
                    if let Err(failure) = self.post(now, actor, letter) {
                        self.dead_letter(now, &topic.address, &topic.event, trace, &failure);
                    }
                }
                Subscriber::Link(key) => {
                    let event = Parcel::Event { topic: topic.clone(), payload: payload.clone(), trace };
                    let _ = self.send(key, event, None);
                }
            }
        }
        Ok(())
    }

    /// Reports to the subscribers of a topic that they may have missed events.
    pub(crate) fn gap(&mut self, now: u64, topic: &Topic) {
        for subscriber in self.topics.subscribers(topic) {
            match subscriber {
                Subscriber::Host(subscription) => self.notice(subscription, Notice::Gap),
                Subscriber::Link(key) => drop(self.send(key, Parcel::Gap { topic: topic.clone() }, None)),
                // The guest interface cannot report a gap, so it goes to the log.
                Subscriber::Actor(_) => self.dead_letter(
                    now,
                    &topic.address,
                    &topic.event,
                    None,
                    &Failure::link_lost("the link broke: events may have been missed"),
                ),
            }
        }
    }

    /// Ends a topic: its subscribers get the failure.
    pub(crate) fn refuse_topic(&mut self, now: u64, topic: &Topic, failure: &Failure) {
        for subscriber in self.topics.subscribers(topic) {
            match subscriber {
                Subscriber::Host(subscription) => self.notice(subscription, Notice::Refused(failure.clone())),
                Subscriber::Link(key) => {
                    let refused = Parcel::Refused { topic: topic.clone(), failure: failure.clone() };
                    let _ = self.send(key, refused, None);
                }
                Subscriber::Actor(id) => {
                    self.dead_letter(now, &topic.address, &topic.event, None, failure);
                    if let Some(actor) = self.actors.get_mut(&id) {
                        actor.subscriptions.retain(|own| own != topic);
                        actor.keeping.relisted = true;
                    }
                    self.sleeps(id);
                }
            }
            self.keeps_names(subscriber, Topics::weight(topic), 0);
            self.topics.remove(topic, subscriber);
        }
    }

    /// The uplink is up: subscribes again to every topic of another host.
    pub(crate) fn resubscribe(&mut self, now: u64, after_a_break: bool) {
        let elsewhere = self.topics.all().filter(|topic| !self.is_here(&topic.address));
        for topic in elsewhere.cloned().collect::<Vec<_>>() {
            self.send_up(Parcel::Subscribe { topic: topic.clone() });
            if after_a_break {
                self.gap(now, &topic);
            }
        }
    }
}
