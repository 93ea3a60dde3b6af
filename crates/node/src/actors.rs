//! The lives of actors: mail, waking, batches of calls, what comes of them, sleep, crashes.

use std::rc::Rc;

use starlane_protocol::{Address, Failure, Outcome, Payload, Topic, Verb};

use crate::{
    actor::{ActorId, InFlight, Letter, Life},
    app,
    effect::{Effect, RequestId},
    guest::{BatchReport, CallReport, GuestEffect, GuestPlan, InstanceId, Kind, Level, Returned},
    node::Node,
    requests::{Answerer, Asker},
    timers::Timer,
    topics::Subscriber,
};

/// The most requests that an actor may have open.
const MOST_OPEN: usize = 1_024;

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

    pub(crate) fn restart_actor(&mut self, now: u64, id: ActorId) {
        if let Some(actor) = self.actors.get_mut(&id)
            && matches!(actor.life, Life::BackOff(at) if at <= now)
        {
            actor.life = Life::Asleep;
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
    fn pump(&mut self, now: u64, id: ActorId) {
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

    /// What became of a batch that `RunGuest` asked for.
    pub fn handle_ran(&mut self, now: u64, instance: InstanceId, report: BatchReport) {
        let Some(&id) = self.by_instance.get(&instance) else { return };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let address = actor.address.clone();
        let mut calls = std::mem::take(&mut actor.in_flight).into_iter();
        for (level, text) in report.logs {
            self.log(&address, level, text);
        }
        let mut broken = None;
        for done in report.done {
            let Some(call) = calls.next() else { break };
            if let Err(reason) = self.call_done(now, id, call, done) {
                broken = Some(reason);
                break;
            }
        }
        let crash = match (broken, report.crash) {
            (Some(reason), _) => Some((None, reason)),
            // The call behind the ones that ran to their end is the one that crashed.
            (None, Some(reason)) => Some((calls.next(), reason)),
            (None, None) => None,
        };
        self.requeue(id, calls);
        if let Some((call, reason)) = crash {
            self.crash(now, id, instance, call, &reason);
        }
        self.pump(now, id);
    }

    /// Messages that were not run go back to the front of the mailbox, in order.
    fn requeue(&mut self, id: ActorId, calls: impl Iterator<Item = InFlight>) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let mut letters: Vec<Letter> = calls
            .filter_map(|call| match call {
                InFlight::Receive(_, letter) => Some(letter),
                _ => None,
            })
            // Whoever gave up meanwhile is not waiting any more.
            .filter(|letter| letter.request.is_none_or(|request| self.requests.contains_key(&request)))
            .collect();
        while let Some(letter) = letters.pop() {
            actor.mailbox.push_front(letter);
        }
    }

    /// A call returned. Errors when what it returned ends the instance.
    fn call_done(&mut self, now: u64, id: ActorId, call: InFlight, done: CallReport) -> Result<(), String> {
        let CallReport { returned, effects } = done;
        if let InFlight::Receive(message, letter) = &call
            && let Some(actor) = self.actors.get_mut(&id)
        {
            actor.unfinished.insert(*message, letter.clone());
        }
        for effect in effects {
            self.guest_effect(now, id, effect);
        }
        match (call, returned) {
            (InFlight::Receive(message, _), Returned::Received(true)) => {
                // Dealt with: what it did not answer by now fails.
                let outcome = Err(Failure::guest_failed("the mechtron ended the message without an answer"));
                self.end_message(now, id, message, outcome);
                Ok(())
            }
            (InFlight::Receive(message, _), Returned::Misfit(reason)) => {
                self.refuse_message(now, id, message, Failure::schema_mismatch(reason));
                Ok(())
            }
            (InFlight::Receive(..), Returned::Received(false))
            | (InFlight::Start | InFlight::Settle | InFlight::Wake, Returned::Done) => Ok(()),
            (InFlight::Start, Returned::Refused(reason)) => Err(format!("it refused to start: {reason}")),
            (InFlight::Save, Returned::Saved(state)) => {
                self.fall_asleep(now, id, state);
                Ok(())
            }
            _ => Err("the sandbox reported another call than was made".to_owned()),
        }
    }

    fn fall_asleep(&mut self, now: u64, id: ActorId, state: crate::guest::Saved) {
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

    fn guest_effect(&mut self, now: u64, id: ActorId, effect: GuestEffect) {
        let Some(actor) = self.actors.get(&id) else { return };
        let (address, role) = (actor.address.clone(), actor.role.clone());
        match effect {
            GuestEffect::Request { id: guest_id, target, operation, payload, timeout_ms } => {
                let open = actor.open.len();
                let envelope = role.envelope(self.name, &address, Verb::Request, &target, operation, payload);
                let refused = match envelope {
                    Ok(envelope) if open < MOST_OPEN => {
                        if let Some(actor) = self.actors.get_mut(&id) {
                            actor.open.insert(guest_id, RequestId(0));
                        }
                        let request = self.ask(now, Asker::Guest(id, guest_id), envelope, timeout_ms);
                        if let Some(open) = self.actors.get_mut(&id).and_then(|actor| actor.open.get_mut(&guest_id)) {
                            *open = request;
                        }
                        return;
                    }
                    Ok(_) => Failure::mailbox_full(format!("{open} requests of this actor are open already")),
                    Err(failure) => failure,
                };
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.outcomes.push_back((guest_id, Err(refused)));
                }
            }
            GuestEffect::Notify { target, operation, payload } => {
                let told = role
                    .envelope(self.name, &address, Verb::Notify, &target, operation.clone(), payload)
                    .and_then(|envelope| self.tell(now, envelope));
                if let Err(failure) = told {
                    self.log(&address, Level::Warn, format!("`{operation}` to {target} was not delivered: {failure}"));
                }
            }
            GuestEffect::Reply { id: message, outcome } => {
                let outcome = outcome.and_then(|payload| actor.fits_response(message, payload));
                self.end_message(now, id, message, outcome);
            }
            GuestEffect::Emit { event, payload } => match role.plan.bind.events.get(&event) {
                Some(body) if body.accepts(&payload.content_type) => {
                    if let Ok(topic) = Topic::new(address, &event) {
                        self.emit(now, &topic, &payload);
                    }
                }
                Some(body) => {
                    let text =
                        format!("the event `{event}` carries {}, not {}", body.content_type, payload.content_type);
                    self.log(&address, Level::Error, text);
                }
                None => self.log(&address, Level::Error, format!("the bind has no event `{event}`: not emitted")),
            },
            GuestEffect::Subscribe { topic } => match Topic::resolve(&topic, &role.app) {
                Ok(topic) => match role.permit_topic(self.name, &address, &topic) {
                    Ok(()) => self.subscribe(topic, Subscriber::Actor(id)),
                    Err(failure) => self.log(&address, Level::Error, failure.to_string()),
                },
                Err(error) => self.log(&address, Level::Error, error.to_string()),
            },
            GuestEffect::Unsubscribe { topic } => match Topic::resolve(&topic, &role.app) {
                Ok(topic) => self.unsubscribe(topic, Subscriber::Actor(id)),
                Err(error) => self.log(&address, Level::Error, error.to_string()),
            },
            GuestEffect::WakeAfter { delay_ms, token } => self.after(now + u64::from(delay_ms), Timer::Wake(id, token)),
        }
    }

    /// Ends a message that an actor has: its asker gets the outcome. An id that is unknown or ended already is ignored.
    fn end_message(&mut self, now: u64, id: ActorId, message: u64, outcome: Outcome) {
        let Some(letter) = self.actors.get_mut(&id).and_then(|actor| actor.unfinished.remove(&message)) else { return };
        if let Some(request) = letter.request {
            // A one-way operation that was sent as a request is answered, empty, when it was taken.
            let outcome = if letter.kind == Kind::Notify { Ok(Payload::nothing()) } else { outcome };
            self.finish(now, request, outcome);
        }
    }

    /// Ends a message that the actor was not given.
    fn refuse_message(&mut self, now: u64, id: ActorId, message: u64, failure: Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(letter) = actor.unfinished.remove(&message) else { return };
        let address = actor.address.clone();
        match letter.request {
            Some(request) => self.finish(now, request, Err(failure)),
            None => self.dead_letter(&address, &letter.operation, &failure),
        }
    }

    /// An instance ended against its will: what it had fails, and the actor starts again from its last state, later.
    fn crash(&mut self, now: u64, id: ActorId, instance: InstanceId, call: Option<InFlight>, reason: &str) {
        self.by_instance.remove(&instance);
        self.effects.push_back(Effect::StopGuest(instance));
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let address = actor.address.clone();
        let did_not_start = matches!(call, Some(InFlight::Start)) || reason.starts_with("it refused to start");
        let (mut letters, requests) = actor.lose_instance();
        if let Some(InFlight::Receive(_, letter)) = call {
            letters.push(letter);
        }
        self.stats.crashes += 1;
        let life = actor.crashed(now);
        self.log(&address, Level::Error, format!("the mechtron crashed: {reason}"));
        for request in requests {
            self.drop_request(now, request);
        }
        for request in letters.into_iter().filter_map(|letter| letter.request) {
            self.finish(now, request, Err(Failure::guest_failed(format!("the mechtron crashed: {reason}"))));
        }
        match life {
            Life::BackOff(at) => self.after(at, Timer::Restart(id)),
            _ => self.log(&address, Level::Error, "the mechtron crashed too often: quarantined"),
        }
        if did_not_start {
            self.fail_mail(now, id, &Failure::not_running(reason.to_owned()));
        } else if life == Life::Quarantined {
            self.fail_mail(now, id, &Failure::quarantined(format!("it crashed too often, at last: {reason}")));
        }
    }

    /// Fails all that waits in a mailbox.
    fn fail_mail(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let address = actor.address.clone();
        actor.wakes.clear();
        actor.outcomes.clear();
        let letters = std::mem::take(&mut actor.mailbox);
        self.log(&address, Level::Error, failure.to_string());
        for letter in letters {
            match letter.request {
                Some(request) => self.finish(now, request, Err(failure.clone().at(&address))),
                None => self.dead_letter(&address, &letter.operation, failure),
            }
        }
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
