//! The open streams of one direction.

use std::cell::RefCell;

/// Values by the numbers of their streams. An actor has a maximum of 16 streams, so a list is as fast as a map and has less code.
pub(super) struct Table<T>(RefCell<Vec<(u64, T)>>);

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table(RefCell::default())
    }
}

impl<T> Table<T> {
    pub(super) fn insert(&self, id: u64, value: T) {
        self.0.borrow_mut().push((id, value));
    }

    pub(super) fn remove(&self, id: u64) -> Option<T> {
        let mut values = self.0.borrow_mut();
        let at = values.iter().position(|(other, _)| *other == id)?;
        Some(values.swap_remove(at).1)
    }

    /// Calls a function with the value of this stream, if it is open.
    pub(super) fn with<R>(&self, id: u64, work: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.borrow_mut().iter_mut().find(|(other, _)| *other == id).map(|(_, value)| work(value))
    }
}
