//! The streams of one instance: which are open, and the credit of those that the guest writes.

use std::collections::HashMap;

use starlane_abi::limits::FIRST_CREDIT;

use super::fault::GuestFault;

/// The open streams of an instance. It keeps nothing of a stream that has ended.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// The number that `open-stream` last returned. A lower odd number that is not in `written` is of a stream that
    /// has ended.
    last: Option<u64>,
    written: HashMap<u64, Written>,
    /// The streams that the guest reads, and whether it still gets parts of them.
    read: HashMap<u64, bool>,
}

/// A stream that the guest writes.
#[derive(Debug)]
struct Written {
    /// The bytes that may still be written.
    credit: u32,
    is_attached: bool,
}

impl Streams {
    /// Opens a stream that the guest writes. Its number is odd.
    pub(super) fn open(&mut self) -> u64 {
        let id = self.last.map_or(1, |last| last + 2);
        self.last = Some(id);
        self.written.insert(id, Written { credit: FIRST_CREDIT, is_attached: false });
        id
    }

    /// Attaches a stream to a payload.
    pub(super) fn attach(&mut self, id: u64) -> Result<(), GuestFault> {
        match self.written.get_mut(&id) {
            Some(stream) if !stream.is_attached => {
                stream.is_attached = true;
                Ok(())
            }
            Some(_) => Err(GuestFault::Broken(format!("stream {id} was attached before"))),
            None => Err(GuestFault::Broken(format!("stream {id} is not an open stream of this guest"))),
        }
    }

    /// Takes credit for a write, and returns the credit left; `None` if the stream has ended.
    pub(super) fn spend(&mut self, id: u64, bytes: u32) -> Result<Option<u32>, GuestFault> {
        self.check_opened(id)?;
        let Some(stream) = self.written.get_mut(&id) else { return Ok(None) };
        match stream.credit.checked_sub(bytes) {
            Some(left) => {
                stream.credit = left;
                Ok(Some(left))
            }
            None => {
                let credit = stream.credit;
                let what = format!("{bytes} bytes for stream {id}, which has a credit of {credit}; wait for `ready`");
                Err(GuestFault::Broken(what))
            }
        }
    }

    /// Ends a stream that the guest writes. Returns whether it was open.
    pub(super) fn finish(&mut self, id: u64) -> Result<bool, GuestFault> {
        self.check_opened(id)?;
        Ok(self.written.remove(&id).is_some())
    }

    /// Adds credit to a stream that the guest writes. Returns whether it is open.
    pub(super) fn add_credit(&mut self, id: u64, bytes: u32) -> bool {
        let Some(stream) = self.written.get_mut(&id) else { return false };
        stream.credit = stream.credit.saturating_add(bytes);
        true
    }

    /// Opens a stream that the guest reads.
    pub(super) fn deliver(&mut self, id: u64) {
        self.read.insert(id, true);
    }

    /// Whether the guest reads a stream.
    pub(super) fn is_read(&self, id: u64) -> bool {
        self.read.contains_key(&id)
    }

    /// Whether a stream in either direction is open.
    pub(super) fn is_open(&self, id: u64) -> bool {
        self.written.contains_key(&id) || self.read.contains_key(&id)
    }

    /// Whether the guest gets parts of a stream.
    pub(super) fn takes_parts(&self, id: u64) -> bool {
        self.read.get(&id).copied().unwrap_or_default()
    }

    /// Gives the guest no more parts of a stream, only its end.
    pub(super) fn refuse_parts(&mut self, id: u64) {
        if let Some(takes_parts) = self.read.get_mut(&id) {
            *takes_parts = false;
        }
    }

    /// Ends a stream that the guest reads. Returns whether it was open.
    pub(super) fn cancel(&mut self, id: u64) -> bool {
        self.read.remove(&id).is_some()
    }

    /// Ends a stream in either direction. Returns whether it was open.
    pub(super) fn end(&mut self, id: u64) -> bool {
        self.written.remove(&id).is_some() || self.read.remove(&id).is_some()
    }

    fn check_opened(&self, id: u64) -> Result<(), GuestFault> {
        if id % 2 == 1 && self.last.is_some_and(|last| id <= last) {
            return Ok(());
        }
        Err(GuestFault::Broken(format!("`open-stream` did not return the number {id}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_streams_take_no_memory() {
        let mut streams = Streams::default();
        for number in 0..10_000 {
            let id = streams.open();
            assert_eq!(id, number * 2 + 1);
            streams.deliver(id + 1);
            assert!(streams.finish(id).unwrap() && streams.end(id + 1));
            assert_eq!(streams.spend(id, u32::MAX).unwrap(), None);
        }
        assert_eq!((streams.written.len(), streams.read.len()), (0, 0));
    }
}
