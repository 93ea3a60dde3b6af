//! The lives of actors: mail, waking, batches of calls, sleep, the end.

use std::rc::Rc;

use starlane_protocol::{Address, Failure, Outcome};

use crate::{
    actor::{ActorId, Letter, Life},
    app,
    effect::{Effect, RequestId},
    guest::{GuestPlan, InstanceId, Kind},
    node::Node,
    requests::Answerer,
    topics::Subscriber,
};

impl Node {
    /// Puts a message into a mailbox.
    pub(crate) fn post(&mut self, now: u64, id: ActorId, mut letter: Letter) -> Result<(), Failure> {
        let Some(actor) = self.actors.get_mut(&id) else {
            return Err(Failure::no_resource("the actor is gone"));
        };
        let plan = &actor.role.plan;
        if letter.kind != Kind::Event {
            app::check(&plan.bind, &letter.operation, &letter.payload, letter.kind == Kind::Notify)?;
            if plan.bind.operations.get(&letter.operation).is_some_and(|operation| operation.is_one_way()) {
                letter.kind = Kind::Notify;
            }
        }
        if actor.life == Life::Quarantined {
            let message = "it crashed too often and was put aside: see the log, mend it and install it again";
            return Err(Failure::quarantined(message));
        }
        if actor.mailbox.len() >= plan.mailbox {
            let size = plan.mailbox;
            return Err(Failure::mailbox_full(format!("{size} messages wait for this actor already")));
        }
        actor.mailbox.push_back(letter);
        self.pump(now, id);
        Ok(())
    }

    /// Takes a message back that nobody waits for any more, if it has not been delivered.
    pub(crate) fn withdraw_letter(&mut self, _now: u64, id: ActorId, request: RequestId) {
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.mailbox.retain(|letter| letter.request != Some(request));
        }
    }

    pub(crate) fn wake_actor(&mut self, now: u64, id: ActorId, token: u64) {
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.wakes.push_back(token);
            self.pump(now, id);
        }
    }

    /// The outcome of a request that a guest made.
    pub(crate) fn settle_guest(&mut self, now: u64, id: ActorId, guest_id: u64, outcome: Outcome) {
        if let Some(actor) = self.actors.get_mut(&id)
            && actor.open.remove(&guest_id).is_some()
        {
            actor.outcomes.push_back((guest_id, outcome));
            self.pump(now, id);
        }
    }

    /// Gives an actor what it can do next: an instance, or a batch.
    pub(crate) fn pump(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if actor.life == Life::Asleep && actor.has_work() {
            self.start(now, id);
        } else if let Some((instance, calls)) = actor.next_batch(now) {
            self.effects.push_back(Effect::RunGuest { instance, calls });
        }
    }

    fn start(&mut self, now: u64, id: ActorId) {
        self.make_room();
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
        self.by_instance.insert(instance, id);
        self.effects.push_back(Effect::StartGuest(guest));
    }

    /// Puts the least recently used quiescent actor to sleep if too many are awake.
    fn make_room(&mut self) {
        if self.by_instance.len() < self.config.max_awake {
            return;
        }
        let quiescent = self.actors.iter_mut().map(|(_, actor)| actor).filter(|actor| actor.is_quiescent());
        if let Some((instance, calls)) =
            quiescent.min_by_key(|actor| actor.last_used).and_then(|actor| actor.save_batch())
        {
            self.effects.push_back(Effect::RunGuest { instance, calls });
        }
    }

    /// The instance that `StartGuest` asked for is there, or can't be made.
    pub fn handle_started(&mut self, now: u64, instance: InstanceId, result: Result<(), Failure>) {
        let Some(&id) = self.by_instance.get(&instance) else {
            // It was stopped before it was there: nothing has ended it yet.
            if result.is_ok() {
                self.effects.push_back(Effect::StopGuest(instance));
            }
            return;
        };
        match result {
            Ok(()) => {
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Awake(instance);
                }
                self.pump(now, id);
            }
            Err(failure) => {
                self.by_instance.remove(&instance);
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.life = Life::Asleep;
                }
                self.fail_mail(now, id, &failure);
            }
        }
    }

    pub(crate) fn fall_asleep(&mut self, now: u64, id: ActorId, state: crate::guest::Saved) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        // A mechtron without state says so by nothing, in format 0.
        actor.state = Some(state).filter(|state| state.format != 0 || !state.data.is_empty());
        let Some(instance) = actor.instance() else { return };
        actor.life = Life::Asleep;
        let (letters, requests) = actor.lose_instance();
        debug_assert!(letters.is_empty() && requests.is_empty(), "only quiescent actors sleep");
        self.by_instance.remove(&instance);
        self.effects.push_back(Effect::StopGuest(instance));
        self.pump(now, id);
    }

    /// Ends all actors of an app; who waits for them is told.
    pub(crate) fn end_actors(&mut self, now: u64, app: &Address, reason: &str) {
        let mut ended: Vec<ActorId> =
            self.actors.iter().filter(|(_, actor)| actor.role.app == *app).map(|(id, _)| *id).collect();
        ended.sort_unstable();
        for id in ended {
            let Some(mut actor) = self.actors.remove(&id) else { continue };
            self.by_address.remove(&actor.address);
            if actor.role.plan.keyed {
                self.usage.release_key(&actor.made_for);
            }
            if let Some(instance) = actor.instance() {
                self.by_instance.remove(&instance);
                self.effects.push_back(Effect::StopGuest(instance));
            }
            self.unsubscribe_all(Subscriber::Actor(id));
            for request in actor.lose_instance().1 {
                self.drop_request(now, request);
            }
            let why = || Failure::not_running(reason.to_owned());
            self.fail_where(now, |pending| pending.answerer == Answerer::Actor(id), why);
        }
    }
}
