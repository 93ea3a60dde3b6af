//! Instances for waiting actors. Actors that have something to do wait here for a slot, and get one in turns: one space after the
//! other, and within a space one app after the other.

mod queue;

use std::rc::Rc;

use starlane_protocol::Failure;

pub(crate) use self::queue::StartQueue;
use crate::{
    actor::{ActorId, Life},
    effect::Effect,
    guest::{GuestPlan, InstanceId},
    node::Node,
    saving::Last,
    shares::{Account, Share},
    timers::Timer,
};

/// The maximum number of actors that are put to sleep at a time for one waiting app.
const MAX_ASLEEP_AT_ONCE: usize = 16;
/// The pause before a host without room for an instance is asked again, in milliseconds.
const AGAIN_MS: u64 = 100;

impl Node {
    /// Queues a sleeping actor that has something to do for an instance.
    pub(crate) fn wait_for_slot(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.life = Life::Waiting;
        self.starts.push(&actor.account, id, false);
        self.fill_slots(now);
    }

    /// Gives free slots to waiting actors, and makes room for the others. Looks only at accounts that changed.
    pub(crate) fn fill_slots(&mut self, now: u64) {
        let limits = self.config.actors;
        let mut changed = Vec::new();
        while let Some(account) = self.starts.next_changed() {
            self.starts.order(&account, &limits);
            changed.push(account);
        }
        while !self.starts.full && !self.starts.closed && self.by_instance.len() < self.config.max_awake {
            let Some((id, account)) = self.starts.next(&limits) else { break };
            // The app may be gone, or its message withdrawn.
            match self.actors.get_mut(&id) {
                Some(actor) if actor.life == Life::Waiting && actor.has_work() => self.start(now, id),
                Some(actor) if actor.life == Life::Waiting => {
                    actor.life = Life::Asleep;
                    self.sleeps(id);
                }
                _ => {}
            }
            self.starts.order(&account, &limits);
            changed.push(account);
        }
        for account in changed {
            self.make_room(&account);
        }
    }

    /// An actor is idle: it may have to make room for others.
    pub(crate) fn rest(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        let Some((instance, since)) = actor.instance().map(|instance| (instance, actor.last_used)) else { return };
        let Some((_, slot)) = self.by_instance.get_mut(&instance) else { return };
        slot.rest(since, instance);
        if !self.starts.is_empty() {
            self.starts.changed(&slot.account);
            self.fill_slots(now);
        }
    }

    /// Frees the slot of an instance.
    pub(crate) fn free_slot(&mut self, instance: InstanceId) {
        if let Some((_, slot)) = self.by_instance.remove(&instance) {
            self.starts.changed(&slot.account);
        }
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
        let slot = actor.account.slot();
        self.by_instance.insert(instance, (id, slot));
        actor.waited_for = 1;
        if matches!(actor.keeping.last, Last::Stored) {
            actor.waited_for = 2;
            let (app, actor) = (actor.role.app.clone(), actor.address.clone());
            self.effects.push_back(Effect::LoadState { instance, app, actor });
        }
        self.effects.push_back(Effect::StartGuest(guest));
    }

    /// Puts actors to sleep for waiting ones: the least recently used quiescent actors, of the waiting app if that is full, else of
    /// its space if that is full, else of all.
    fn make_room(&mut self, account: &Account) {
        if self.starts.is_empty() || self.starts.closed {
            return;
        }
        let limits = self.config.actors;
        let full = self.starts.full || self.by_instance.len() >= self.config.max_awake;
        for (share, is_full) in [
            (&account.app, account.app.is_full(limits.awake_per_app)),
            (&account.space, account.space.is_full(limits.awake_per_space)),
            (&account.host, full),
        ] {
            let wanted = if is_full { self.starts.waiting_for(share, account).min(MAX_ASLEEP_AT_ONCE) } else { 0 };
            while share.leaving.get() < wanted && self.put_one_to_sleep(share) {}
        }
    }

    /// Puts the least recently used quiescent actor of a share to sleep. Returns false if it has none.
    fn put_one_to_sleep(&mut self, share: &Rc<Share>) -> bool {
        while let Some((since, instance)) = share.first_at_rest() {
            #[cfg(test)]
            {
                self.touches += 1;
            }
            let Some((id, slot)) = self.by_instance.get_mut(&instance) else { return false };
            let Some(actor) = self.actors.get_mut(id) else { return false };
            slot.stir();
            if !actor.is_quiescent() {
                continue;
            }
            if actor.last_used != since {
                slot.rest(actor.last_used, instance);
                continue;
            }
            if let Some((instance, calls)) = actor.save_batch(true) {
                slot.leave();
                self.effects.push_back(Effect::RunGuest { instance, calls });
                return true;
            }
        }
        false
    }

    /// One of the two parts of a start, the instance or the state, is ready.
    pub(crate) fn is_ready(&mut self, now: u64, id: ActorId, instance: InstanceId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.waited_for = actor.waited_for.saturating_sub(1);
        if actor.waited_for == 0 {
            actor.life = Life::Awake(instance);
            self.pump(now, id);
        }
    }

    /// The instance that `StartGuest` asked for is ready, or could not be made.
    pub fn handle_started(&mut self, now: u64, instance: InstanceId, result: Result<(), Failure>) {
        let Some(id) = self.by_instance.get(&instance).map(|(id, _)| *id) else {
            // It was stopped while it was being made, so it still runs.
            if result.is_ok() {
                self.effects.push_back(Effect::StopGuest(instance));
            }
            return;
        };
        match result {
            Ok(()) => self.is_ready(now, id, instance),
            Err(failure) if failure.code == "busy" => {
                // The host has no room, though this node counts some: stopped instances may still exist.
                self.free_slot(instance);
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Waiting;
                    self.starts.push(&actor.account, id, true);
                }
                if !std::mem::replace(&mut self.starts.full, true) {
                    self.after(now + AGAIN_MS, Timer::Slots);
                }
                self.fill_slots(now);
            }
            Err(failure) => {
                self.free_slot(instance);
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Asleep;
                }
                self.fail_mail(now, id, &failure);
                self.fill_slots(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ActorLimits,
        drive::{address, ask, node},
    };

    #[test]
    fn message_looks_at_no_awake_actor_while_another_waits_for_a_slot() {
        let limits = ActorLimits { awake_per_app: 500, ..ActorLimits::default() };
        let mut node = node(limits, 1_000, &["acme:busy", "bob:app"]);
        for n in 0..501 {
            assert_eq!(ask(&mut node, 1, &format!("acme:busy:keyed:k{n}"), "never"), 0);
        }
        assert_eq!(node.by_instance.len(), 500, "one waits");
        node.touches = 0;
        for n in 0..1_000 {
            assert_eq!(ask(&mut node, 2 + n, &format!("bob:app:keyed:k{}", n % 400), "echo"), 1);
        }
        assert!(node.touches < 10, "{} actors were looked at", node.touches);
    }

    #[test]
    fn least_recently_used_actor_makes_room() {
        let mut node = node(ActorLimits::default(), 3, &["acme:app"]);
        let states = |node: &Node| node.actors().into_iter().map(|actor| actor.state == "awake").collect::<Vec<_>>();
        for (now, key) in (1..).zip(["a", "b", "c", "b", "a"]) {
            assert_eq!(ask(&mut node, now, &format!("acme:app:keyed:{key}"), "echo"), 1);
        }
        assert_eq!(ask(&mut node, 10, "acme:app:keyed:d", "echo"), 1);
        assert_eq!(states(&node), [true, true, false, true]);
        assert_eq!(ask(&mut node, 11, "acme:app:keyed:e", "never"), 0);
        assert_eq!(states(&node), [true, false, false, true, true]);
    }

    #[test]
    fn spaces_take_turns_and_so_do_apps_within_a_space() {
        let limits = ActorLimits { awake_per_app: 2, awake_per_space: 3, ..ActorLimits::default() };
        let (mut queue, mut shares) = (StartQueue::default(), crate::shares::Shares::default());
        let accounts = ["a:one", "a:two", "b:one"].map(|app| shares.of(&address(app)));
        for (n, account) in accounts.iter().enumerate() {
            (0..4).for_each(|k| queue.push(account, ActorId(n as u64 * 10 + k), false));
        }
        let mut slots = Vec::new();
        let next = |queue: &mut StartQueue, slots: &mut Vec<_>| {
            while let Some(account) = queue.next_changed() {
                queue.order(&account, &limits);
            }
            let (ActorId(id), account) = queue.next(&limits)?;
            slots.push(account.slot());
            queue.order(&account, &limits);
            Some(id)
        };
        let all = std::iter::from_fn(|| next(&mut queue, &mut slots)).collect::<Vec<_>>();
        assert_eq!(all, [0, 20, 10, 21, 1], "then both spaces have no app that may have more");
        assert_eq!(queue.waiting_for(&accounts[0].space, &accounts[0]), 3, "of `a:two`");
        assert_eq!(queue.waiting_for(&accounts[2].app, &accounts[2]), 2);
        assert_eq!(queue.waiting_for(&accounts[0].host, &accounts[0]), 0, "more room for all would help none");
        slots.remove(0);
        queue.changed(&accounts[0]);
        assert_eq!((next(&mut queue, &mut slots), next(&mut queue, &mut slots)), (Some(11), None));
    }
}
