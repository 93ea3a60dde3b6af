//! Room for new actors: those that sleep and whose state is stored, if they have any, are made anew when they are used again.

use std::collections::BinaryHeap;

use starlane_protocol::{Address, Failure};

use crate::{
    actor::{Actor, ActorId, Life},
    app::Role,
    node::Node,
    owner::Away,
    principal::Principal,
    saving::Keeping,
    shares::Account,
};

/// How many actors are forgotten at a time: to look for them takes longer than to forget them.
const AT_ONCE: usize = 64;

impl Node {
    /// The actor at an address, made on first use, for whom it is used first. Errors with 429 when there are too many.
    pub(crate) fn actor_at(&mut self, address: &Address, caller: &Principal) -> Result<Option<ActorId>, Failure> {
        if let Some(actor) = self.by_address.get(address) {
            return Ok(Some(*actor));
        }
        let Some(role) = self.apps.role(address) else { return Ok(None) };
        let account = self.shares.of(&role.app);
        self.make_place(&role, &account)?;
        let actor = match self.owners.take_back(&role.app, address) {
            Some(Away { made_for, saved_at, .. }) => {
                let mut actor = Actor::new(address.clone(), role, &made_for, account);
                actor.keeping = Keeping::stored(true, saved_at);
                actor
            }
            None => {
                if role.plan.keyed {
                    self.count_key(caller)?;
                }
                Actor::new(address.clone(), role, caller, account)
            }
        };
        Ok(Some(self.add_actor(actor)))
    }

    /// An actor is at its address from now on.
    pub(crate) fn add_actor(&mut self, actor: Actor) -> ActorId {
        let id = ActorId(self.fresh());
        self.by_address.insert(actor.address.clone(), id);
        self.by_app.add(actor.role.app.clone(), id);
        self.actors.insert(id, Box::new(actor));
        id
    }

    /// An actor is not in memory any more.
    pub(crate) fn remove_actor(&mut self, id: ActorId) -> Option<Box<Actor>> {
        let actor = self.actors.remove(&id)?;
        self.by_app.remove(&actor.role.app, &id);
        Some(actor)
    }

    fn make_place(&mut self, role: &Role, account: &Account) -> Result<(), Failure> {
        let (actors, per_app) = (self.config.actors.actors, self.config.actors.actors_per_app);
        if account.app.actors.get() >= per_app && !self.forget(|actor| actor.role.app == role.app) {
            self.stats.refuse("actors-per-app");
            let (app, count) = (&role.app, account.app.actors.get());
            return Err(Failure::too_many(format!(
                "the app {app} has {count} actors that are awake or busy; the limit `actors-per-app` is {per_app}"
            )));
        }
        let (space, per_space) = (role.app.space(), self.config.actors.actors_per_space);
        if account.space.actors.get() >= per_space && !self.forget(|actor| actor.role.app.space() == space) {
            self.stats.refuse("actors-per-space");
            let count = account.space.actors.get();
            return Err(Failure::too_many(format!(
                "the space {space} has {count} actors that are awake or busy; the limit `actors-per-space` is {per_space}"
            )));
        }
        if self.actors.len() >= actors && !self.forget(|_| true) {
            self.stats.refuse("actors");
            let count = self.actors.len();
            return Err(Failure::too_many(format!(
                "this host has {count} actors that are awake or busy; the limit `actors` is {actors}"
            )));
        }
        Ok(())
    }

    /// Counts an actor for who uses it first.
    fn count_key(&mut self, caller: &Principal) -> Result<(), Failure> {
        let limits = self.config.limits;
        match self.usage.key(caller, &limits) {
            Err(_) if self.forget(|actor| actor.made_for == *caller) => self.usage.key(caller, &limits),
            counted => counted,
        }
    }

    /// Forgets some of the least recently used of these actors that sleep and need no memory; whether there was one.
    fn forget(&mut self, which: impl Fn(&Actor) -> bool) -> bool {
        let of_keys = self.actors.iter().filter(|(_, actor)| actor.role.plan.keyed && which(actor));
        let forgettable = of_keys.filter(|(_, actor)| actor.needs_no_memory());
        let mut oldest: BinaryHeap<(u64, ActorId)> = BinaryHeap::new();
        for (id, actor) in forgettable {
            oldest.push((actor.last_used, *id));
            if oldest.len() > AT_ONCE {
                oldest.pop();
            }
        }
        for (_, id) in &oldest {
            let Some(actor) = self.remove_actor(*id) else { continue };
            self.by_address.remove(&actor.address);
            // What is kept of it still counts for who used it first.
            match actor.keeping.is_stored() {
                true => {
                    let away =
                        Away { made_for: actor.made_for.clone(), is_key: true, saved_at: actor.keeping.saved_at };
                    self.owners.put_away(&actor.role.app, actor.address.clone(), away);
                }
                false => self.usage.release_key(&actor.made_for),
            }
        }
        !oldest.is_empty()
    }
}

impl Actor {
    /// Asleep, without state that is not stored, mail, crashes or anything open.
    fn needs_no_memory(&self) -> bool {
        let open = !self.unfinished.is_empty() || !self.open.is_empty() || self.has_work();
        let listens = !self.timers.is_empty() || !self.subscriptions.is_empty();
        self.life == Life::Asleep && self.keeping.is_with_disk() && self.crashes.is_empty() && !open && !listens
    }
}
