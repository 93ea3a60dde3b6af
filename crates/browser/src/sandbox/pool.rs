//! Assigns guests to workers.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::{glue::Modules, worker::GuestWorker};
use crate::failure;

/// The maximum number of workers of a host.
const MAX_WORKERS: usize = 8;

/// The workers of a host: one for each group of guests, up to the maximum.
pub(super) struct Pool {
    modules: Modules,
    workers: RefCell<Vec<Rc<GuestWorker>>>,
    made: Cell<usize>,
}

impl Pool {
    /// A pool without workers. `modules` makes them, or hands over idle ones.
    pub(super) fn new(modules: Modules) -> Self {
        Self { modules, workers: RefCell::default(), made: Cell::new(0) }
    }

    /// The worker for guests of a group: the group's own, one without guests, or a new one. At the maximum, of the workers with the
    /// fewest guests the least recently used.
    pub(super) fn worker_for(&self, group: &str) -> Result<Rc<GuestWorker>, String> {
        let mut workers = self.workers.borrow_mut();
        workers.retain(|worker| !worker.is_gone());
        let known = workers.iter().find(|worker| worker.serves(group));
        if let Some(worker) = known.or_else(|| workers.iter().find(|worker| worker.instances() == 0)) {
            return Ok(Rc::clone(worker));
        }
        if workers.len() < MAX_WORKERS {
            let worker = self.make()?;
            workers.push(Rc::clone(&worker));
            return Ok(worker);
        }
        let idlest = workers.iter().min_by(|a, b| {
            let by_use = a.used.get().total_cmp(&b.used.get());
            a.instances().cmp(&b.instances()).then(by_use)
        });
        idlest.cloned().ok_or_else(|| "there is no worker".to_owned())
    }

    fn make(&self) -> Result<Rc<GuestWorker>, String> {
        let made = self.modules.worker();
        let made = made.map_err(|error| ["cannot start a worker: ", &failure::text(&error)].concat())?;
        self.made.set(self.made.get() + 1);
        Ok(GuestWorker::new(made, self.made.get()))
    }
}
