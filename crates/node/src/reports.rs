//! The result of a batch of calls: the effects of each call, the messages that it ended, and whether the instance survives.

use starlane_protocol::{AddressError, Failure, Message, Outcome, Payload, Topic, Trace, Verb};

use crate::{
    actor::{ActorId, InFlight, Settled},
    crashes::{Cause, Crash},
    effect::RequestId,
    guest::{BatchReport, CallReport, GuestCall, GuestEffect, InstanceId, Kind, Level, Logged, Returned},
    node::Node,
    requests::{Asker, MAX_CYCLE_LOOKS},
    saving::Late,
    state::OF_THE_INSTANCE,
    timers::Timer,
};

impl Node {
    /// Handles the report of a batch that was requested by `RunGuest`.
    pub fn handle_ran(&mut self, now: u64, instance: InstanceId, report: BatchReport) {
        let Some(id) = self.by_instance.get(&instance).map(|(id, _)| *id) else { return };
        let Some(actor) = self.actors.get_mut(&id) else { return };
        self.cycle_looks = MAX_CYCLE_LOOKS;
        let address = actor.address.clone();
        let traces: Vec<_> = actor.in_flight.iter().map(|call| actor.trace_of(call)).collect();
        let mut calls = std::mem::take(&mut actor.in_flight).into_iter();
        actor.is_reporting = true;
        let did_something = |done: &CallReport| matches!(done.returned, Returned::Done | Returned::Received(_));
        if report.crash.is_none() && report.done.iter().any(did_something) {
            self.state_may_have_changed(now, id);
        }
        let ran_nothing = report.done.is_empty() && report.crash.is_none();
        for Logged { call, level, text } in report.logs {
            let trace = traces.get(call).copied().flatten();
            self.log_traced(&address, level, trace, text);
        }
        let mut traces = traces.into_iter();
        let mut trace = None;
        let mut broken = ran_nothing.then(|| Crash::new(Cause::BrokenAbi, "the sandbox ran none of its calls"));
        for done in report.done {
            let Some(call) = calls.next() else { break };
            trace = traces.next().flatten();
            if let Err(crash) = self.call_done(now, id, call, done, trace) {
                broken = Some(crash);
                break;
            }
        }
        let crash = match (broken, report.crash) {
            (Some(crash), _) => Some((None, trace, crash)),
            // The call after the completed ones is the one that crashed.
            (None, Some(reason)) => Some((calls.next(), traces.next().flatten(), Crash::new(Cause::Trap, reason))),
            (None, None) => None,
        };
        self.requeue(id, calls);
        if let Some((call, trace, crash)) = crash {
            self.crash(now, id, instance, call, trace, &crash);
        }
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.is_reporting = false;
        }
        self.pump(now, id);
    }

    /// Queues calls again that were not run, except requests whose requesters gave up.
    fn requeue(&mut self, id: ActorId, calls: impl DoubleEndedIterator<Item = InFlight>) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let requests = &self.requests;
        actor.requeue(calls.filter(|call| match call {
            InFlight::Receive(_, held) => held.it.request.is_none_or(|request| requests.contains_key(&request)),
            _ => true,
        }));
    }

    /// Handles a call that returned. Errors when its result or its effects end the instance.
    fn call_done(
        &mut self,
        now: u64,
        id: ActorId,
        call: InFlight,
        done: CallReport,
        trace: Option<Trace>,
    ) -> Result<(), Crash> {
        let CallReport { returned, effects } = done;
        let limits = self.config.actors;
        // From here on the guest reads the stream of what it got.
        if matches!(returned, Returned::Received(_) | Returned::Done) {
            self.guest_reads(now, id, call.stream());
        }
        let (call, message) = match call {
            InFlight::Receive(message, held) => {
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.given(now, message, held.it, &limits);
                }
                (None, Some(message))
            }
            call => (Some(call), None),
        };
        for effect in effects {
            self.guest_effect(now, id, effect, trace)?;
        }
        match (call, message, returned) {
            (None, Some(message), Returned::Received(true)) => {
                // The message is done: it fails if it has no answer yet.
                let outcome = Err(Failure::guest_failed("the mechtron ended the message without an answer"));
                self.end_message(now, id, message, outcome)
            }
            (None, Some(message), Returned::Misfit(reason)) => {
                self.refuse_message(now, id, message, Failure::schema_mismatch(reason));
                Ok(())
            }
            (None, Some(message), Returned::NoStreams) => {
                self.refuse_message(now, id, message, no_streams());
                Ok(())
            }
            (Some(InFlight::Settle(held)), None, Returned::NoStreams) => {
                let Settled { request, trace, .. } = held.it;
                self.put_outcome(id, Settled { request, outcome: Err(no_streams()), trace });
                Ok(())
            }
            (None, Some(message), Returned::TooLarge(reason)) => {
                // The memory that was allocated for it stays allocated, so a fresh instance continues as soon as this one can be
                // saved.
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.is_worn = true;
                }
                self.refuse_message(now, id, message, Failure::too_large(reason));
                Ok(())
            }
            (None, Some(message), Returned::Received(false)) => {
                if let Some(until) = self.actors.get(&id).and_then(|actor| Some(actor.unfinished.get(&message)?.until))
                {
                    self.watch(id, until);
                }
                Ok(())
            }
            (Some(InFlight::Start), None, Returned::Done) => {
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.keeping.shrink();
                }
                Ok(())
            }
            (Some(InFlight::Wake(token)), None, Returned::Done) => {
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.keeping.relisted |= token & OF_THE_INSTANCE == 0;
                    actor.dozes.retain(|own| *own != token);
                    actor.slept.retain(|(own, _)| *own != token);
                }
                Ok(())
            }
            (Some(InFlight::Stream(call)), None, Returned::Done) => {
                self.stream_call_done(id, &call);
                Ok(())
            }
            (Some(InFlight::Settle(_)), None, Returned::Done) => Ok(()),
            (Some(InFlight::Stream(_)), None, Returned::BadLine { stream, failure }) => {
                self.guest_stops(now, id, stream, failure.clone());
                self.call_stream(now, id, GuestCall::Ended { stream, error: Some(failure) });
                Ok(())
            }
            (Some(InFlight::Settle(held)), None, Returned::TooLarge(reason)) => {
                let Settled { request, outcome, trace } = held.it;
                // The guest gets a short failure instead, in the next batch.
                if outcome.is_err() {
                    return Err(Crash::new(Cause::Memory, reason));
                }
                if let Some(actor) = self.actors.get_mut(&id) {
                    actor.is_worn = true;
                }
                let outcome = Err(Failure::too_large(reason));
                self.put_outcome(id, Settled { request, outcome, trace });
                Ok(())
            }
            (Some(InFlight::Start), None, Returned::Refused(reason)) => Err(Crash::new(Cause::StartRefused, reason)),
            (Some(InFlight::Save { sleep }), None, Returned::Saved(state)) => {
                self.saved(now, id, state);
                if sleep {
                    self.fall_asleep(now, id);
                }
                Ok(())
            }
            _ => Err(Crash::new(Cause::BrokenAbi, "the sandbox reported another call than was made")),
        }
    }

    /// Carries out an effect of a call, or keeps it until the actor's state is saved. Errors when it exceeds the actor's limits.
    fn guest_effect(&mut self, now: u64, id: ActorId, effect: GuestEffect, trace: Option<Trace>) -> Result<(), Crash> {
        let effect = match effect {
            // The stream of a message that is held back may end before the message leaves.
            GuestEffect::Notify { target, operation, payload } => match self.with_stream(id, payload) {
                Ok(payload) => GuestEffect::Notify { target, operation, payload },
                Err(failure) => {
                    self.notify_failed(now, id, &target, &operation, trace, failure);
                    return Ok(());
                }
            },
            effect => effect,
        };
        match effect {
            GuestEffect::Notify { .. } | GuestEffect::Emit { .. } => {
                match self.hold_back(id, Late::Effect(effect, trace))? {
                    Some(Late::Effect(effect, trace)) => self.let_out(now, id, effect, trace),
                    _ => Ok(()),
                }
            }
            effect => self.let_out(now, id, effect, trace),
        }
    }

    /// Carries out an effect, as part of the trace of the message that the call continued.
    pub(crate) fn let_out(
        &mut self,
        now: u64,
        id: ActorId,
        effect: GuestEffect,
        trace: Option<Trace>,
    ) -> Result<(), Crash> {
        let limits = self.config.actors;
        let Some(actor) = self.actors.get_mut(&id) else { return Ok(()) };
        let (address, role) = (actor.address.clone(), actor.role.clone());
        match effect {
            GuestEffect::Request { id: guest_id, target, operation, payload, timeout_ms } => {
                let payload = self.with_stream(id, payload);
                let Some(actor) = self.actors.get_mut(&id) else { return Ok(()) };
                let (open, outcomes, most) = (actor.open.len(), actor.outcomes.len(), limits.open_requests);
                // Each refusal becomes an outcome, so refusals are bounded too.
                if outcomes > most {
                    let detail = format!("it sends requests and does not take {outcomes} outcomes (limit {most})");
                    return Err(Crash::budget(detail));
                }
                let message = payload
                    .and_then(|payload| role.message(self.name, &address, Verb::Request, &target, operation, payload));
                let refused = match message {
                    Ok(mut message) if open + outcomes < most => {
                        (message.trace, message.remaining_ms) = (trace, timeout_ms);
                        actor.open.insert(guest_id, RequestId(0));
                        let request = self.ask(now, Asker::Guest(id, guest_id), message);
                        if let Some(open) = self.actors.get_mut(&id).and_then(|actor| actor.open.get_mut(&guest_id)) {
                            *open = request;
                        }
                        return Ok(());
                    }
                    Ok(_) => {
                        self.stats.refuse("open-requests");
                        Failure::mailbox_full(format!(
                            "this actor has {open} open requests and {outcomes} outcomes to take; the limit `open-requests` is \
                             {most}: wait for replies before sending more"
                        ))
                    }
                    Err(failure) => failure,
                };
                let outcome = Err(refused.checked());
                self.put_outcome(id, Settled { request: guest_id, outcome, trace });
            }
            GuestEffect::Notify { target, operation, payload } => {
                let stream = payload.stream.as_ref().map(|stream| stream.id);
                let told = role
                    .message(self.name, &address, Verb::Notify, &target, operation.clone(), payload)
                    .and_then(|message| self.tell(now, Message { trace, ..message }));
                if let Err(failure) = told {
                    if let Some(stream) = stream {
                        self.end_stream(now, stream, &failure);
                    }
                    self.notify_failed(now, id, &target, &operation, trace, failure);
                }
            }
            GuestEffect::Reply { id: message, outcome } => {
                let outcome = outcome
                    .map_err(Failure::of_resource)
                    .and_then(|payload| self.with_stream(id, payload))
                    .and_then(|payload| match self.actors.get(&id) {
                        Some(actor) => actor.fits_response(message, payload),
                        None => Ok(payload),
                    });
                return self.end_message(now, id, message, outcome);
            }
            GuestEffect::Emit { event, payload } => {
                let emitted = match role.plan.bind.events.get(&event) {
                    Some(body) if body.accepts(&payload.content_type) => Topic::new(address.clone(), &event)
                        .map_err(AddressError::failure)
                        .and_then(|topic| self.emit(now, &topic, &payload, trace)),
                    Some(body) => {
                        let text = format!("its payload must be {}, not {}", body.content_type, payload.content_type);
                        Err(Failure::schema_mismatch(text))
                    }
                    None => Err(Failure::not_found("the bind has no such event")),
                };
                if let Err(failure) = emitted {
                    let event: String = event.chars().take(80).collect();
                    let text = format!("the event `{event}` was not emitted: {}", failure.checked());
                    self.log_traced(&address, Level::Error, trace, text);
                }
            }
            GuestEffect::Subscribe { topic } => {
                let resolved = Topic::resolve(&topic, &role.app).map_err(AddressError::failure);
                let permitted = resolved.and_then(|topic| {
                    role.permit_topic(self.name, &address, &topic)?;
                    Ok(topic)
                });
                match permitted {
                    Ok(topic) => return self.subscribe_actor(id, topic),
                    Err(failure) => self.log_traced(&address, Level::Error, trace, failure.to_string()),
                }
            }
            GuestEffect::Unsubscribe { topic } => match Topic::resolve(&topic, &role.app) {
                Ok(topic) => self.unsubscribe_actor(id, topic),
                Err(error) => self.log_traced(&address, Level::Error, trace, error.to_string()),
            },
            GuestEffect::OpenStream { stream } => self.guest_opens(now, id, stream),
            GuestEffect::Write { stream, bytes } => self.guest_writes(now, id, stream, bytes),
            GuestEffect::Finish { stream, error } => self.guest_finishes(now, id, stream, error),
            GuestEffect::Grant { stream, bytes } => self.guest_grants(now, id, stream, bytes),
            GuestEffect::CancelStream { stream } => {
                self.guest_stops(now, id, stream, Failure::cancelled("its reader wants no more of it"));
            }
            GuestEffect::WakeAfter { delay_ms, token } => {
                return self.guest_wakes_at(id, now + u64::from(delay_ms), token, trace);
            }
            GuestEffect::WakeAt { unix_ms, token } => return self.guest_wakes_at(id, unix_ms, token, trace),
        }
        Ok(())
    }

    /// Buries a one-way message of an actor that was refused at once.
    fn notify_failed(
        &mut self,
        now: u64,
        id: ActorId,
        target: &str,
        operation: &str,
        trace: Option<Trace>,
        failure: Failure,
    ) {
        let Some(address) = self.actors.get(&id).map(|actor| actor.address.clone()) else { return };
        let target: String = target.chars().take(80).collect();
        self.dead_letter(now, &address, &format!("{operation}` to `{target}"), trace, &failure.checked());
    }

    /// Sets a timer that wakes an actor, at `due` on the clock of this host. Errors when the guest has too many.
    fn guest_wakes_at(&mut self, id: ActorId, due: u64, token: u64, trace: Option<Trace>) -> Result<(), Crash> {
        let most = self.config.actors.timers;
        let Some(actor) = self.actors.get_mut(&id) else { return Ok(()) };
        let waiting = actor.timers.len() + actor.wakes.len();
        if waiting >= most {
            self.stats.refuse("timers");
            let detail = format!("it asked for another wake while {waiting} are pending; the limit `timers` is {most}");
            return Err(Crash::budget(detail));
        }
        let key = self.after(due, Timer::Wake(id, token));
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.timers.push((key, token));
            if token & OF_THE_INSTANCE == 0 {
                actor.keeping.relisted = true;
            } else {
                actor.slept.extend(trace.map(|trace| (token, trace)));
                if actor.unfinished.is_empty() {
                    actor.dozes.push(token);
                }
            }
        }
        Ok(())
    }

    /// Ends a message that an actor has. The requester gets the outcome: at once, or after a save if the actor saves each message.
    /// An unknown or ended id is ignored.
    fn end_message(&mut self, now: u64, id: ActorId, message: u64, outcome: Outcome) -> Result<(), Crash> {
        let Some(given) = self.actors.get_mut(&id).and_then(|actor| actor.unfinished.remove(&message)) else {
            return Ok(());
        };
        if let Some(Late::End(letter, outcome)) = self.hold_back(id, Late::End(given.letter, outcome))? {
            self.answer(now, &letter, outcome);
        }
        Ok(())
    }

    /// Sends the outcome of a message to its requester.
    pub(crate) fn answer(&mut self, now: u64, letter: &Message, outcome: Outcome) {
        if let Some(request) = letter.request {
            // A one-way operation that came as a request gets an empty reply as soon as the actor has taken it.
            let outcome = if letter.kind == Kind::Notify { Ok(Payload::nothing()) } else { outcome };
            self.finish(now, request, outcome);
        }
    }

    /// Ends a message that was not given to the actor.
    fn refuse_message(&mut self, now: u64, id: ActorId, message: u64, failure: Failure) {
        let Some(given) = self.actors.get_mut(&id).and_then(|actor| actor.unfinished.remove(&message)) else { return };
        self.fail_letter(now, id, &given.letter, &failure);
    }

    /// Ends a message of an actor with a failure.
    pub(crate) fn fail_letter(&mut self, now: u64, id: ActorId, letter: &Message, failure: &Failure) {
        let Some(address) = self.actors.get(&id).map(|actor| actor.address.clone()) else { return };
        match letter.request {
            Some(request) => self.finish(now, request, Err(failure.clone().at(&address))),
            None => {
                if let Some(stream) = &letter.payload.stream {
                    self.end_stream(now, stream.id, failure);
                }
                self.dead_letter(now, &address, &letter.operation, letter.trace, failure);
            }
        }
    }
}

/// The refusal of a stream for a guest that cannot read it.
fn no_streams() -> Failure {
    Failure::no_streams(
        "this mechtron cannot read streams: its module does not export `stream-actor`. In Rust, begin `export!` with `streams;`",
    )
}
