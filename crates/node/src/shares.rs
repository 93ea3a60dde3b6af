//! What apps and spaces use of a host now. What is counted is given back when its receipt is dropped, wherever that happens.

use std::{cell::Cell, rc::Rc};

use starlane_protocol::{Address, Failure};

use crate::{
    limits::ActorLimits,
    maps::{Map, Sweep},
};

/// Shares that nobody uses are kept while there are no more than this.
const KEPT: usize = 1_024;

/// What one app, or all apps of a space, use now.
#[derive(Debug, Default)]
pub(crate) struct Share {
    pub(crate) actors: Cell<usize>,
    pub(crate) awake: Cell<usize>,
    /// Awake actors that are about to sleep.
    pub(crate) leaving: Cell<usize>,
    pub(crate) bytes: Cell<usize>,
    /// When it got an instance last, counted in instances.
    pub(crate) turn: Cell<u64>,
}

/// The shares from which an actor takes.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) app: Rc<Share>,
    pub(crate) space: Rc<Share>,
}

/// The shares of all apps and spaces.
#[derive(Debug)]
pub(crate) struct Shares {
    apps: Map<Address, Rc<Share>>,
    spaces: Map<String, Rc<Share>>,
    sweeps: [Sweep; 2],
}

impl Default for Shares {
    fn default() -> Self {
        Self { apps: Map::new(), spaces: Map::new(), sweeps: [(); 2].map(|()| Sweep::over(KEPT)) }
    }
}

impl Shares {
    /// The account of an app.
    pub(crate) fn of(&mut self, app: &Address) -> Account {
        let [apps, spaces] = &mut self.sweeps;
        apps.sweep(&mut self.apps, |share| Rc::strong_count(share) > 1);
        spaces.sweep(&mut self.spaces, |share| Rc::strong_count(share) > 1);
        let space = Rc::clone(self.spaces.entry(app.space().to_owned()).or_default());
        Account { app: Rc::clone(self.apps.entry(app.clone()).or_default()), space }
    }
}

fn add(cell: &Cell<usize>, count: usize) {
    cell.set(cell.get() + count);
}

fn subtract(cell: &Cell<usize>, count: usize) {
    cell.set(cell.get().saturating_sub(count));
}

/// The place of an actor.
#[derive(Debug)]
pub(crate) struct Place(Account);

/// The slot of an instance.
#[derive(Debug)]
pub(crate) struct Slot {
    account: Account,
    leaving: bool,
}

/// Bytes that wait for an actor.
#[derive(Debug)]
pub(crate) struct Hold {
    account: Account,
    own: Rc<Cell<usize>>,
    bytes: usize,
}

impl Account {
    pub(crate) fn place(&self) -> Place {
        add(&self.app.actors, 1);
        add(&self.space.actors, 1);
        Place(self.clone())
    }

    /// Whether another of its actors may be awake.
    pub(crate) fn has_slot(&self, limits: &ActorLimits) -> bool {
        self.app.awake.get() < limits.awake_per_app && self.space.awake.get() < limits.awake_per_space
    }

    pub(crate) fn slot(&self, turn: u64) -> Slot {
        for share in [&self.app, &self.space] {
            add(&share.awake, 1);
            share.turn.set(turn);
        }
        Slot { account: self.clone(), leaving: false }
    }

    /// Counts what waits for an actor; `own` is what waits for it already. Errors with 429 when it is too much, and
    /// the limit's name.
    pub(crate) fn hold(
        &self,
        own: &Rc<Cell<usize>>,
        bytes: usize,
        limits: &ActorLimits,
    ) -> Result<Hold, (&'static str, Failure)> {
        let of_space = self.space.bytes.get();
        for (limit, whose, waiting, most) in [
            ("waiting-bytes", "this actor", own.get(), limits.waiting_bytes),
            ("waiting-bytes-per-space", "the actors of this space", of_space, limits.waiting_bytes_per_space),
        ] {
            if waiting > 0 && waiting.saturating_add(bytes) > most {
                let message = format!("{waiting} bytes wait for {whose}; the limit `{limit}` is {most}: send slower");
                return Err((limit, Failure::mailbox_full(message)));
            }
        }
        Ok(self.unbounded_hold(own, bytes))
    }

    /// Counts what waits for an actor and is bounded otherwise.
    pub(crate) fn unbounded_hold(&self, own: &Rc<Cell<usize>>, bytes: usize) -> Hold {
        add(own, bytes);
        add(&self.space.bytes, bytes);
        Hold { account: self.clone(), own: Rc::clone(own), bytes }
    }
}

impl Slot {
    /// Its actor is about to sleep.
    pub(crate) fn leave(&mut self) {
        if !std::mem::replace(&mut self.leaving, true) {
            add(&self.account.app.leaving, 1);
            add(&self.account.space.leaving, 1);
        }
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        subtract(&self.0.app.actors, 1);
        subtract(&self.0.space.actors, 1);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        for share in [&self.account.app, &self.account.space] {
            subtract(&share.awake, 1);
            subtract(&share.leaving, usize::from(self.leaving));
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        subtract(&self.own, self.bytes);
        subtract(&self.account.space.bytes, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_actor_costs_the_same_however_many_apps_there_are() {
        let mut shares = Shares::default();
        let app = |n: usize| Address::parse(&format!("s{n}:app")).unwrap();
        let kept: Vec<_> = (0..3_000).map(|n| shares.of(&app(n))).collect();
        (0..30_000).for_each(|n| drop(shares.of(&app(n % 3_000))));
        let looked_at: usize = shares.sweeps.iter().map(|sweep| sweep.looked_at).sum();
        assert!(looked_at <= 12_000, "{looked_at} entries for 30,000 actors");
        drop(kept);
        (3_000..10_000).for_each(|n| drop(shares.of(&app(n))));
        assert!(shares.apps.len() <= 4_200 && shares.spaces.len() <= 4_200, "{}", shares.apps.len());
    }
}
