//! When an actor's state is saved, what becomes of it, and what waits for that.
//!
//! By default a change is saved within a second, and before the actor sleeps or is replaced. With [`Durability::Each`] what a
//! message did is saved before anything but requests leaves the actor: its answer, its one-way messages and its events wait.
//! Requests do not, since the message may wait for their outcomes; so such an actor is given one message at a time.

use starlane_bundle::Durability;
use starlane_protocol::{Failure, Message, Outcome, Trace};

use crate::{
    actor::{Actor, ActorId, InFlight},
    crashes::Crash,
    effect::Effect,
    guest::{GuestCall, GuestEffect, InstanceId, Level, Saved},
    mail::{Held, outcome_weight},
    node::Node,
    owner::signed,
    state::{ActorState, OF_THE_INSTANCE, StateError, WriteId},
    timers::{Key, Timer},
};

/// How long a change waits to be saved with those that follow it, in milliseconds. Guest and store have the rest of the second.
const TOGETHER_MS: u64 = 500;
/// How soon a save that failed is tried again, in milliseconds; each time twice as late, up to [`LATEST`] times.
const AGAIN_MS: u64 = 1_000;
const LATEST: u32 = 5;
/// Of an actor whose state is stored, up to so many bytes stay in memory too.
const AT_HAND: usize = 4_096;

/// The state that an actor is started with next.
#[derive(Debug, Default)]
pub(crate) enum Last {
    /// It has none.
    #[default]
    Nothing,
    /// It is here.
    Here(Saved),
    /// The store has it.
    Stored,
}

/// What waits until the state is saved that it follows from.
#[derive(Debug)]
pub(crate) enum Late {
    /// The answer to a message, or that it has none.
    End(Message, Outcome),
    /// A one-way message or an event, and its trace.
    Effect(GuestEffect, Option<Trace>),
}

/// A write that is with the store.
#[derive(Debug, Clone, Copy)]
struct Writing {
    id: WriteId,
    has_state: bool,
}

/// What is known of an actor's state here.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    pub(crate) last: Last,
    /// The store has a state of this actor.
    stored: bool,
    /// Its guest has done something since it saved last.
    pub(crate) dirty: bool,
    /// Its guest is to save as soon as it is between two messages.
    pub(crate) due: bool,
    /// The timer that makes that so, or tries again what failed.
    pub(crate) timer: Option<Key>,
    /// Its subscriptions or wakes are others than those that were written.
    pub(crate) relisted: bool,
    /// What is here is not what was written.
    unsaved: bool,
    writing: Option<Writing>,
    failures: u32,
    late: Vec<Held<Late>>,
    /// When it was written last.
    pub(crate) saved_at: Option<i64>,
}

impl Keeping {
    /// Of an actor that the store knows.
    pub(crate) fn stored(has_state: bool, saved_at: Option<i64>) -> Self {
        let last = if has_state { Last::Stored } else { Last::Nothing };
        Self { last, stored: has_state, saved_at, ..Self::default() }
    }

    /// The state that an instance begins with, which was loaded if the store has it.
    pub(crate) fn at_hand(&self) -> Option<Saved> {
        match &self.last {
            Last::Here(saved) => Some(saved.clone()),
            Last::Nothing | Last::Stored => None,
        }
    }

    /// Whether what the guest saved is not written yet.
    pub(crate) fn is_with_store(&self) -> bool {
        self.unsaved || self.writing.is_some()
    }

    /// The instance is gone, and what it had not saved.
    pub(crate) fn lost(&mut self) {
        (self.dirty, self.due) = (false, false);
    }

    /// Whether something is not with the disk yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.dirty || self.is_with_store()
    }

    /// Whether nothing is kept of it, here or in the store.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.last, Last::Nothing) && !self.stored && !self.is_unsaved()
    }

    /// Whether memory may do without it: all that is kept is in the store.
    pub(crate) fn is_with_disk(&self) -> bool {
        let is_stored = self.stored || matches!(self.last, Last::Nothing);
        is_stored && !self.is_unsaved() && !self.relisted && self.late.is_empty()
    }

    /// Whether the store has a state of it.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored
    }

    /// The store has given what it has.
    pub(crate) fn loaded(&mut self, saved: Option<Saved>) {
        self.stored = saved.is_some();
        self.last = saved.map_or(Last::Nothing, Last::Here);
    }

    /// What is in the store is what the next instance begins with.
    pub(crate) fn revert(&mut self) {
        self.last = if self.stored { Last::Stored } else { Last::Nothing };
        (self.dirty, self.due, self.unsaved) = (false, false, false);
        self.relisted = true;
    }

    /// State that is stored need not be here, unless it is small.
    pub(crate) fn shrink(&mut self) {
        if let Last::Here(saved) = &self.last
            && saved.data.len() > AT_HAND
            && self.stored
            && !self.unsaved
            && self.writing.is_none()
        {
            self.last = Last::Stored;
        }
    }
}

impl Actor {
    pub(crate) fn saves_each(&self) -> bool {
        self.role.plan.state == Durability::Each
    }

    /// A batch that only saves.
    pub(crate) fn save_batch(&mut self, sleep: bool) -> Option<(InstanceId, Vec<GuestCall>)> {
        let instance = self.instance()?;
        self.in_flight.push(InFlight::Save { sleep });
        Some((instance, vec![GuestCall::Save]))
    }

    /// What is to be kept of it now.
    fn to_keep(&self, now: u64) -> Option<ActorState> {
        let saved = match &self.keeping.last {
            Last::Nothing => None,
            Last::Here(saved) => Some(saved.clone()),
            Last::Stored => return None,
        };
        let waiting = self.wakes.iter().map(|token| (now, *token));
        let wakes = self.timers.iter().map(|((due, _), token)| (*due, *token)).chain(waiting);
        Some(ActorState {
            address: self.address.clone(),
            made_for: self.made_for.name().to_owned(),
            saved,
            subscriptions: self.subscriptions.clone(),
            wakes: wakes.filter(|(_, token)| token & OF_THE_INSTANCE == 0).collect(),
        })
    }
}

impl Node {
    /// A guest did something: its state may be another now.
    pub(crate) fn state_may_have_changed(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.keeping.dirty = true;
        if actor.saves_each() {
            actor.keeping.due = true;
        } else {
            self.save_later(now + TOGETHER_MS, id);
        }
    }

    fn save_later(&mut self, at: u64, id: ActorId) {
        if self.actors.get(&id).is_some_and(|actor| actor.keeping.timer.is_none()) {
            let timer = self.after(at, Timer::Save(id));
            if let Some(actor) = self.actors.get_mut(&id) {
                actor.keeping.timer = Some(timer);
            }
        }
    }

    pub(crate) fn save_is_due(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        // It may come before its time, when all is to be saved.
        if let Some(timer) = actor.keeping.timer.take() {
            self.timers.remove(timer);
        }
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.keeping.due |= actor.keeping.dirty;
        self.write(now, id);
        self.pump(now, id);
    }

    /// The host is to end: all state is saved as soon as it can be.
    pub fn handle_save_all(&mut self, now: u64) {
        let all: Vec<ActorId> = self.actors.keys().copied().collect();
        for id in all {
            self.save_is_due(now, id);
        }
    }

    /// How many actors have state that is not saved yet.
    pub fn unsaved(&self) -> usize {
        self.actors.values().filter(|actor| actor.keeping.is_unsaved()).count()
    }

    /// A guest has saved.
    pub(crate) fn saved(&mut self, now: u64, id: ActorId, saved: Saved) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let keeping = &mut actor.keeping;
        (keeping.dirty, keeping.due) = (false, false);
        // A mechtron without state says so by nothing, in format 0.
        let saved = Some(saved).filter(|saved| saved.format != 0 || !saved.data.is_empty());
        let is_same = match (&keeping.last, &saved) {
            (Last::Here(last), Some(saved)) => last == saved,
            (Last::Nothing, None) => true,
            _ => false,
        };
        if !is_same || keeping.relisted {
            keeping.last = saved.map_or(Last::Nothing, Last::Here);
            keeping.unsaved = true;
        }
        self.write(now, id);
        self.release(now, id);
    }

    /// An actor has no instance that could save, and other subscriptions or wakes than those that were written.
    pub(crate) fn write_list(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        // Without the state, which the store has, this waits for the next instance.
        if actor.keeping.relisted && !matches!(actor.keeping.last, Last::Stored) {
            actor.keeping.unsaved = true;
            self.write(now, id);
        }
    }

    /// Gives what is not written to the store, if this host owns the app's actors and the store has no write of this one.
    pub(crate) fn write(&mut self, now: u64, id: ActorId) {
        let number = self.fresh();
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(epoch) = self.owners.epoch(&actor.role.app) else { return };
        if !actor.keeping.unsaved || actor.keeping.writing.is_some() {
            return;
        }
        let Some(state) = actor.to_keep(now) else { return };
        let write = WriteId { actor: id.0, number };
        let keeping = &mut actor.keeping;
        keeping.writing = Some(Writing { id: write, has_state: state.saved.is_some() });
        (keeping.unsaved, keeping.relisted) = (false, false);
        let app = actor.role.app.clone();
        self.effects.push_back(Effect::SaveState { write, app, epoch, state });
    }

    /// What became of a write that `SaveState` asked for.
    pub fn handle_state_saved(&mut self, now: u64, write: WriteId, result: Result<(), StateError>) {
        let id = ActorId(write.actor);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let Some(writing) = actor.keeping.writing.take_if(|writing| writing.id == write) else { return };
        match result {
            Ok(()) => {
                let keeping = &mut actor.keeping;
                (keeping.stored, keeping.failures, keeping.saved_at) = (writing.has_state, 0, Some(signed(now)));
                keeping.shrink();
                self.stats.saves += 1;
                self.write(now, id);
                self.release(now, id);
            }
            Err(error) => {
                self.stats.save_failures += 1;
                self.not_saved(now, id, &error);
            }
        }
        self.pump(now, id);
    }

    fn not_saved(&mut self, now: u64, id: ActorId, error: &StateError) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let address = actor.address.clone();
        if *error == StateError::Fenced {
            let app = actor.role.app.clone();
            self.lose_app(now, &app);
            return;
        }
        if actor.saves_each() || matches!(error, StateError::TooLarge(_)) {
            actor.keeping.revert();
            // One that ends is not tried again.
            actor.keeping.relisted &= actor.leave.is_none();
            self.log(
                &address,
                Level::Error,
                format!("its state was not saved, and is again what it was before: {error}"),
            );
            let failure = error.failure();
            match self.actors.get(&id).and_then(|actor| actor.instance()) {
                Some(instance) if matches!(error, StateError::TooLarge(_)) => {
                    self.fail_late(now, id, &failure);
                    self.crash(now, id, instance, None, None, &Crash::budget(error.to_string()));
                }
                Some(_) => self.end_instance(now, id, &failure),
                None => self.fail_late(now, id, &failure),
            }
            return;
        }
        let keeping = &mut actor.keeping;
        keeping.unsaved = true;
        let at = now + (AGAIN_MS << keeping.failures.min(LATEST));
        keeping.failures += 1;
        self.log(&address, Level::Error, format!("its state was not saved, and is tried again: {error}"));
        self.save_later(at, id);
    }

    /// Lets out what waited for the state to be saved, if it is.
    fn release(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id).filter(|actor| !actor.keeping.is_unsaved()) else { return };
        for late in std::mem::take(&mut actor.keeping.late) {
            match late.it {
                Late::End(letter, outcome) => self.answer(now, &letter, outcome),
                // Only what one call queues is bounded by more than its bytes: this can't be refused.
                Late::Effect(effect, trace) => drop(self.let_out(now, id, effect, trace)),
            }
        }
    }

    /// Has something wait until the state is saved, or gives it back where nothing waits. Errors when too much does.
    pub(crate) fn hold_back(&mut self, id: ActorId, late: Late) -> Result<Option<Late>, Crash> {
        let limits = self.config.actors;
        let Some(actor) = self.actors.get_mut(&id).filter(|actor| actor.saves_each()) else { return Ok(Some(late)) };
        let hold = match &late {
            // There is one message at a time, so one answer.
            Late::End(_, outcome) => actor.account.unbounded_hold(&actor.waiting_bytes, outcome_weight(outcome)),
            Late::Effect(effect, _) => {
                let held = actor.account.hold(&actor.waiting_bytes, effect.weight(), &limits);
                held.map_err(|(_, failure)| {
                    Crash::budget(format!("it sends more than may wait for its state: {}", failure.message))
                })?
            }
        };
        actor.keeping.late.push(Held { it: late, _hold: hold });
        Ok(None)
    }

    /// What waited follows from state that is not there any more.
    pub(crate) fn fail_late(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        for late in std::mem::take(&mut actor.keeping.late) {
            match late.it {
                Late::End(letter, _) => self.fail_letter(now, id, &letter, failure),
                // As what a call had queued that crashed: it was never sent.
                Late::Effect(..) => {}
            }
        }
    }
}
