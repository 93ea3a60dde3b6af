//! Virtual time, which passes only when all tasks wait. A test of minutes takes milliseconds, and every run is the
//! same.

use std::{cell::RefCell, collections::BTreeMap, future::Future, rc::Rc};

use futures_channel::oneshot;
use futures_executor::{LocalPool, LocalSpawner};
use futures_util::{future::LocalBoxFuture, task::LocalSpawnExt};

use crate::ports::Time;

/// The limit of virtual time for a test, in milliseconds.
const TOO_LONG: u64 = 3_600_000;

/// A virtual clock and its tasks. Clones share both.
#[derive(Clone)]
pub struct VirtualTime {
    pool: Rc<RefCell<LocalPool>>,
    spawner: LocalSpawner,
    clock: Rc<RefCell<Clock>>,
}

#[derive(Default)]
struct Clock {
    now: u64,
    last: u64,
    seed: u8,
    sleepers: BTreeMap<(u64, u64), oneshot::Sender<()>>,
}

impl Default for VirtualTime {
    fn default() -> Self {
        let pool = LocalPool::new();
        let spawner = pool.spawner();
        Self { pool: Rc::new(RefCell::new(pool)), spawner, clock: Rc::default() }
    }
}

impl VirtualTime {
    /// Runs a future and all tasks until the future completes. When all wait, the clock jumps to the next timer.
    /// Returns `None` if all wait forever, or an hour has passed.
    pub fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Option<T> {
        let (sender, mut receiver) = oneshot::channel();
        self.spawn(Box::pin(async move {
            let _ = sender.send(future.await);
        }));
        loop {
            self.pool.borrow_mut().run_until_stalled();
            match receiver.try_recv() {
                Ok(Some(value)) => return Some(value),
                Ok(None) if self.jump() => {}
                _ => return None,
            }
        }
    }

    fn jump(&self) -> bool {
        let mut clock = self.clock.borrow_mut();
        let Some(((at, _), sleeper)) = clock.sleepers.pop_first() else { return false };
        clock.now = clock.now.max(at);
        // The timer may have been dropped meanwhile.
        let _ = sleeper.send(());
        clock.now < TOO_LONG
    }
}

impl Time for VirtualTime {
    fn now_ms(&self) -> u64 {
        self.clock.borrow().now
    }

    fn unix_ms(&self) -> u64 {
        1_800_000_000_000 + self.clock.borrow().now
    }

    fn sleep(&self, ms: u64) -> LocalBoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        let mut clock = self.clock.borrow_mut();
        clock.last += 1;
        let key = (clock.now + ms, clock.last);
        clock.sleepers.insert(key, sender);
        Box::pin(async move {
            let _ = receiver.await;
        })
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        // This fails only if the pool is gone, and then nothing runs.
        let _ = self.spawner.spawn_local(task);
    }

    fn random(&self) -> [u8; 32] {
        let mut clock = self.clock.borrow_mut();
        clock.seed += 1;
        [clock.seed; 32]
    }
}
