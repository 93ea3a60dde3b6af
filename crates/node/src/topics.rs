//! Who has subscribed to what.

use litemap::LiteMap;

use starlane_protocol::Topic;

use crate::{
    actor::ActorId,
    effect::{SocketId, SubscriptionId},
};

/// Someone who wants the events of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subscriber {
    /// The host itself.
    Host(SubscriptionId),
    /// An actor, awake or asleep.
    Actor(ActorId),
    /// A peer, which passes them on to its own.
    Link(SocketId),
}

/// The subscriptions of a node.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_topic: LiteMap<Topic, Vec<Subscriber>>,
}

impl Topics {
    /// Adds a subscriber. True if it is the topic's first.
    pub(crate) fn add(&mut self, topic: Topic, who: Subscriber) -> bool {
        let subscribers = self.by_topic.entry(topic).or_default();
        let first = subscribers.is_empty();
        if !subscribers.contains(&who) {
            subscribers.push(who);
        }
        first
    }

    /// Removes a subscriber from one topic. True if it was the last.
    pub(crate) fn remove(&mut self, topic: &Topic, who: Subscriber) -> bool {
        let Some(subscribers) = self.by_topic.get_mut(topic) else { return false };
        subscribers.retain(|subscriber| *subscriber != who);
        if subscribers.is_empty() {
            self.by_topic.remove(topic);
            return true;
        }
        false
    }

    /// Removes a subscriber from all topics. Gives the topics that nobody wants any more.
    pub(crate) fn remove_all(&mut self, who: Subscriber) -> Vec<Topic> {
        let topics: Vec<Topic> =
            self.by_topic.iter().filter(|(_, all)| all.contains(&who)).map(|(topic, _)| topic.clone()).collect();
        topics.into_iter().filter(|topic| self.remove(topic, who)).collect()
    }

    pub(crate) fn subscribers(&self, topic: &Topic) -> Vec<Subscriber> {
        self.by_topic.get(topic).cloned().unwrap_or_default()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Topic, &[Subscriber])> {
        self.by_topic.iter().map(|(topic, subscribers)| (topic, subscribers.as_slice()))
    }
}
