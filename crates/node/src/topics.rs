//! The subscriptions of a node.

use starlane_protocol::Topic;

use crate::{actor::ActorId, effect::SubscriptionId, link::LinkKey, maps::Index};

/// A subscriber of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subscriber {
    /// The host itself.
    Host(SubscriptionId),
    /// An actor, awake or asleep.
    Actor(ActorId),
    /// A peer, which forwards them to its own subscribers.
    Link(LinkKey),
}

impl Subscriber {
    /// Its number, unique among all kinds of subscribers: the node assigned it.
    fn number(self) -> u64 {
        let (Self::Host(SubscriptionId(number)) | Self::Actor(ActorId(number)) | Self::Link(LinkKey(number))) = self;
        number
    }
}

/// The memory of a subscription in addition to the text of its topic, which is kept twice, in bytes.
const OVERHEAD: usize = 256;

/// The subscriptions of a node, by topic and by subscriber.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_topic: Index<Topic, Subscriber>,
    /// By the number of the subscriber.
    by_subscriber: Index<u64, Topic>,
}

impl Topics {
    /// Adds a subscriber. Returns true if it is the topic's first.
    pub(crate) fn add(&mut self, topic: Topic, who: Subscriber) -> bool {
        self.by_subscriber.add(who.number(), topic.clone());
        self.by_topic.add(topic, who)
    }

    /// Removes a subscriber from one topic. Returns true if it was the last.
    pub(crate) fn remove(&mut self, topic: &Topic, who: Subscriber) -> bool {
        self.by_subscriber.remove(&who.number(), topic);
        self.by_topic.remove(topic, &who)
    }

    /// Removes a subscriber from all topics. Returns the topics that have no subscriber any more.
    pub(crate) fn remove_all(&mut self, who: Subscriber) -> Vec<Topic> {
        let mut topics = self.by_subscriber.take(&who.number());
        topics.retain(|topic| self.by_topic.remove(topic, &who));
        topics
    }

    pub(crate) fn subscribers(&self, topic: &Topic) -> Vec<Subscriber> {
        self.by_topic.of(topic)
    }

    /// The memory of a subscription, in bytes.
    pub(crate) fn weight(topic: &Topic) -> usize {
        OVERHEAD + 2 * (topic.address.as_str().len() + topic.event.len())
    }

    /// The topics of a subscriber.
    pub(crate) fn of(&self, who: Subscriber) -> Vec<Topic> {
        self.by_subscriber.of(&who.number())
    }

    pub(crate) fn has(&self, topic: &Topic, who: Subscriber) -> bool {
        self.by_topic.get(topic).is_some_and(|all| all.contains_key(&who))
    }

    /// The number of topics of a subscriber.
    pub(crate) fn count(&self, who: Subscriber) -> usize {
        self.by_subscriber.get(&who.number()).map_or(0, |topics| topics.len())
    }

    /// All topics that have a subscriber.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Topic> {
        self.by_topic.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removed_subscriber_leaves_topics_of_others() {
        let topic = |n: usize| Topic::parse(&format!("acme:app:one#e{n}")).unwrap();
        let [one, two] = [1, 2].map(|n| Subscriber::Link(LinkKey(n)));
        let mut topics = Topics::default();
        assert!((0..100).all(|n| topics.add(topic(n), one)));
        assert!(!topics.add(topic(7), two) && !topics.add(topic(7), two));
        assert_eq!((topics.of(one).len(), topics.of(two)), (100, vec![topic(7)]));
        assert_eq!(topics.remove_all(one).len(), 99, "the seventh is still wanted");
        assert_eq!(topics.subscribers(&topic(7)), [two]);
        assert!(topics.remove(&topic(7), two) && topics.all().next().is_none() && topics.of(two).is_empty());
    }
}
