//! Overdue messages. Each message ends, whatever the guest does. An actor that holds only overdue messages, or runs a call that has
//! no requester any more, is restarted from its last state.

use starlane_protocol::Failure;

use crate::{
    actor::{Actor, ActorId, InFlight},
    guest::Level,
    node::Node,
    timers::Timer,
};

impl Node {
    /// Checks an actor's messages at `at`, or earlier.
    pub(crate) fn watch(&mut self, id: ActorId, at: u64) {
        let Some(watch) = self.actors.get(&id).map(|actor| actor.watch) else { return };
        if watch.is_some_and(|(due, _)| due <= at) {
            return;
        }
        if let Some(later) = watch {
            self.timers.remove(later);
        }
        let watch = self.after(at, Timer::Overdue(id));
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.watch = Some(watch);
        }
    }

    pub(crate) fn look_for_overdue(&mut self, now: u64, id: ActorId) {
        self.extend_messages(id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.watch = None;
        let address = actor.address.clone();
        let mut late = Vec::new();
        for (_, given) in actor.unfinished.iter_mut().filter(|(_, given)| given.until <= now && !given.overdue) {
            given.overdue = true;
            late.push((given.letter.operation.clone(), given.letter.request, given.letter.trace));
        }
        let all_late = !actor.unfinished.is_empty() && actor.unfinished.values().all(|given| given.overdue);
        for (operation, request, trace) in late {
            let failure = Failure::deadline("the mechtron did not end the message in time");
            match request {
                // The requester usually has its failure already; one with a longer deadline has not.
                Some(request) => {
                    let text = format!("the request `{operation}` was not answered in time");
                    self.log_traced(&address, Level::Warn, trace, text);
                    self.finish(now, request, Err(failure));
                }
                None => self.dead_letter(now, &address, &operation, trace, &failure),
            }
        }
        if all_late || self.runs_for_nobody(now, id) {
            let reason = "the actor was restarted: it held overdue messages";
            self.log(&address, Level::Error, reason);
            self.stats.overdue += 1;
            self.end_instance(now, id, &Failure::not_running(reason));
        }
        self.watch_again(now, id);
    }

    /// Gives messages more time on whose streams something has moved.
    fn extend_messages(&mut self, id: ActorId) {
        let limits = self.config.actors;
        let Some(actor) = self.actors.get(&id) else { return };
        let with_streams = actor.unfinished.iter().filter_map(|(message, given)| {
            let moved = self.flows.get(&given.stream?).map(|flow| flow.moved() + limits.one_way_ms);
            let until = match given.letter.request {
                Some(request) => self.deadline_of(request).map(|deadline| deadline + limits.overdue_ms),
                None => moved,
            };
            Some((*message, until?))
        });
        let longer: Vec<_> = with_streams.collect();
        let Some(actor) = self.actors.get_mut(&id) else { return };
        for (message, until) in longer {
            if let Some(given) = actor.unfinished.get_mut(&message) {
                given.until = given.until.max(until);
            }
        }
    }

    /// Whether an actor has for too long run calls whose requesters gave up.
    fn runs_for_nobody(&self, now: u64, id: ActorId) -> bool {
        let Some(actor) = self.actors.get(&id) else { return false };
        self.is_abandoned(actor) && actor.in_flight_since.saturating_add(self.config.actors.overdue_ms) <= now
    }

    fn is_abandoned(&self, actor: &Actor) -> bool {
        let for_nobody = |call: &InFlight| match call {
            InFlight::Receive(_, held) => held.it.request.is_some_and(|request| !self.requests.contains_key(&request)),
            _ => false,
        };
        !actor.in_flight.is_empty() && actor.in_flight.iter().all(for_nobody)
    }

    fn watch_again(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get(&id) else { return };
        let next = actor.unfinished.values().filter(|given| !given.overdue).map(|given| given.until).min();
        let abandoned = self.is_abandoned(actor).then_some(actor.in_flight_since + self.config.actors.overdue_ms);
        if let Some(at) = next.into_iter().chain(abandoned).min() {
            self.watch(id, at.max(now + 1));
        }
    }
}
