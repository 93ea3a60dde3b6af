//! Who gets an instance next. Actors that have something to do wait here for a slot, and get one in turns: a space after the
//! other, in a space an app after the other.

use std::{
    collections::{BinaryHeap, VecDeque},
    rc::Rc,
};

use starlane_protocol::Failure;

use crate::{
    actor::{ActorId, Life},
    effect::Effect,
    guest::{GuestPlan, InstanceId},
    limits::ActorLimits,
    node::Node,
    saving::Last,
    shares::Account,
    timers::Timer,
};

/// How many actors are put to sleep at a time for one app that waits.
const ASLEEP_AT_ONCE: usize = 16;
/// When a host without room for an instance is asked again, in milliseconds.
const AGAIN_MS: u64 = 100;

/// The actors that wait for an instance.
#[derive(Debug, Default)]
pub(crate) struct StartQueue {
    lines: Vec<Line>,
    turn: u64,
    /// The host had no room for an instance, and is asked again soon.
    pub(crate) full: bool,
    /// The host is closing: nothing starts any more.
    pub(crate) closed: bool,
}

/// Those of one app.
#[derive(Debug)]
struct Line {
    account: Account,
    waiting: VecDeque<ActorId>,
}

impl StartQueue {
    fn push(&mut self, account: &Account, id: ActorId, first: bool) {
        let known = self.lines.iter_mut().find(|line| Rc::ptr_eq(&line.account.app, &account.app));
        match known {
            Some(line) if first => line.waiting.push_front(id),
            Some(line) => line.waiting.push_back(id),
            None => self.lines.push(Line { account: account.clone(), waiting: [id].into() }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The next to get an instance, of those whose app and space may have one more.
    fn next(&mut self, limits: &ActorLimits) -> Option<ActorId> {
        let ready = self.lines.iter_mut().filter(|line| line.account.has_slot(limits));
        let line = ready.min_by_key(|line| (line.account.space.turn.get(), line.account.app.turn.get()))?;
        let id = line.waiting.pop_front();
        self.lines.retain(|line| !line.waiting.is_empty());
        id
    }
}

impl Node {
    /// An actor that sleeps has something to do: it waits for an instance.
    pub(crate) fn wait_for_slot(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Waiting;
        self.starts.push(&actor.account, id, false);
        self.fill_slots(now);
    }

    /// Gives free slots to actors that wait, and makes room for the others.
    pub(crate) fn fill_slots(&mut self, now: u64) {
        while !self.starts.full && !self.starts.closed && self.by_instance.len() < self.config.max_awake {
            let Some(id) = self.starts.next(&self.config.actors) else { break };
            // Its app may be gone, and what it was to do withdrawn.
            match self.actors.get_mut(&id) {
                Some(actor) if actor.life == Life::Waiting && actor.has_work() => self.start(now, id),
                Some(actor) if actor.life == Life::Waiting => actor.life = Life::Asleep,
                _ => {}
            }
        }
        self.make_room();
    }

    pub(crate) fn ask_for_slots_again(&mut self, now: u64) {
        self.starts.full = false;
        self.fill_slots(now);
    }

    fn start(&mut self, now: u64, id: ActorId) {
        let instance = InstanceId(self.fresh());
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Starting(instance);
        actor.last_used = now;
        let plan = &actor.role.plan;
        let guest = GuestPlan {
            instance,
            group: actor.role.group.to_string(),
            wasm: plan.wasm,
            limits: plan.limits,
            contract: Rc::clone(&plan.contract),
            inline: plan.inline,
        };
        self.starts.turn += 1;
        let slot = actor.account.slot(self.starts.turn);
        self.by_instance.insert(instance, (id, slot));
        actor.waited_for = 1;
        if matches!(actor.keeping.last, Last::Stored) {
            actor.waited_for = 2;
            let (app, actor) = (actor.role.app.clone(), actor.address.clone());
            self.effects.push_back(Effect::LoadState { instance, app, actor });
        }
        self.effects.push_back(Effect::StartGuest(guest));
    }

    /// Puts actors to sleep for those that wait: the least recently used quiescent ones, of the app that waits if it is awake as
    /// often as it may be, else of its space in that case, else of all.
    fn make_room(&mut self) {
        if self.starts.is_empty() || self.starts.closed {
            return;
        }
        let limits = self.config.actors;
        let full = self.starts.full || self.by_instance.len() >= self.config.max_awake;
        let mut leaving = self.by_instance.values().filter(|(_, slot)| slot.is_leaving()).count();
        let mut idle: Option<Vec<(u64, InstanceId, ActorId)>> = None;
        for line in &self.starts.lines {
            let Account { app, space } = &line.account;
            let whose = |account: &Account| match () {
                () if app.awake.get() >= limits.awake_per_app => Rc::ptr_eq(&account.app, app),
                () if space.awake.get() >= limits.awake_per_space => Rc::ptr_eq(&account.space, space),
                () => true,
            };
            let on_the_way = match () {
                () if app.awake.get() >= limits.awake_per_app => app.leaving.get(),
                () if space.awake.get() >= limits.awake_per_space => space.leaving.get(),
                () if full => leaving,
                () => continue,
            };
            let wanted = line.waiting.len().min(ASLEEP_AT_ONCE).saturating_sub(on_the_way);
            if wanted == 0 {
                continue;
            }
            let idle = idle.get_or_insert_with(|| {
                let awake = self.by_instance.iter().map(|(instance, (id, _))| (*instance, *id));
                let idle = awake.filter_map(|(instance, id)| {
                    let actor = self.actors.get(&id).filter(|actor| actor.is_quiescent())?;
                    Some((actor.last_used, instance, id))
                });
                idle.collect::<BinaryHeap<_>>().into_sorted_vec()
            });
            let mut wanted = wanted;
            idle.retain(|(_, _, id)| {
                let Some(actor) = self.actors.get_mut(id).filter(|actor| wanted > 0 && whose(&actor.account)) else {
                    return true;
                };
                let Some((instance, calls)) = actor.save_batch(true) else { return false };
                if let Some((_, slot)) = self.by_instance.get_mut(&instance) {
                    slot.leave();
                }
                wanted -= 1;
                leaving += 1;
                self.effects.push_back(Effect::RunGuest { instance, calls });
                false
            });
        }
    }

    /// Of what an actor needs to start, its instance and its state, one is there.
    pub(crate) fn is_ready(&mut self, now: u64, id: ActorId, instance: InstanceId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.waited_for = actor.waited_for.saturating_sub(1);
        if actor.waited_for == 0 {
            actor.life = Life::Awake(instance);
            self.pump(now, id);
        }
    }

    /// The instance that `StartGuest` asked for is there, or can't be made.
    pub fn handle_started(&mut self, now: u64, instance: InstanceId, result: Result<(), Failure>) {
        let Some(id) = self.by_instance.get(&instance).map(|(id, _)| *id) else {
            // It was stopped before it was there: nothing has ended it yet.
            if result.is_ok() {
                self.effects.push_back(Effect::StopGuest(instance));
            }
            return;
        };
        match result {
            Ok(()) => self.is_ready(now, id, instance),
            Err(failure) if failure.code == "busy" => {
                // The host has no room, though this node counts some: instances that were stopped may not be gone yet.
                self.by_instance.remove(&instance);
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Waiting;
                    self.starts.push(&actor.account, id, true);
                }
                if !std::mem::replace(&mut self.starts.full, true) {
                    self.after(now + AGAIN_MS, Timer::Slots);
                }
                self.make_room();
            }
            Err(failure) => {
                self.by_instance.remove(&instance);
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Asleep;
                }
                self.fail_mail(now, id, &failure);
                self.fill_slots(now);
            }
        }
    }
}
