//! Streams: bodies that are not complete when their message is delivered.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};

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

/// Parts that wait are joined up to this size, in bytes, so that many tiny ones do not need much more memory than their bytes.
const SMALL: usize = 4 * 1024;

/// Joins a part with the one that waits before it, if both are small. Returns the part if it has to wait by itself.
pub fn join_small(last: Option<&mut Bytes>, part: Bytes) -> Option<Bytes> {
    match last {
        Some(last) if last.len() + part.len() <= SMALL => {
            let mut joined = std::mem::take(last).try_into_mut().unwrap_or_else(|shared| {
                let mut own = BytesMut::with_capacity(SMALL);
                own.extend_from_slice(&shared);
                own
            });
            joined.extend_from_slice(&part);
            *last = joined.freeze();
            None
        }
        _ => Some(part),
    }
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
    fn small_parts_are_joined_and_large_ones_are_not() {
        let mut parts: Vec<Bytes> = Vec::new();
        let sizes = [1; 10_000].into_iter().chain([5_000, 1, 1, 4_095, 1]);
        for (at, size) in sizes.enumerate() {
            let alone = join_small(parts.last_mut(), Bytes::from(vec![at as u8; size]));
            parts.extend(alone);
        }
        let lengths: Vec<_> = parts.iter().map(Bytes::len).collect();
        assert_eq!(lengths, [4_096, 4_096, 1_808, 5_000, 2, 4_096]);
        assert_eq!(parts.concat().iter().take(3).collect::<Vec<_>>(), [&0, &1, &2]);
    }

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
