//! The timers of a node, in order.

use starlane_protocol::StreamId;

use crate::{actor::ActorId, effect::RequestId, link::LinkKey, maps::Map};

/// When it is due, in milliseconds, and a unique number.
pub(crate) type Key = (u64, u64);

/// Something that is due at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Timer {
    /// `actor.wake(token)`.
    Wake(ActorId, u64),
    /// A crashed actor may start again.
    Restart(ActorId),
    /// The waiting wakes of an actor may be delivered.
    Wakes(ActorId),
    /// A message of an actor may be overdue.
    Overdue(ActorId),
    /// The host may have room for instances again.
    Slots,
    /// An actor's state is to be saved, or a failed save is tried again.
    Save(ActorId),
    /// A leaving actor has not come to rest in time.
    Leave(ActorId),
    /// A link has something to do.
    Link(LinkKey),
    /// Too much is kept for links without a socket.
    Detached,
    /// Nothing may have moved on a stream for too long.
    Stream(StreamId),
    /// A request has reached its deadline.
    Deadline(RequestId),
}

/// All timers.
#[derive(Debug, Default)]
pub(crate) struct Timers(Map<Key, Timer>);

impl Timers {
    pub(crate) fn insert(&mut self, key: Key, timer: Timer) {
        self.0.insert(key, timer);
    }

    pub(crate) fn remove(&mut self, key: Key) {
        self.0.remove(&key);
    }

    /// When the next timer is due.
    pub(crate) fn next(&self) -> Option<u64> {
        self.0.keys().next().map(|(at, _)| *at)
    }

    /// Takes the next timer, if it is due at `now`.
    pub(crate) fn take_due(&mut self, now: u64) -> Option<(Key, Timer)> {
        let key = *self.0.keys().next().filter(|(at, _)| *at <= now)?;
        Some((key, self.0.remove(&key)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_removed_ones_do_not_come() {
        let mut timers = Timers::default();
        for (at, id) in [(30, 1), (10, 2), (20, 3), (10, 4), (40, 5)] {
            timers.insert((at, id), Timer::Deadline(RequestId(id)));
        }
        timers.remove((20, 3));
        timers.remove((20, 4));
        let due = |timers: &mut Timers, now| match timers.take_due(now) {
            Some((_, Timer::Deadline(request))) => request.0,
            _ => 0,
        };
        assert_eq!((timers.next(), due(&mut timers, 9)), (Some(10), 0));
        assert_eq!([10, 10, 10, 35, 35].map(|now| due(&mut timers, now)), [2, 4, 0, 1, 0]);
        assert_eq!((timers.next(), timers.0.len()), (Some(40), 1));
    }
}
