//! The limit on bytes that are checked on other threads at the same time, shared fairly by spaces.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use futures_channel::oneshot;

use crate::fair::{FairQueue, Owner};

/// The usual duration of a check, in nanoseconds.
const USUAL: u64 = 1_000_000;

/// A limit on the bytes in checks. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    queue: FairQueue<Waiting>,
    /// The next check, which does not have enough room yet.
    next: Option<(Owner, Waiting)>,
    /// Bytes that are free.
    free: usize,
}

#[derive(Debug)]
struct Waiting {
    bytes: usize,
    told: oneshot::Sender<Share>,
}

/// The bytes of one check, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    room: Room,
    owner: Owner,
    bytes: usize,
    begun: Instant,
}

impl Room {
    /// A limit of `bytes` in total, and of `checks` for one space at a time.
    pub(super) fn new(bytes: usize, checks: usize) -> Self {
        let queue = FairQueue::new(checks, USUAL);
        Self(Arc::new(Mutex::new(State { queue, next: None, free: bytes })))
    }

    /// Waits until `bytes` are free. `bytes` must not exceed the total. Dropping the future leaves the queue.
    pub(super) async fn take(&self, owner: Owner, bytes: usize) -> Option<Share> {
        let (told, share) = oneshot::channel();
        self.lock().queue.push(&owner, Waiting { bytes, told });
        self.go_on();
        share.await.ok()
    }

    /// Starts the next checks, as far as there is room.
    fn go_on(&self) {
        while let Some((told, share)) = self.next() {
            // Send outside the lock: if the receiver is gone, the share is dropped at once, which takes the lock.
            let _ = told.send(share);
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Share>, Share)> {
        let mut state = self.lock();
        loop {
            let next = state.next.take();
            let (owner, Waiting { bytes, told }) = next.or_else(|| state.queue.pop())?;
            if told.is_canceled() {
                state.queue.done(&owner, 0);
            } else if bytes > state.free {
                state.next = Some((owner, Waiting { bytes, told }));
                return None;
            } else {
                state.free -= bytes;
                return Some((told, Share { room: self.clone(), owner, bytes, begun: Instant::now() }));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        state.free += self.bytes;
        state.queue.done(&self.owner, self.begun.elapsed().as_nanos() as u64);
        drop(state);
        self.room.go_on();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures_util::FutureExt;
    use starlane_host::Principal;

    use super::*;

    type Taking = Pin<Box<dyn Future<Output = Option<Share>>>>;

    fn owner(name: &str) -> Owner {
        Owner::of_principal(&Principal::named(name))
    }

    fn take(room: &Room, name: &str, bytes: usize) -> Taking {
        let (room, owner) = (room.clone(), owner(name));
        let mut taking: Taking = Box::pin(async move { room.take(owner, bytes).await });
        // Polling once puts it into the queue, or gives it the room.
        if let Some(share) = taking.as_mut().now_or_never() {
            return Box::pin(std::future::ready(share));
        }
        taking
    }

    #[test]
    fn a_space_with_many_checks_delays_another_by_one_check() {
        let room = Room::new(100, 1);
        let mut eve: Vec<Taking> = (0..64).map(|_| take(&room, "eve", 100)).collect();
        let mut ada = take(&room, "ada", 100);
        let first = eve.remove(0).now_or_never().flatten().unwrap();
        assert!(ada.as_mut().now_or_never().is_none(), "there is no room yet");
        drop(first);
        assert!(ada.now_or_never().flatten().is_some());
    }

    #[test]
    fn room_is_never_given_twice_and_is_returned() {
        let room = Room::new(100, 8);
        let mut shares: Vec<Share> =
            (0..10).filter_map(|n| take(&room, &format!("p{n}"), 25).now_or_never().flatten()).collect();
        assert_eq!(shares.len(), 4);
        shares.clear();
        assert_eq!(room.lock().free, 100);
        // Cancelled checks get no room.
        let gone: Vec<Taking> = (0..1_000).map(|n| take(&room, &format!("p{n}"), 100)).collect();
        drop(gone);
        assert!(take(&room, "ada", 100).now_or_never().flatten().is_some());
        assert_eq!(room.lock().free, 100);
    }

    #[test]
    fn a_space_runs_at_most_its_maximum_of_checks() {
        let room = Room::new(100, 2);
        let taken = ["acme/a", "acme/b", "acme/c", "bob"].map(|name| take(&room, name, 1).now_or_never().flatten());
        assert_eq!(taken.each_ref().map(Option::is_some), [true, true, false, true]);
    }
}
