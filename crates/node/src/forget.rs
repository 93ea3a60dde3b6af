//! Room for new actors: those that sleep and have nothing to remember are made anew when they are used again.

use starlane_protocol::{Address, Failure};

use crate::{
    actor::{Actor, ActorId, Life},
    app::Role,
    node::Node,
    principal::Principal,
    timers::Timer,
    topics::Subscriber,
};

/// The most actors at one node.
const MOST_ACTORS: usize = 10_000;

impl Node {
    /// The actor at an address, made on first use, for whom it is used first. Errors with 429 when there are too many.
    pub(crate) fn actor_at(&mut self, address: &Address, caller: &Principal) -> Result<Option<ActorId>, Failure> {
        if let Some(actor) = self.by_address.get(address) {
            return Ok(Some(*actor));
        }
        let Some(role) = self.apps.role(address) else { return Ok(None) };
        self.make_place(&role, caller)?;
        let id = ActorId(self.fresh());
        self.actors.insert(id, Box::new(Actor::new(address.clone(), role, caller)));
        self.by_address.insert(address.clone(), id);
        Ok(Some(id))
    }

    fn make_place(&mut self, role: &Role, caller: &Principal) -> Result<(), Failure> {
        if self.actors.len() >= MOST_ACTORS && !self.forget_one(|_| true) {
            return Err(Failure::too_many(format!(
                "this host has {MOST_ACTORS} actors, and each has something to remember"
            )));
        }
        if !role.plan.keyed {
            return Ok(());
        }
        let limits = self.config.limits;
        match self.usage.key(caller, &limits) {
            Err(_) if self.forget_one(|actor| actor.made_for == *caller) => self.usage.key(caller, &limits),
            counted => counted,
        }
    }

    /// Forgets the least recently used of these actors that sleep and have nothing to remember; whether there was one.
    fn forget_one(&mut self, which: impl Fn(&Actor) -> bool) -> bool {
        let timed: Vec<ActorId> = self.timers.iter().filter_map(Timer::actor).collect();
        let listens = |id: ActorId| self.topics.all().any(|(_, all)| all.contains(&Subscriber::Actor(id)));
        let forgotten = self
            .actors
            .iter()
            .filter(|(_, actor)| actor.role.plan.keyed && which(actor))
            .filter(|(id, actor)| actor.has_nothing_to_remember() && !timed.contains(id) && !listens(**id))
            .min_by_key(|(_, actor)| actor.last_used)
            .map(|(id, _)| *id);
        let Some(actor) = forgotten.and_then(|id| self.actors.remove(&id)) else { return false };
        self.by_address.remove(&actor.address);
        self.usage.release_key(&actor.made_for);
        true
    }
}

impl Actor {
    /// Asleep, without state, mail, crashes or anything open.
    fn has_nothing_to_remember(&self) -> bool {
        let open = !self.unfinished.is_empty() || !self.open.is_empty() || self.has_work();
        self.life == Life::Asleep && self.state.is_none() && self.crashes.is_empty() && !open
    }
}
