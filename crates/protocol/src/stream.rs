//! Streams: bodies that are not complete when their message is delivered.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The number of a stream in a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// The stream of a payload, by its number in the host that holds the payload. Clones are the same stream.
///
/// A message can be dropped in many places. So a host that wants to know gets its references from [`StreamDrops::hold`], which
/// notes when the last clone is gone.
#[derive(Clone)]
pub struct StreamRef {
    /// The number of the stream.
    pub id: StreamId,
    _held: Option<Arc<Held>>,
}

/// The streams whose last reference was dropped. Clones are the same list.
#[derive(Debug, Clone, Default)]
pub struct StreamDrops(Arc<Mutex<Vec<StreamId>>>);

struct Held {
    id: StreamId,
    drops: StreamDrops,
}

impl StreamRef {
    /// A reference whose end nobody notes.
    pub fn loose(id: StreamId) -> Self {
        Self { id, _held: None }
    }
}

impl StreamDrops {
    /// Makes the first reference to a stream.
    pub fn hold(&self, id: StreamId) -> StreamRef {
        StreamRef { id, _held: Some(Arc::new(Held { id, drops: self.clone() })) }
    }

    /// Removes the streams that nobody refers to any more.
    pub fn take(&self) -> Vec<StreamId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.drops.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.id);
    }
}

impl PartialEq for StreamRef {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for StreamRef {}

impl fmt::Debug for StreamRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamRef({})", self.id.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_dropped_reference_is_noted() {
        let drops = StreamDrops::default();
        let (one, two) = (drops.hold(StreamId(1)), drops.hold(StreamId(2)));
        let again = one.clone();
        drop((one, StreamRef::loose(StreamId(3))));
        assert_eq!(drops.take(), []);
        drop((again, two));
        assert_eq!(drops.take(), [StreamId(1), StreamId(2)]);
        assert_eq!(drops.take(), []);
    }
}
