//! Crashes of actors: what fails with them, when they start again, and when they do not.

use starlane_protocol::Failure;

use crate::{
    actor::{ActorId, InFlight, Life},
    effect::Effect,
    guest::{InstanceId, Level},
    node::Node,
    timers::Timer,
};

impl Node {
    pub(crate) fn restart_actor(&mut self, now: u64, id: ActorId) {
        if let Some(actor) = self.actors.get_mut(&id)
            && matches!(actor.life, Life::BackOff(at) if at <= now)
        {
            actor.life = Life::Asleep;
            self.pump(now, id);
        }
    }

    /// An instance ended against its will: what it had fails, and the actor starts again from its last state, later.
    pub(crate) fn crash(&mut self, now: u64, id: ActorId, instance: InstanceId, call: Option<InFlight>, reason: &str) {
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
    pub(crate) fn fail_mail(&mut self, now: u64, id: ActorId, failure: &Failure) {
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
}
