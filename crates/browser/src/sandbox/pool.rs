//! Which worker runs what.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use super::{glue::Modules, worker::GuestWorker};
use crate::failure;

/// The most workers of a host.
const MOST: usize = 8;

/// All workers of a host: one for each group of guests while there are enough.
pub(super) struct Pool {
    modules: Modules,
    workers: RefCell<Vec<Rc<GuestWorker>>>,
    made: Cell<usize>,
}

impl Pool {
    /// No workers yet; they are those that check no modules any more.
    pub(super) fn new(modules: Modules) -> Self {
        Self { modules, workers: RefCell::default(), made: Cell::new(0) }
    }

    /// The worker for guests of a group: its own, one without guests, a new one, or, when there are too many, the one with
    /// the fewest guests that has idled longest.
    pub(super) fn worker_for(&self, group: &str) -> Result<Rc<GuestWorker>, String> {
        let mut workers = self.workers.borrow_mut();
        workers.retain(|worker| !worker.is_gone());
        let known = workers.iter().find(|worker| worker.serves(group));
        if let Some(worker) = known.or_else(|| workers.iter().find(|worker| worker.instances() == 0)) {
            return Ok(Rc::clone(worker));
        }
        if workers.len() < MOST {
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
        let made = made.map_err(|error| ["no worker can be made: ", &failure::text(&error)].concat())?;
        self.made.set(self.made.get() + 1);
        Ok(GuestWorker::new(made, self.made.get()))
    }
}
