//! Crashes of actors: which messages fail, and when the actors start again.

use starlane_protocol::{Address, Failure, Trace};

use crate::{
    actor::{ActorId, InFlight, Life},
    effect::Effect,
    guest::{InstanceId, Level},
    node::Node,
    state::OF_THE_INSTANCE,
    timers::Timer,
};

/// Why an instance was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) cause: Cause,
    /// The reason, for people.
    pub(crate) detail: String,
}

/// The kind of a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The guest refused to start.
    StartRefused,
    /// The sandbox ended it: it trapped, or a call exceeded a limit.
    Trap,
    /// It exceeded a limit of actors.
    Budget,
    /// It has no memory for data that it must get.
    Memory,
    /// The sandbox's report does not match the calls.
    BrokenAbi,
}

impl Crash {
    pub(crate) fn new(cause: Cause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }

    pub(crate) fn budget(detail: impl Into<String>) -> Self {
        Self::new(Cause::Budget, detail)
    }
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.cause == Cause::StartRefused {
            f.write_str("it refused to start: ")?;
        }
        f.write_str(&self.detail)
    }
}

impl Node {
    /// The back-off or the quarantine of an actor may be over.
    pub(crate) fn restart_actor(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        match actor.life {
            Life::BackOff(at) if at <= now => {}
            Life::Quarantined(until) if until <= now => {
                actor.crashes.clear();
                let address = actor.address.clone();
                self.log(&address, Level::Info, "its quarantine is over: the next message starts it again");
            }
            _ => return,
        }
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.life = Life::Asleep;
            self.pump(now, id);
        }
    }

    /// Handles a crash: the messages of the instance fail, and the actor starts again later, from its last state.
    pub(crate) fn crash(
        &mut self,
        now: u64,
        id: ActorId,
        instance: InstanceId,
        call: Option<InFlight>,
        trace: Option<Trace>,
        crash: &Crash,
    ) {
        let Some(actor) = self.actors.get(&id) else { return };
        let did_not_start = matches!(call, Some(InFlight::Start)) || crash.cause == Cause::StartRefused;
        let reason = crash.to_string();
        let address = actor.address.clone();
        self.log_traced(&address, Level::Error, trace, format!("the mechtron crashed: {reason}"));
        self.stats.crashes += 1;
        let failure = Failure::guest_failed(format!("the mechtron crashed: {reason}"));
        self.lose_instance(now, id, instance, call, &failure);
        self.write_list(now, id);
        let limits = self.config.actors;
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let life = actor.crashed(now, &limits);
        if let Life::BackOff(at) | Life::Quarantined(at) = life {
            self.after(at, Timer::Restart(id));
        }
        if let Life::Quarantined(_) = life {
            let seconds = limits.quarantine_ms / 1_000;
            let text = format!(
                "the mechtron crashed too often: quarantined for {seconds} s; `starlane app restart` ends that"
            );
            self.log(&address, Level::Error, text);
        }
        if did_not_start {
            self.fail_mail(now, id, &Failure::not_running(reason));
        } else if let Life::Quarantined(_) = life {
            self.fail_mail(now, id, &Failure::quarantined(format!("it crashed too often; the last crash: {reason}")));
        }
        self.fill_slots(now);
    }

    /// Ends an actor's instance: its messages fail, and the actor starts again from its last state.
    pub(crate) fn end_instance(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(instance) = actor.instance() else { return };
        // The sandbox may have run these calls, so they are not run again.
        let with_sandbox = std::mem::take(&mut actor.in_flight);
        for call in with_sandbox {
            match call {
                InFlight::Receive(_, held) => self.fail_letter(now, id, &held.it, failure),
                InFlight::Wake(token) => {
                    if let Some(actor) = self.actors.get_mut(&id) {
                        actor.wakes.push_back(token);
                    }
                }
                InFlight::Start | InFlight::Settle(_) | InFlight::Stream(_) | InFlight::Save { .. } => {}
            }
        }
        self.lose_instance(now, id, instance, None, failure);
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.life = Life::Asleep;
        }
        self.pump(now, id);
        self.fill_slots(now);
    }

    fn lose_instance(
        &mut self,
        now: u64,
        id: ActorId,
        instance: InstanceId,
        call: Option<InFlight>,
        failure: &Failure,
    ) {
        self.free_slot(instance);
        self.effects.push_back(Effect::StopGuest(instance));
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let (mut letters, requests) = actor.lose_instance();
        // Wakes of the instance itself end with it.
        let own: Vec<_> = actor.timers.extract_if(.., |(_, token)| *token & OF_THE_INSTANCE != 0).collect();
        match call {
            Some(InFlight::Receive(_, held)) => letters.push(held.it),
            Some(InFlight::Wake(_)) => actor.keeping.relisted = true,
            _ => {}
        }
        for (key, _) in own {
            self.timers.remove(key);
        }
        self.fail_late(now, id, failure);
        self.end_guest_streams(now, id, failure);
        for request in requests {
            self.drop_request(now, request);
        }
        for letter in letters {
            self.fail_letter(now, id, &letter, failure);
        }
    }

    /// Fails all messages of a mailbox.
    pub(crate) fn fail_mail(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let address = actor.address.clone();
        let wakes = std::mem::take(&mut actor.wakes);
        actor.outcomes.clear();
        let letters = std::mem::take(&mut actor.mailbox);
        self.log(&address, Level::Error, failure.to_string());
        for (_, held) in letters {
            self.fail_letter(now, id, &held.it, failure);
        }
        for _ in wakes {
            self.dead_letter(now, &address, "wake", None, failure);
        }
    }

    /// Restarts actors that crashed, at an address or in a whole app: lifts a quarantine, and fails messages that an instance has
    /// not ended. Returns how many actors it restarted.
    pub fn handle_restart(&mut self, now: u64, address: &Address) -> usize {
        let address = address.without_host();
        let mut ids = self.actors_of(&address);
        ids.extend(self.by_address.get(&address));
        for id in &ids {
            let Some(actor) = self.actors.get_mut(id) else { continue };
            actor.crashes.clear();
            match actor.life {
                Life::BackOff(_) | Life::Quarantined(_) => {
                    actor.life = Life::Asleep;
                    self.pump(now, *id);
                }
                Life::Awake(_) if actor.may_sleep() => self.save(*id),
                Life::Awake(_) => self.end_instance(now, *id, &Failure::not_running("the actor was restarted")),
                Life::Asleep | Life::Waiting | Life::Starting(_) => {}
            }
        }
        ids.len()
    }
}
