//! The lives of actors: mail, waking, batches of calls, sleep, the end.

use starlane_protocol::{Failure, Message};

use crate::{
    actor::{ActorId, Life, Settled},
    app,
    effect::{Effect, RequestId},
    guest::Kind,
    mail::{Held, Mail, outcome_weight, weight},
    node::Node,
    state::StateError,
    timers::Timer,
};

impl Node {
    /// Puts a message into a mailbox.
    pub(crate) fn post(&mut self, now: u64, id: ActorId, mut letter: Message) -> Result<(), Failure> {
        let limits = self.config.actors;
        let number = letter.request.map_or_else(|| self.fresh(), |RequestId(number)| number);
        let Some(actor) = self.actors.get_mut(&id) else {
            return Err(Failure::no_resource("the actor is gone"));
        };
        let plan = &actor.role.plan;
        if letter.kind != Kind::Event {
            let (content_type, has_stream) = (&letter.payload.content_type, letter.payload.stream.is_some());
            app::check(&plan.bind, &letter.operation, content_type, letter.kind == Kind::Notify, has_stream)?;
            if has_stream {
                actor.streams.may_read_another()?;
            }
            if plan.bind.operations.get(&letter.operation).is_some_and(|operation| operation.is_one_way()) {
                letter.kind = Kind::Notify;
            }
        }
        if let Life::Quarantined(until) = actor.life {
            let seconds = until.saturating_sub(now).div_ceil(1_000);
            return Err(Failure::quarantined(format!(
                "it crashed too often and is quarantined for {seconds} s more: see the log and fix it; `starlane app restart` \
                 starts it now"
            )));
        }
        if actor.mailbox.len() >= plan.mailbox {
            let size = plan.mailbox;
            let message = format!("{size} messages wait for this actor; the limit `mailbox` of its mechtron is {size}");
            return Err(Failure::mailbox_full(message));
        }
        let weight = weight(&letter);
        let light = actor.bears("the message", weight, &limits);
        let held = light.and_then(|()| actor.account.hold(&actor.waiting_bytes, weight, &limits));
        let hold = held.map_err(|(limit, failure)| {
            self.stats.refuse(limit);
            failure
        })?;
        actor.mailbox.insert(number, Box::new(Mail { number, it: letter, _hold: hold }));
        self.pump(now, id);
        Ok(())
    }

    /// The requester gave up: removes the message from the mailbox if it was not delivered. Otherwise checks later whether the
    /// guest has ended it.
    pub(crate) fn withdraw_letter(&mut self, now: u64, id: ActorId, request: RequestId) {
        let overdue_ms = self.config.actors.overdue_ms;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if actor.mailbox.remove(&request.0).is_none() && !actor.in_flight.is_empty() {
            actor.in_flight_since = now;
            self.watch(id, now + overdue_ms);
        }
    }

    pub(crate) fn wake_actor(&mut self, now: u64, key: (u64, u64), id: ActorId, token: u64) {
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.timers.retain(|(timer, _)| *timer != key);
            actor.wakes.push_back(token);
            self.pump(now, id);
        }
    }

    /// Gives a guest the outcome of its request.
    pub(crate) fn settle_guest(&mut self, now: u64, id: ActorId, settled: Settled) {
        if self.actors.get_mut(&id).is_some_and(|actor| actor.open.remove(&settled.request).is_some()) {
            self.put_outcome(id, settled);
            self.pump(now, id);
        }
    }

    /// Keeps an outcome until the guest takes it. An outcome above a limit becomes a short failure.
    pub(crate) fn put_outcome(&mut self, id: ActorId, mut settled: Settled) {
        let limits = self.config.actors;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let weight = outcome_weight(&settled.outcome);
        let held = actor.bears("the answer", weight, &limits);
        let held = held.and_then(|()| actor.account.hold(&actor.waiting_bytes, weight, &limits));
        let hold = match held {
            Ok(hold) => hold,
            // The failure is short, and its number has a limit.
            Err((limit, failure)) => {
                self.stats.refuse(limit);
                settled.outcome = Err(failure);
                actor.account.unbounded_hold(&actor.waiting_bytes, 256)
            }
        };
        actor.outcomes.push_back(Held { it: settled, _hold: hold });
    }

    /// Gives an actor its next step: an instance, or a batch.
    pub(crate) fn pump(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        if actor.leave.is_some() && !self.leave_on(now, id) {
            return;
        }
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if actor.life == Life::Asleep {
            if actor.has_work() {
                match self.owners.may_start(&actor.role.app) {
                    Some(true) => self.wait_for_slot(now, id),
                    Some(false) => self.fail_mail(now, id, &StateError::Fenced.failure()),
                    // It continues when the store has reported what it keeps.
                    None => {}
                }
            } else {
                self.sleeps(id);
            }
        } else if actor.keeping.due && actor.keeping.dirty && actor.may_be_saved() {
            if let Some((instance, calls)) = actor.save_batch(false) {
                self.effects.push_back(Effect::RunGuest { instance, calls });
            }
        } else if actor.is_worn && actor.may_sleep() {
            self.save(id);
        } else if let Some((instance, calls)) = actor.next_batch(now) {
            self.effects.push_back(Effect::RunGuest { instance, calls });
        } else if let Some(at) = actor.wakes_due(now)
            && !actor.wakes_are_timed
        {
            actor.wakes_are_timed = true;
            self.after(at, Timer::Wakes(id));
        } else if actor.is_quiescent() {
            self.rest(now, id);
        }
    }

    pub(crate) fn give_wakes(&mut self, now: u64, id: ActorId) {
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.wakes_are_timed = false;
            self.pump(now, id);
        }
    }

    /// Puts an actor to sleep if its state can be saved.
    pub(crate) fn save(&mut self, id: ActorId) {
        let Some((instance, calls)) = self.actors.get_mut(&id).and_then(|actor| actor.save_batch(true)) else { return };
        if let Some((_, slot)) = self.by_instance.get_mut(&instance) {
            slot.leave();
        }
        self.effects.push_back(Effect::RunGuest { instance, calls });
    }

    /// Ends the instance of an actor that has saved and is idle.
    pub(crate) fn fall_asleep(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(instance) = actor.instance() else { return };
        actor.life = Life::Asleep;
        let (letters, requests) = actor.lose_instance();
        // A guest may open streams while it saves.
        let lost = actor.streams.lose();
        debug_assert!(letters.is_empty() && requests.is_empty(), "only quiescent actors sleep");
        self.free_slot(instance);
        self.effects.push_back(Effect::StopGuest(instance));
        self.lose_guest_streams(now, id, lost, &Failure::cancelled("the actor has gone to sleep"));
        self.pump(now, id);
        self.fill_slots(now);
    }
}
