//! The threads on which guests run. An interrupted guest, or one with a new batch of calls, waits in a queue that is fair between
//! spaces and apps. A free thread takes the next one.

use std::{
    collections::HashMap,
    io,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use async_task::Runnable;
use tokio::runtime::{Builder, Runtime};

use super::{cpu_budget::thread_time, engine::TICK};
use crate::{
    contract,
    fair::{FairQueue, Owner},
};

/// The maximum number of accounts kept for apps without an instance.
const MAX_ACCOUNTS: usize = 4_096;

/// Runs tasks of guests until it is dropped.
pub(super) struct Scheduler {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

struct State {
    queue: FairQueue<Turn>,
    idle: usize,
    ended: bool,
}

/// A runnable task, and the account that pays for it.
struct Turn {
    account: Arc<Account>,
    task: Runnable,
}

impl Scheduler {
    /// Starts threads. At most `share` of them, in percent and rounded up, run guests of the same space.
    pub(super) fn start(threads: NonZero<usize>, share: u64) -> io::Result<Self> {
        let max_running = (threads.get() as u64 * share.min(100)).div_ceil(100) as usize;
        let queue = FairQueue::new(max_running, TICK.as_nanos() as u64);
        let state = Mutex::new(State { queue, idle: 0, ended: false });
        let scheduler = Self { shared: Arc::new(Shared { state, work: Condvar::new() }) };
        for number in 0..threads.get() {
            // The runtime drives no tasks: tasks use its blocking threads to check large bodies.
            let runtime = Builder::new_current_thread().thread_stack_size(contract::STACK).build()?;
            let shared = Arc::clone(&scheduler.shared);
            let thread = thread::Builder::new().name(format!("starlane-guests-{number}"));
            thread.stack_size(contract::STACK).spawn(move || shared.work(runtime))?;
        }
        Ok(scheduler)
    }

    /// Runs a task on an account.
    pub(super) fn spawn(&self, account: &Arc<Account>, task: impl Future<Output = ()> + Send + 'static) {
        let (shared, account) = (Arc::clone(&self.shared), Arc::clone(account));
        let wait = move |task| shared.push(Turn { account: Arc::clone(&account), task });
        let (task, handle) = async_task::spawn(task, wait);
        handle.detach();
        task.schedule();
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let waiting = {
            let mut state = self.shared.lock();
            state.ended = true;
            state.queue.drain()
        };
        self.shared.work.notify_all();
        // Drop it outside the lock, because a task that ends can wake others.
        drop(waiting);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that may panic runs while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, turn: Turn) {
        let mut state = self.lock();
        if state.ended {
            drop(state);
            // Its task ends with it.
            drop(turn);
            return;
        }
        let account = Arc::clone(&turn.account);
        state.queue.push(&account.owner, turn);
        let is_idle = state.idle > 0;
        drop(state);
        if is_idle {
            self.work.notify_one();
        }
    }

    fn work(&self, runtime: Runtime) {
        {
            let _tasks = runtime.enter();
            let mut clock = thread_time();
            let mut done = None;
            while let Some(Turn { account, task }) = self.next(done.take()) {
                // A task that panics has ended; its waiting caller gets an error.
                let _ = catch_unwind(AssertUnwindSafe(|| task.run()));
                let now = thread_time();
                let used = now.saturating_sub(clock);
                clock = now;
                account.nanos.fetch_add(used, Relaxed);
                done = Some((account, used));
            }
        }
        runtime.shutdown_background();
    }

    /// Ends the previous turn, and waits for the next one; `None` at the end.
    fn next(&self, done: Option<(Arc<Account>, u64)>) -> Option<Turn> {
        let mut state = self.lock();
        if let Some((account, used)) = done
            && !state.ended
        {
            state.queue.done(&account.owner, used);
        }
        loop {
            if state.ended {
                return None;
            }
            if let Some((_, turn)) = state.queue.pop() {
                return Some(turn);
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

/// The resource use of an app's guests.
#[derive(Debug)]
pub(super) struct Account {
    owner: Owner,
    nanos: AtomicU64,
}

/// The live processor time of each app's guests, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    apps: Mutex<HashMap<Owner, Arc<Account>>>,
    /// The processor time of closed accounts.
    closed: AtomicU64,
}

impl Accounts {
    /// The account of an app, opened on demand.
    pub(super) fn open(&self, owner: Owner) -> Arc<Account> {
        let mut apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        if apps.len() >= MAX_ACCOUNTS && !apps.contains_key(&owner) {
            apps.retain(|_, account| {
                let is_used = Arc::strong_count(account) > 1;
                if !is_used {
                    self.closed.fetch_add(account.nanos.load(Relaxed), Relaxed);
                }
                is_used
            });
        }
        let account = apps.entry(owner.clone());
        Arc::clone(account.or_insert_with(|| Arc::new(Account { owner, nanos: AtomicU64::new(0) })))
    }

    /// The processor time of each app, in nanoseconds.
    pub(crate) fn apps(&self) -> Vec<(Owner, u64)> {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut used: Vec<_> = apps.values().map(|a| (a.owner.clone(), a.nanos.load(Relaxed))).collect();
        used.sort();
        used
    }

    /// The processor time of all apps, including removed ones, in nanoseconds.
    pub(crate) fn total(&self) -> u64 {
        let apps = self.apps.lock().unwrap_or_else(PoisonError::into_inner);
        let open: u64 = apps.values().map(|account| account.nanos.load(Relaxed)).sum();
        open + self.closed.load(Relaxed)
    }
}
