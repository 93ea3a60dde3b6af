//! Which apps' actors this node owns, and what their store reports of them.

use starlane_protocol::Address;

use crate::{
    actor::{Actor, ActorId, Life},
    effect::Effect,
    guest::{InstanceId, Level, Saved},
    maps::Map,
    node::Node,
    principal::Principal,
    saving::Keeping,
    state::{KnownActor, Owned, StateError},
    timers::Timer,
};

/// The pause before a store that failed is asked again, in milliseconds. It grows up to [`LATEST`] times.
const AGAIN_MS: u64 = 500;
const LATEST: u64 = 20;
/// The interval of wakes that were due while the host was away, in milliseconds.
const APART_MS: u64 = 2;

/// The ownership of an app's actors.
#[derive(Debug)]
pub(crate) enum Owner {
    /// The store was asked, under this number. `times` counts the tries.
    Asked { number: u64, times: u64 },
    /// This node owns them. `away`: those that are only in the store.
    Own { epoch: u64, away: Map<Address, Away> },
    /// Another host owns them.
    Lost,
}

/// An actor that is only in the store.
#[derive(Debug)]
pub(crate) struct Away {
    /// The principal that used it first.
    pub(crate) made_for: Principal,
    /// Whether it counts as one of that principal's keys; an actor of a mechtron without keys does not.
    pub(crate) is_key: bool,
    /// When it was last saved, on the clock of the node, which may have started later.
    pub(crate) saved_at: Option<i64>,
}

/// The owners of apps' actors.
#[derive(Debug, Default)]
pub(crate) struct Owners(Map<Address, Owner>);

impl Owners {
    /// The epoch for writes of an app's actors, if this node owns them.
    pub(crate) fn epoch(&self, app: &Address) -> Option<u64> {
        match self.0.get(app) {
            Some(Owner::Own { epoch, .. }) => Some(*epoch),
            _ => None,
        }
    }

    /// Whether an app's actors may start. None: the store has not reported yet what it keeps.
    pub(crate) fn may_start(&self, app: &Address) -> Option<bool> {
        match self.0.get(app)? {
            Owner::Own { .. } => Some(true),
            Owner::Lost => Some(false),
            Owner::Asked { .. } => None,
        }
    }

    /// Whether an actor is only in the store.
    pub(crate) fn is_away(&self, app: &Address, actor: &Address) -> bool {
        matches!(self.0.get(app), Some(Owner::Own { away, .. }) if away.contains_key(actor))
    }

    /// Takes an actor that is only in the store.
    pub(crate) fn take_back(&mut self, app: &Address, actor: &Address) -> Option<Away> {
        match self.0.get_mut(app)? {
            Owner::Own { away, .. } => away.remove(actor),
            _ => None,
        }
    }

    /// Records an actor that is only in the store from now on.
    pub(crate) fn put_away(&mut self, app: &Address, actor: Address, as_it_is: Away) {
        if let Some(Owner::Own { away, .. }) = self.0.get_mut(app) {
            away.insert(actor, as_it_is);
        }
    }

    /// All actors that are only in the store.
    pub(crate) fn away(&self) -> impl Iterator<Item = (&Address, &Away)> {
        let away = self.0.values().filter_map(|owner| match owner {
            Owner::Own { away, .. } => Some(away),
            _ => None,
        });
        away.flat_map(|away| away.iter())
    }
}

impl Node {
    /// Changes or removes the ownership of an app's actors. Drops those that are only in the store.
    pub(crate) fn set_owner(&mut self, app: &Address, owner: Option<Owner>) {
        let before = match owner {
            Some(owner) => self.owners.0.insert(app.clone(), owner),
            None => self.owners.0.remove(app),
        };
        if let Some(Owner::Own { away, .. }) = before {
            for (_, away) in away.into_iter().filter(|(_, away)| away.is_key) {
                self.usage.release_key(&away.made_for);
            }
        }
    }

    /// Asks the store for an app's actors.
    pub(crate) fn take_over(&mut self, app: &Address) {
        self.ask_for_state(app, 0);
    }

    fn ask_for_state(&mut self, app: &Address, times: u64) {
        let number = self.fresh();
        self.set_owner(app, Some(Owner::Asked { number, times }));
        let after_ms = AGAIN_MS * times.min(LATEST);
        self.effects.push_back(Effect::TakeState { app: app.clone(), number, after_ms });
    }

    /// Handles the store's answer to `TakeState`.
    pub fn handle_state_taken(&mut self, now: u64, app: &Address, number: u64, result: Result<Owned, StateError>) {
        let Some(Owner::Asked { number: asked, times }) = self.owners.0.get(app) else { return };
        let times = *times;
        if *asked != number {
            return;
        }
        match result {
            Ok(owned) => {
                self.set_owner(app, Some(Owner::Own { epoch: owned.epoch, away: Map::new() }));
                let mut overdue = 0;
                for known in owned.actors {
                    self.remember(now, known, &mut overdue);
                }
                for id in self.actors_of(app) {
                    self.write(now, id);
                    self.pump(now, id);
                }
            }
            Err(error) => {
                let text = format!("reading the state of its actors failed and is retried: {error}");
                self.log(app, Level::Error, text);
                self.ask_for_state(app, times + 1);
            }
        }
    }

    /// Ends an app's actors, because another host owns them: their work here has no effect any more.
    pub(crate) fn lose_app(&mut self, now: u64, app: &Address) {
        self.set_owner(app, Some(Owner::Lost));
        let failure = StateError::Fenced.failure();
        self.log(app, Level::Error, failure.message.clone());
        for id in self.actors_of(app) {
            let Some(actor) = self.actors.get_mut(&id) else { continue };
            actor.keeping.revert();
            self.fail_late(now, id, &failure);
            self.end_instance(now, id, &failure);
        }
    }

    /// The actors of an app, in the order in which they were made.
    pub(crate) fn actors_of(&self, app: &Address) -> Vec<ActorId> {
        self.by_app.of(app)
    }

    /// Makes a sleeping actor of one that the store knows, if it has subscriptions or wakes; others are made on their first use.
    /// Actors without a mechtron in the present app stay in the store.
    fn remember(&mut self, now: u64, known: KnownActor, overdue: &mut u64) {
        let Some(role) = self.apps.role(&known.address) else { return };
        let saved_at = known.saved_ago_ms.map(|ago| signed(now) - signed(ago));
        let id = match self.by_address.get(&known.address) {
            Some(id) => *id,
            None => {
                let made_for = Principal::named(&known.made_for);
                if role.plan.keyed {
                    self.usage.hold_key(&made_for);
                }
                if known.subscriptions.is_empty() && known.wakes.is_empty() {
                    return self.owners.put_away(
                        &role.app,
                        known.address,
                        Away { made_for, is_key: role.plan.keyed, saved_at },
                    );
                }
                let account = self.shares.of(&role.app);
                self.add_actor(Actor::new(known.address.clone(), role, &made_for, account))
            }
        };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        // This actor stayed while the app was away, and its own data is newer.
        if actor.instance().is_some() || !actor.keeping.is_empty() {
            return;
        }
        actor.keeping = Keeping::stored(known.has_state, saved_at);
        for topic in known.subscriptions {
            self.listen(id, topic);
        }
        for (due, token) in known.wakes {
            let due = if due > now {
                due
            } else {
                *overdue += APART_MS;
                now + *overdue
            };
            self.wake_at(id, due, token);
        }
    }

    /// Takes the state that `LoadState` asked for.
    pub fn handle_state_loaded(&mut self, now: u64, instance: InstanceId, result: Result<Option<Saved>, StateError>) {
        let Some(id) = self.by_instance.get(&instance).map(|(id, _)| *id) else { return };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        match result {
            Ok(saved) => {
                actor.keeping.loaded(saved);
                self.is_ready(now, id, instance);
            }
            Err(error) => {
                actor.life = Life::BackOff(now + AGAIN_MS);
                let address = actor.address.clone();
                self.free_slot(instance);
                self.effects.push_back(Effect::StopGuest(instance));
                self.log(&address, Level::Error, format!("reading its state failed and is retried: {error}"));
                self.after(now + AGAIN_MS, Timer::Restart(id));
                self.fill_slots(now);
            }
        }
    }
}

/// A time as a signed number.
pub(crate) fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}
