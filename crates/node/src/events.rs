//! Topics: subscribing, and the way of an event to everyone who wants it.

use starlane_protocol::{Failure, Payload, Topic};

use crate::{
    actor::Letter, effect::Notice, guest::Kind, link::Parcel, node::Node, principal::Principal, topics::Subscriber,
};

impl Node {
    /// Adds a subscriber; a topic whose resource is elsewhere is asked for there.
    pub(crate) fn subscribe(&mut self, topic: Topic, who: Subscriber) {
        let topic = self.local_form(topic);
        let first = self.topics.add(topic.clone(), who);
        if first && !self.is_here(&topic.address) {
            self.send_up(Parcel::Subscribe { topic });
        }
    }

    pub(crate) fn unsubscribe(&mut self, topic: Topic, who: Subscriber) {
        let topic = self.local_form(topic);
        if self.topics.remove(&topic, who) {
            self.unwanted(topic);
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

    /// A topic of this host carries no prefix, however it was written.
    fn local_form(&self, topic: Topic) -> Topic {
        match topic.address.host() {
            Some(host) if host == self.name => Topic { address: topic.address.without_host(), ..topic },
            _ => topic,
        }
    }

    /// An event of a resource of this host, or one that the uplink brought.
    pub(crate) fn emit(&mut self, now: u64, topic: &Topic, payload: &Payload) {
        self.stats.events += 1;
        for subscriber in self.topics.subscribers(topic) {
            match subscriber {
                Subscriber::Host(subscription) => {
                    let event = Notice::Event { from: topic.address.clone(), payload: payload.clone() };
                    self.notice(subscription, event);
                }
                Subscriber::Actor(actor) => {
                    let letter = Letter {
                        kind: Kind::Event,
                        from: topic.address.clone(),
                        caller: Principal::default(),
                        operation: topic.event.to_string(),
                        payload: payload.clone(),
                        request: None,
                        deadline: None,
                    };
                    if let Err(failure) = self.post(now, actor, letter) {
                        self.dead_letter(&topic.address, &topic.event, &failure);
                    }
                }
                Subscriber::Link(socket) => {
                    let Some(link) = self.links.get_mut(&socket) else { continue };
                    if link.send(Parcel::Event { topic: topic.clone(), payload: payload.clone() }).is_err() {
                        // Too much waits for this peer: it is told that it missed something, which always passes.
                        let _ = link.send(Parcel::Gap { topic: topic.clone() });
                    }
                }
            }
        }
    }

    /// Subscribers of a topic may have missed events.
    pub(crate) fn gap(&mut self, topic: &Topic) {
        for subscriber in self.topics.subscribers(topic) {
            match subscriber {
                Subscriber::Host(subscription) => self.notice(subscription, Notice::Gap),
                Subscriber::Link(socket) => {
                    if let Some(link) = self.links.get_mut(&socket) {
                        let _ = link.send(Parcel::Gap { topic: topic.clone() });
                    }
                }
                // The guest interface has no word for a gap: the log has.
                Subscriber::Actor(_) => self.dead_letter(
                    &topic.address,
                    &topic.event,
                    &Failure::link_lost("the link broke: events may have been missed"),
                ),
            }
        }
    }

    /// There will be no events of a topic: who waits for them is told why.
    pub(crate) fn refuse_topic(&mut self, topic: &Topic, failure: &Failure) {
        for subscriber in self.topics.subscribers(topic) {
            match subscriber {
                Subscriber::Host(subscription) => self.notice(subscription, Notice::Refused(failure.clone())),
                Subscriber::Link(socket) => {
                    if let Some(link) = self.links.get_mut(&socket) {
                        let _ = link.send(Parcel::Refused { topic: topic.clone(), failure: failure.clone() });
                    }
                }
                Subscriber::Actor(_) => self.dead_letter(&topic.address, &topic.event, failure),
            }
            self.topics.remove(topic, subscriber);
        }
    }

    /// The uplink is up: asks again for every topic that is elsewhere.
    pub(crate) fn resubscribe(&mut self, after_a_break: bool) {
        let topics: Vec<Topic> = self.topics.all().map(|(topic, _)| topic.clone()).collect();
        for topic in topics.into_iter().filter(|topic| !self.is_here(&topic.address)).collect::<Vec<_>>() {
            self.send_up(Parcel::Subscribe { topic: topic.clone() });
            if after_a_break {
                self.gap(&topic);
            }
        }
    }
}
