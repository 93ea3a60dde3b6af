//! The one-way messages with bodies in chunks that have left a link, until the peer has acknowledged all of each.

use std::collections::VecDeque;

use starlane_protocol::{Address, Trace};

/// A one-way message: its target, operation and trace.
pub(super) type Notice = (Address, String, Option<Trace>);

#[derive(Debug)]
struct LongNotice {
    /// The sequence of its frame.
    of: u64,
    /// The sequence of its last chunk, when that was numbered.
    last: Option<u64>,
    message: Notice,
}

#[derive(Debug, Default)]
pub(super) struct LongNotices(VecDeque<LongNotice>);

impl LongNotices {
    /// A message has left in the frame `of`, and its body follows.
    pub(super) fn add(&mut self, of: u64, message: Notice) {
        self.0.push_back(LongNotice { of, last: None, message });
    }

    /// The last chunk of the message in the frame `of` has left.
    pub(super) fn complete(&mut self, of: u64, last: u64) {
        if let Some(notice) = self.0.iter_mut().find(|notice| notice.of == of) {
            notice.last = Some(last);
        }
    }

    /// The peer has everything up to `received`.
    pub(super) fn acknowledged(&mut self, received: u64) {
        if !self.0.is_empty() {
            self.0.retain(|notice| notice.last.is_none_or(|last| last > received));
        }
    }

    /// The messages that the peer may not have received completely.
    pub(super) fn unsure(&self) -> impl Iterator<Item = Notice> {
        self.0.iter().map(|notice| notice.message.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_unsure_until_its_last_chunk_is_acknowledged() {
        let mut notices = LongNotices::default();
        let message = (Address::parse("acme:app:one").unwrap(), "save".to_owned(), None);
        notices.add(3, message.clone());
        notices.complete(2, 4);
        notices.acknowledged(4);
        assert_eq!(notices.unsure().count(), 1, "its chunks are still to come");
        notices.complete(3, 6);
        notices.acknowledged(5);
        assert_eq!(notices.unsure().collect::<Vec<_>>(), [message]);
        notices.acknowledged(6);
        assert_eq!(notices.unsure().count(), 0);
    }
}
