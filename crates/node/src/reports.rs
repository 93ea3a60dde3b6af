//! What becomes of a batch of calls: what each asked of the mesh, the messages that it ended, and whether the instance lives.

use starlane_protocol::{Failure, Outcome, Payload, Topic, Verb};

use crate::{
    actor::{ActorId, InFlight, Letter},
    effect::RequestId,
    guest::{BatchReport, CallReport, GuestEffect, InstanceId, Kind, Level, Returned},
    node::Node,
    requests::Asker,
    timers::Timer,
    topics::Subscriber,
};

/// The most requests that an actor may have open.
const MOST_OPEN: usize = 1_024;

impl Node {
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
    pub(crate) fn end_message(&mut self, now: u64, id: ActorId, message: u64, outcome: Outcome) {
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
}
