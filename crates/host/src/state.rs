//! State of actors: performs the node's decisions on the store. The node and the store have different clocks.

use starlane_node::{
    guest::InstanceId,
    state::{ActorState, Wake, WriteId},
};
use starlane_protocol::{Address, Failure};

use crate::host::Host;

/// The interval for checking whether all state is saved, in milliseconds.
const LOOK_AGAIN_MS: u64 = 5;
/// The timeout for the end of an uninstalled app's actors, in milliseconds. It is longer than the node's own timeout.
const LEAVING_MS: u64 = 10_000;

impl Host {
    /// Saves all actors, and waits at most `within_ms` milliseconds. Returns the number of actors whose state is still
    /// not saved.
    pub async fn save_all(&self, within_ms: u64) -> usize {
        let end = self.0.ports.time.now_ms() + within_ms;
        self.turn(|node, now| node.handle_save_all(now));
        loop {
            let unsaved = self.0.node.borrow().unsaved();
            if unsaved == 0 || self.0.ports.time.now_ms() >= end {
                return unsaved;
            }
            self.0.ports.time.sleep(LOOK_AGAIN_MS).await;
        }
    }

    /// Removes the state of an uninstalled app's actors, after they have ended. Returns 500 if the store fails.
    pub async fn forget_state(&self, app: &Address) -> Result<(), Failure> {
        let end = self.0.ports.time.now_ms() + LEAVING_MS;
        // Otherwise, actors that save while they end would restore their state.
        while self.0.node.borrow().has_actors(app) && self.0.ports.time.now_ms() < end {
            self.0.ports.time.sleep(LOOK_AGAIN_MS).await;
        }
        self.0.ports.state.forget(app).await.map_err(|error| Failure::internal(error.to_string()).at(app))
    }

    pub(crate) fn take_state(&self, app: Address, number: u64, after_ms: u64) {
        let host = self.clone();
        self.0.ports.time.spawn(Box::pin(async move {
            if after_ms > 0 {
                host.0.ports.time.sleep(after_ms).await;
            }
            let taken = host.0.ports.state.take(&app).await.map(|mut owned| {
                for known in &mut owned.actors {
                    host.move_wakes(&mut known.wakes, false);
                }
                owned
            });
            host.turn(|node, now| node.handle_state_taken(now, &app, number, taken));
        }));
    }

    pub(crate) fn load_state(&self, instance: InstanceId, app: &Address, actor: &Address) {
        let loading = self.0.ports.state.load(app, actor);
        let host = self.clone();
        self.0.ports.time.spawn(Box::pin(async move {
            let loaded = loading.await;
            host.turn(|node, now| node.handle_state_loaded(now, instance, loaded));
        }));
    }

    pub(crate) fn save_state(&self, write: WriteId, app: &Address, epoch: u64, mut state: ActorState) {
        self.move_wakes(&mut state.wakes, true);
        // Call the store immediately, so that saves keep their order.
        let saving = self.0.ports.state.save(app, epoch, state);
        let host = self.clone();
        self.0.ports.time.spawn(Box::pin(async move {
            let saved = saving.await;
            host.turn(|node, now| node.handle_state_saved(now, write, saved));
        }));
    }

    /// Converts wakes between the clock of this host and Unix time, which the store uses.
    fn move_wakes(&self, wakes: &mut [Wake], to_unix: bool) {
        let (here, unix) = (self.0.ports.time.now_ms(), self.0.ports.time.unix_ms());
        let (from, to) = if to_unix { (here, unix) } else { (unix, here) };
        for (due, _) in wakes {
            *due = to.saturating_add(due.saturating_sub(from));
        }
    }
}
