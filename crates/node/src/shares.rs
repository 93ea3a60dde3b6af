//! What apps and spaces use of a host now. A count is returned when its receipt is dropped, on every path.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use starlane_protocol::{Address, Failure};

use crate::{
    guest::InstanceId,
    limits::ActorLimits,
    maps::{Map, Sweep},
};

/// Unused shares are kept up to this number.
const MAX_UNUSED_SHARES: usize = 1_024;

/// The present use of one app, of all apps of a space, or of all apps.
#[derive(Debug, Default)]
pub(crate) struct Share {
    /// Unique among shares.
    pub(crate) number: u64,
    pub(crate) actors: Cell<usize>,
    pub(crate) awake: Cell<usize>,
    /// Awake actors that are about to sleep.
    pub(crate) leaving: Cell<usize>,
    pub(crate) bytes: Cell<usize>,
    /// When it last got an instance, counted in instances.
    pub(crate) turn: Cell<u64>,
    /// Instances at rest, the least recently used first, by the times known when they came to rest.
    resting: RefCell<Map<(u64, InstanceId), ()>>,
}

impl Share {
    fn numbered(last: &mut u64) -> Rc<Self> {
        *last += 1;
        Rc::new(Self { number: *last, ..Self::default() })
    }

    /// Whether it has reached its limit of awake actors.
    pub(crate) fn is_full(&self, most: usize) -> bool {
        self.awake.get() >= most
    }

    /// The instance that has rested longest, and since when.
    pub(crate) fn first_at_rest(&self) -> Option<(u64, InstanceId)> {
        self.resting.borrow().keys().next().copied()
    }
}

/// The shares that an actor uses.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) app: Rc<Share>,
    pub(crate) space: Rc<Share>,
    pub(crate) host: Rc<Share>,
}

/// The shares of all apps and spaces.
#[derive(Debug)]
pub(crate) struct Shares {
    apps: Map<Address, Rc<Share>>,
    spaces: Map<String, Rc<Share>>,
    host: Rc<Share>,
    sweeps: [Sweep; 2],
    last_number: u64,
}

impl Default for Shares {
    fn default() -> Self {
        let sweeps = [(); 2].map(|()| Sweep::over(MAX_UNUSED_SHARES));
        Self { apps: Map::new(), spaces: Map::new(), host: Rc::default(), sweeps, last_number: 0 }
    }
}

impl Shares {
    /// Returns the account of an app.
    pub(crate) fn of(&mut self, app: &Address) -> Account {
        let [apps, spaces] = &mut self.sweeps;
        apps.sweep(&mut self.apps, |share| Rc::strong_count(share) > 1);
        spaces.sweep(&mut self.spaces, |share| Rc::strong_count(share) > 1);
        let last = &mut self.last_number;
        let space = self.spaces.entry(app.space().to_owned()).or_insert_with(|| Share::numbered(last));
        let app = self.apps.entry(app.clone()).or_insert_with(|| Share::numbered(last));
        Account { app: Rc::clone(app), space: Rc::clone(space), host: Rc::clone(&self.host) }
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
    pub(crate) account: Account,
    leaving: bool,
    /// Its place among the instances at rest.
    resting: Option<(u64, InstanceId)>,
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

    /// From the narrowest share to the widest.
    pub(crate) fn shares(&self) -> [&Rc<Share>; 3] {
        [&self.app, &self.space, &self.host]
    }

    pub(crate) fn slot(&self) -> Slot {
        self.shares().into_iter().for_each(|share| add(&share.awake, 1));
        Slot { account: self.clone(), leaving: false, resting: None }
    }

    /// Counts bytes that wait for an actor; `own` counts all that wait for it. Errors with 429 and the name of the limit above a
    /// limit.
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

    /// Counts bytes that wait for an actor and have another limit.
    pub(crate) fn unbounded_hold(&self, own: &Rc<Cell<usize>>, bytes: usize) -> Hold {
        add(own, bytes);
        add(&self.space.bytes, bytes);
        Hold { account: self.clone(), own: Rc::clone(own), bytes }
    }
}

impl Slot {
    /// Marks the actor as about to sleep.
    pub(crate) fn leave(&mut self) {
        self.stir();
        if !std::mem::replace(&mut self.leaving, true) {
            self.account.shares().into_iter().for_each(|share| add(&share.leaving, 1));
        }
    }

    /// Marks the actor as idle since `since`. It keeps this place until the node looks at it, even if it runs meanwhile: so using
    /// an actor costs nothing here.
    pub(crate) fn rest(&mut self, since: u64, instance: InstanceId) {
        if self.resting.is_none() && !self.leaving {
            self.resting = Some((since, instance));
            for share in self.account.shares() {
                share.resting.borrow_mut().insert((since, instance), ());
            }
        }
    }

    /// Removes the actor from those at rest, or from an outdated place.
    pub(crate) fn stir(&mut self) {
        if let Some(place) = self.resting.take() {
            for share in self.account.shares() {
                share.resting.borrow_mut().remove(&place);
            }
        }
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
        self.stir();
        for share in self.account.shares() {
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
