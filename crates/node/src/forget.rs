//! Room for new actors: those that sleep and whose state is stored, if they have any, are made anew when they are used again.

use starlane_protocol::{Address, Failure};

use crate::{
    actor::{Actor, ActorId, Life},
    app::Role,
    maps::Index,
    node::Node,
    owner::Away,
    principal::Principal,
    saving::Keeping,
    shares::Account,
};

/// How many actors are forgotten at a time.
const MAX_FORGOTTEN: usize = 64;
/// How many are looked at for that: whoever wants a new actor pays for no more.
const MAX_LOOKED_AT: usize = 256;

/// Some of the actors of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    All,
    App(Address),
    Space(String),
    /// Those that a principal used first, by its account.
    Maker(String),
}

impl Scope {
    fn all_of(actor: &Actor) -> [Self; 4] {
        let app = &actor.role.app;
        let (space, maker) = (app.space().to_owned(), actor.made_for.account().to_owned());
        [Self::All, Self::App(app.clone()), Self::Space(space), Self::Maker(maker)]
    }
}

/// The place of an actor in the order: when it was used last, as far as was known when the node looked at it, and a number that no
/// other place has.
pub(crate) type Rank = (u64, u64);

/// The actors of each scope, in the order in which the node looks at them when it needs room for another. The node corrects an
/// actor's place when it looks at it, so using an actor costs nothing here.
#[derive(Debug, Default)]
pub(crate) struct Recency(Index<Scope, (Rank, ActorId)>);

impl Recency {
    fn add(&mut self, id: ActorId, actor: &Actor) {
        for scope in Scope::all_of(actor) {
            self.0.add(scope, (actor.rank, id));
        }
    }

    fn remove(&mut self, id: ActorId, actor: &Actor) {
        for scope in Scope::all_of(actor) {
            self.0.remove(&scope, &(actor.rank, id));
        }
    }

    fn first(&self, scope: &Scope) -> Option<(Rank, ActorId)> {
        self.0.get(scope)?.keys().next().copied()
    }

    fn last(&self, scope: &Scope) -> u64 {
        self.0.get(scope).and_then(|all| all.keys().next_back()).map_or(0, |((at, _), _)| *at)
    }

    fn count(&self, scope: &Scope) -> usize {
        self.0.get(scope).map_or(0, |all| all.len())
    }
}

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
    pub(crate) fn add_actor(&mut self, mut actor: Actor) -> ActorId {
        let id = ActorId(self.fresh());
        actor.rank = (actor.last_used, self.fresh());
        self.recency.add(id, &actor);
        self.by_address.insert(actor.address.clone(), id);
        self.by_app.add(actor.role.app.clone(), id);
        self.actors.insert(id, Box::new(actor));
        id
    }

    /// An actor is not in memory any more.
    pub(crate) fn remove_actor(&mut self, id: ActorId) -> Option<Box<Actor>> {
        let actor = self.actors.remove(&id)?;
        self.recency.remove(id, &actor);
        self.by_app.remove(&actor.role.app, &id);
        Some(actor)
    }

    /// An actor is of another version of its mechtron from now on.
    pub(crate) fn set_role(&mut self, id: ActorId, role: Role) -> Option<&mut Actor> {
        let actor = self.actors.get_mut(&id)?;
        self.by_app.remove(&actor.role.app, &id);
        self.recency.remove(id, actor);
        actor.role = role;
        self.by_app.add(actor.role.app.clone(), id);
        self.recency.add(id, actor);
        Some(actor)
    }

    fn make_place(&mut self, role: &Role, account: &Account) -> Result<(), Failure> {
        let (actors, per_app) = (self.config.actors.actors, self.config.actors.actors_per_app);
        if account.app.actors.get() >= per_app && !self.forget(&Scope::App(role.app.clone())) {
            self.stats.refuse("actors-per-app");
            let (app, count) = (&role.app, account.app.actors.get());
            return Err(Failure::too_many(format!(
                "the app {app} has {count} actors that are awake or busy; the limit `actors-per-app` is {per_app}"
            )));
        }
        let (space, per_space) = (role.app.space(), self.config.actors.actors_per_space);
        if account.space.actors.get() >= per_space && !self.forget(&Scope::Space(space.to_owned())) {
            self.stats.refuse("actors-per-space");
            let count = account.space.actors.get();
            return Err(Failure::too_many(format!(
                "the space {space} has {count} actors that are awake or busy; the limit `actors-per-space` is {per_space}"
            )));
        }
        if self.actors.len() >= actors && !self.forget(&Scope::All) {
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
            Err(_) if self.forget(&Scope::Maker(caller.account().to_owned())) => self.usage.key(caller, &limits),
            counted => counted,
        }
    }

    /// Forgets some of the least recently used actors that sleep and need no memory. Returns whether it found one. An actor that has
    /// to stay goes to the end of the order, so the next call looks at others.
    fn forget(&mut self, scope: &Scope) -> bool {
        let mut forgotten = 0;
        // It looks at an actor twice at most: to correct its place, and to forget it.
        for _ in 0..(2 * self.recency.count(scope)).min(MAX_LOOKED_AT) {
            let Some(((since, _), id)) = self.recency.first(scope) else { break };
            let Some(actor) = self.actors.get_mut(&id) else { break };
            let is_idle = actor.role.plan.keyed && actor.needs_no_memory();
            if is_idle && actor.last_used == since {
                self.forget_actor(id);
                forgotten += 1;
                if forgotten >= MAX_FORGOTTEN {
                    break;
                }
                continue;
            }
            let since = if is_idle { actor.last_used } else { actor.last_used.max(self.recency.last(scope)) };
            self.recency.remove(id, actor);
            self.last_id += 1;
            actor.rank = (since, self.last_id);
            self.recency.add(id, actor);
        }
        forgotten > 0
    }

    fn forget_actor(&mut self, id: ActorId) {
        let Some(actor) = self.remove_actor(id) else { return };
        self.by_address.remove(&actor.address);
        // What is kept of it still counts for who used it first.
        match actor.keeping.is_stored() {
            true => {
                let away = Away { made_for: actor.made_for.clone(), is_key: true, saved_at: actor.keeping.saved_at };
                self.owners.put_away(&actor.role.app, actor.address.clone(), away);
            }
            false => self.usage.release_key(&actor.made_for),
        }
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
