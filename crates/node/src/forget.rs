//! Room for new actors: the node forgets sleeping actors that need no memory, and makes them again on their next use.

use starlane_protocol::{Address, Failure};

use crate::{
    actor::{Actor, ActorId, Life},
    app::Role,
    maps::Map,
    node::Node,
    owner::Away,
    principal::Principal,
    saving::Keeping,
    shares::Account,
};

/// The maximum number of actors that are forgotten at a time.
const MAX_FORGOTTEN: usize = 64;
/// The maximum number of actors that are examined for that, so that a new actor has a bounded cost.
const MAX_LOOKED_AT: usize = 256;

/// A group of a node's actors.
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

/// The place of an actor in the order: its last use, as known when the node last looked at it, and a unique number.
pub(crate) type Rank = (u64, u64);

/// The actors of each scope, in the order in which the node looks at them when it needs room for another. The node corrects an
/// actor's place when it looks at it, so using an actor costs nothing here.
#[derive(Debug, Default)]
pub(crate) struct Recency(Map<Scope, Order>);

#[derive(Debug, Default)]
struct Order {
    all: Map<(Rank, ActorId), ()>,
    /// The number of looks that can still find an actor to forget. Each new actor adds two, to correct its place and to
    /// forget it, and so does each actor that fell asleep. So the node does not look again and again when all actors
    /// have to stay.
    looks: usize,
}

/// The looks that a new actor, or one that fell asleep, adds.
const LOOKS: usize = 2;

impl Recency {
    fn add(&mut self, id: ActorId, actor: &Actor) {
        for scope in Scope::all_of(actor) {
            if let Some(order) = self.0.get_mut(&scope) {
                order.all.insert((actor.rank, id), ());
                continue;
            }
            let mut order = Order::default();
            order.all.insert((actor.rank, id), ());
            self.0.insert(scope, order);
        }
    }

    fn remove(&mut self, id: ActorId, actor: &Actor) {
        for scope in Scope::all_of(actor) {
            let Some(order) = self.0.get_mut(&scope) else { continue };
            order.all.remove(&(actor.rank, id));
            if order.all.is_empty() {
                self.0.remove(&scope);
            }
        }
    }

    /// Adds looks for an actor that is new or may have become forgettable.
    fn look_again(&mut self, actor: &Actor) {
        for scope in Scope::all_of(actor) {
            if let Some(order) = self.0.get_mut(&scope) {
                order.looks += LOOKS;
            }
        }
    }

    /// The first actor of a scope, if a look is left.
    fn look(&mut self, scope: &Scope) -> Option<(Rank, ActorId)> {
        let order = self.0.get_mut(scope)?;
        order.looks = order.looks.min(LOOKS * order.all.len()).checked_sub(1)?;
        order.all.keys().next().copied()
    }

    fn last(&self, scope: &Scope) -> u64 {
        self.0.get(scope).and_then(|order| order.all.keys().next_back()).map_or(0, |((at, _), _)| *at)
    }
}

impl Node {
    /// The actor at an address. The first use makes it, for `caller`. Errors with 429 when there are too many.
    pub(crate) fn actor_at(&mut self, address: &Address, caller: &Principal) -> Result<Option<ActorId>, Failure> {
        if let Some(actor) = self.by_address.get(address) {
            return Ok(Some(*actor));
        }
        let Some(role) = self.apps.role(address) else { return Ok(None) };
        let account = self.shares.of(&role.app);
        let is_new_key = role.plan.keyed && !self.owners.is_away(&role.app, address);
        if is_new_key {
            self.count_key(caller)?;
        }
        if let Err(failure) = self.make_place(&role, &account) {
            if is_new_key {
                self.usage.release_key(caller);
            }
            return Err(failure);
        }
        let actor = match self.owners.take_back(&role.app, address) {
            Some(Away { made_for, saved_at, .. }) => {
                let mut actor = Actor::new(address.clone(), role, &made_for, account);
                actor.keeping = Keeping::stored(true, saved_at);
                actor
            }
            None => Actor::new(address.clone(), role, caller, account),
        };
        Ok(Some(self.add_actor(actor)))
    }

    /// Adds an actor at its address.
    pub(crate) fn add_actor(&mut self, mut actor: Actor) -> ActorId {
        let id = ActorId(self.fresh());
        actor.rank = (actor.last_used, self.fresh());
        self.recency.add(id, &actor);
        self.recency.look_again(&actor);
        self.by_address.insert(actor.address.clone(), id);
        self.by_app.add(actor.role.app.clone(), id);
        self.actors.insert(id, Box::new(actor));
        id
    }

    /// Removes an actor from memory.
    pub(crate) fn remove_actor(&mut self, id: ActorId) -> Option<Box<Actor>> {
        let actor = self.actors.remove(&id)?;
        self.recency.remove(id, &actor);
        self.by_app.remove(&actor.role.app, &id);
        Some(actor)
    }

    /// Gives an actor the role of another version of its mechtron.
    pub(crate) fn set_role(&mut self, id: ActorId, role: Role) -> Option<&mut Actor> {
        let actor = self.actors.get_mut(&id)?;
        self.by_app.remove(&actor.role.app, &id);
        self.recency.remove(id, actor);
        actor.role = role;
        self.by_app.add(actor.role.app.clone(), id);
        self.recency.add(id, actor);
        self.recency.look_again(actor);
        Some(actor)
    }

    /// An actor sleeps and is idle: the node looks at it in its turn, even if it had to stay at the last look.
    pub(crate) fn sleeps(&mut self, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if !actor.is_idle() {
            return;
        }
        if actor.rank.0 > actor.last_used {
            self.recency.remove(id, actor);
            self.last_id += 1;
            actor.rank = (actor.last_used, self.last_id);
            self.recency.add(id, actor);
        }
        self.recency.look_again(actor);
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

    /// Counts an actor for the principal that uses it first.
    fn count_key(&mut self, caller: &Principal) -> Result<(), Failure> {
        let limits = self.config.limits;
        match self.usage.key(caller, &limits) {
            Err(_) if self.forget(&Scope::Maker(caller.account().to_owned())) => self.usage.key(caller, &limits),
            counted => counted,
        }
    }

    /// Forgets some of the least recently used actors that sleep and need no memory. Returns whether it found one. An actor that
    /// has to stay goes to the end of the order, so the next call looks at others.
    fn forget(&mut self, scope: &Scope) -> bool {
        let mut forgotten = 0;
        for _ in 0..MAX_LOOKED_AT {
            let Some(((since, _), id)) = self.recency.look(scope) else { break };
            #[cfg(test)]
            {
                self.touches += 1;
            }
            let Some(actor) = self.actors.get_mut(&id) else { break };
            let is_idle = actor.is_idle();
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
        // A stored actor still counts for the principal that used it first.
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
    /// Whether it can be made again on its next use.
    fn is_idle(&self) -> bool {
        self.role.plan.keyed && self.needs_no_memory()
    }

    /// Asleep, without unsaved state, mail, crashes or open requests.
    fn needs_no_memory(&self) -> bool {
        let open = !self.unfinished.is_empty() || !self.open.is_empty() || self.has_work();
        let listens = !self.timers.is_empty() || !self.subscriptions.is_empty();
        self.life == Life::Asleep && self.keeping.is_with_disk() && self.crashes.is_empty() && !open && !listens
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        ActorLimits, Node,
        drive::{address, ask, ask_as, node, run},
    };

    #[test]
    fn refused_keys_look_at_busy_actors_once() {
        let mut node = node(ActorLimits { actors: 300, ..ActorLimits::default() }, 1_000, &["acme:app"]);
        for n in 0..300 {
            ask(&mut node, 1, &format!("acme:app:keyed:k{n}"), "never");
        }
        node.touches = 0;
        let mut refused = |n: usize| {
            ask(&mut node, 2, &format!("acme:app:keyed:new{n}"), "echo");
            (node.by_address.len(), node.stats.refused.get("actors").copied(), node.touches)
        };
        let last = (0..100).map(&mut refused).last().unwrap();
        assert_eq!((last.0, last.1), (300, Some(100)));
        assert!(last.2 <= 600, "{} looks at 300 actors", last.2);
    }

    #[test]
    fn actor_that_falls_asleep_makes_room_later() {
        let limits = ActorLimits { actors: 300, awake_per_app: 300, ..ActorLimits::default() };
        let mut node = node(limits, 1_000, &["acme:app", "acme:other"]);
        ask(&mut node, 1, "acme:app:keyed:idle", "echo");
        for n in 0..299 {
            ask(&mut node, 2, &format!("acme:app:keyed:k{n}"), "never");
        }
        for n in 0..10 {
            ask(&mut node, 3, &format!("acme:other:keyed:new{n}"), "echo");
        }
        assert_eq!(node.stats.refused.get("actors"), Some(&10), "the idle one is awake");
        let idle = node.by_address[&address("acme:app:keyed:idle")];
        node.save(idle);
        run(&mut node, 4);
        assert_eq!(ask(&mut node, 4, "acme:other:keyed:a", "echo"), 1);
        assert_eq!(node.stats.refused.get("actors"), Some(&10));
        assert!(!node.by_address.contains_key(&address("acme:app:keyed:idle")));
    }

    #[test]
    fn refused_key_forgets_no_actor_of_others() {
        let mut node = node(ActorLimits { actors: 100, ..ActorLimits::default() }, 2, &["acme:app"]);
        node.config.limits.keys = 3;
        for n in 0..3 {
            assert_eq!(ask(&mut node, 1, &format!("acme:app:keyed:a{n}"), "echo"), 1);
        }
        for n in 0..97 {
            assert_eq!(ask_as(&format!("user{n}"), &mut node, n + 2, &format!("acme:app:keyed:k{n}"), "echo"), 1);
        }
        let others = |node: &Node| node.by_address.keys().filter(|key| key.as_str().contains(":keyed:k")).count();
        let before = others(&node);
        assert_eq!(node.stats.failures, 0);
        for n in 0..10 {
            ask(&mut node, 300, &format!("acme:app:keyed:b{n}"), "echo");
        }
        assert_eq!((node.stats.failures, others(&node)), (10, before));
    }
}
