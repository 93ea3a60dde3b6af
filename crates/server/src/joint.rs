//! Shared work: done once for all waiting callers, and ended when all of them are cancelled.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

/// Entries of ended work are swept when there are more than this many.
const SWEEP_ABOVE: usize = 64;

/// The running work, by its key.
pub(crate) struct Joint<K, T: Clone>(Mutex<Running<K, T>>);

struct Running<K, T: Clone> {
    work: HashMap<K, WeakShared<BoxFuture<'static, T>>>,
    sweep_above: usize,
}

/// Whether all callers of some work are cancelled.
#[derive(Clone, Default)]
pub(crate) struct Unwanted(Arc<AtomicBool>);

/// Marks work as unwanted when it is dropped.
#[derive(Default)]
pub(crate) struct Wanting(Unwanted);

impl<K, T: Clone> Default for Joint<K, T> {
    fn default() -> Self {
        Self(Mutex::new(Running { work: HashMap::new(), sweep_above: SWEEP_ABOVE }))
    }
}

impl<K: Eq + Hash, T: Clone> Joint<K, T> {
    /// Waits for the running work on `key`, or starts it. Work on other threads must check whether it is cancelled.
    pub(crate) fn join<F>(&self, key: K, begin: impl FnOnce(Unwanted) -> F) -> Shared<BoxFuture<'static, T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(work) = running.work.get(&key).and_then(WeakShared::upgrade) {
            return work;
        }
        let wanting = Wanting::default();
        let work = begin(wanting.unwanted());
        let work = async move {
            let _wanting = wanting;
            work.await
        };
        let work = work.boxed().shared();
        if running.work.len() >= running.sweep_above {
            running.work.retain(|_, work| work.upgrade().is_some());
            running.sweep_above = SWEEP_ABOVE.max(2 * running.work.len());
        }
        running.work.extend(work.downgrade().map(|work| (key, work)));
        work
    }
}

impl Unwanted {
    pub(crate) fn is_so(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Wanting {
    pub(crate) fn unwanted(&self) -> Unwanted {
        self.0.clone()
    }
}

impl Drop for Wanting {
    fn drop(&mut self) {
        self.0.0.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_is_done_once_for_all_waiting_callers_and_again_for_a_later_one() {
        let (joint, begun) = (Joint::<u8, usize>::default(), Arc::new(AtomicUsize::new(0)));
        let begin = |_: Unwanted| {
            let number = begun.fetch_add(1, Relaxed);
            async move { number }
        };
        let waiting = [joint.join(1, begin), joint.join(1, begin), joint.join(2, begin)];
        let [a, b, c] = waiting;
        assert_eq!((a.await, b.await, c.await), (0, 0, 1));
        assert_eq!(joint.join(1, begin).await, 2);
    }

    #[tokio::test]
    async fn work_is_unwanted_when_the_last_caller_is_cancelled() {
        let joint = Joint::<u8, ()>::default();
        let (told, unwanted) = oneshot::channel();
        let first = joint.join(1, |unwanted| {
            let _ = told.send(unwanted);
            std::future::pending()
        });
        let second = joint.join(1, |_| std::future::pending());
        let unwanted = unwanted.await.unwrap();
        drop(first);
        assert!(!unwanted.is_so());
        drop(second);
        assert!(unwanted.is_so());
    }

    #[test]
    fn ended_work_is_forgotten() {
        let joint = Joint::<usize, ()>::default();
        for key in 0..10 * SWEEP_ABOVE {
            drop(joint.join(key, |_| std::future::ready(())));
        }
        assert!(joint.0.lock().unwrap().work.len() <= SWEEP_ABOVE + 1);
    }
}
