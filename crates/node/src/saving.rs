//! When an actor's state is saved, and what happens after a save or a failed one.
//!
//! By default a change is saved within a second, and before the actor sleeps or is replaced. With [`Durability::Each`] every
//! message is saved before its answer, its one-way messages and its events leave the actor. Requests leave at once, since the
//! message may wait for their outcomes; so such an actor gets one message at a time.

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

/// How long a change waits for later ones, to be saved together, in milliseconds. Guest and store have the rest of the second.
const TOGETHER_MS: u64 = 500;
/// The pause before a failed save is tried again, in milliseconds. It doubles up to [`LATEST`] times.
const AGAIN_MS: u64 = 1_000;
const LATEST: u32 = 5;
/// A stored state of at most this size stays in memory too.
const MAX_AT_HAND_BYTES: usize = 4_096;

/// The state from which the next instance of an actor starts.
#[derive(Debug, Default)]
pub(crate) enum Last {
    /// The actor has no state.
    #[default]
    Nothing,
    /// The state is in memory.
    Here(Saved),
    /// The state is in the store.
    Stored,
}

/// An effect that waits until the state behind it is saved.
#[derive(Debug)]
pub(crate) enum Late {
    /// The end of a message, with its outcome.
    End(Message, Outcome),
    /// A one-way message or an event, and its trace.
    Effect(GuestEffect, Option<Trace>),
}

/// A write that the store has not confirmed.
#[derive(Debug, Clone, Copy)]
struct Writing {
    id: WriteId,
    has_state: bool,
}

/// What this node knows of an actor's state.
#[derive(Debug, Default)]
pub(crate) struct Keeping {
    pub(crate) last: Last,
    /// The store has a state of this actor.
    stored: bool,
    /// Its guest has done something since its last save.
    pub(crate) dirty: bool,
    /// Its guest saves as soon as it is between two messages.
    pub(crate) due: bool,
    /// The timer of the next save or of the next try.
    pub(crate) timer: Option<Key>,
    /// Its subscriptions or wakes differ from the written ones.
    pub(crate) relisted: bool,
    /// The state in memory differs from the written one.
    unsaved: bool,
    writing: Option<Writing>,
    failures: u32,
    late: Vec<Held<Late>>,
    /// When it was written last.
    pub(crate) saved_at: Option<i64>,
}

impl Keeping {
    /// For an actor that the store knows.
    pub(crate) fn stored(has_state: bool, saved_at: Option<i64>) -> Self {
        let last = if has_state { Last::Stored } else { Last::Nothing };
        Self { last, stored: has_state, saved_at, ..Self::default() }
    }

    /// The state from which an instance starts. A stored state must have been loaded.
    pub(crate) fn at_hand(&self) -> Option<Saved> {
        match &self.last {
            Last::Here(saved) => Some(saved.clone()),
            Last::Nothing | Last::Stored => None,
        }
    }

    /// Whether the guest's last save is not written yet.
    pub(crate) fn is_with_store(&self) -> bool {
        self.unsaved || self.writing.is_some()
    }

    /// The instance is gone, with everything that it had not saved.
    pub(crate) fn lost(&mut self) {
        (self.dirty, self.due) = (false, false);
    }

    /// Whether something is not on disk yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        self.dirty || self.is_with_store()
    }

    /// Whether nothing of it is kept, in memory or in the store.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.last, Last::Nothing) && !self.stored && !self.is_unsaved()
    }

    /// Whether memory does not need it: everything is in the store.
    pub(crate) fn is_with_disk(&self) -> bool {
        let is_stored = self.stored || matches!(self.last, Last::Nothing);
        is_stored && !self.is_unsaved() && !self.relisted && self.late.is_empty()
    }

    /// Whether the store has a state of it.
    pub(crate) fn is_stored(&self) -> bool {
        self.stored
    }

    /// Takes the state that the store loaded.
    pub(crate) fn loaded(&mut self, saved: Option<Saved>) {
        self.stored = saved.is_some();
        self.last = saved.map_or(Last::Nothing, Last::Here);
    }

    /// Makes the next instance start from the state in the store.
    pub(crate) fn revert(&mut self) {
        self.last = if self.stored { Last::Stored } else { Last::Nothing };
        (self.dirty, self.due, self.unsaved) = (false, false, false);
        self.relisted = true;
    }

    /// Drops a stored state from memory, unless it is small.
    pub(crate) fn shrink(&mut self) {
        if let Last::Here(saved) = &self.last
            && saved.data.len() > MAX_AT_HAND_BYTES
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

    /// The record to write now.
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
    /// Schedules a save, because a guest has run.
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
        // The save may run before its timer, when everything is saved.
        if let Some(timer) = actor.keeping.timer.take() {
            self.timers.remove(timer);
        }
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.keeping.due |= actor.keeping.dirty;
        self.write(now, id);
        self.pump(now, id);
    }

    /// Saves all state as soon as possible, because the host is about to end.
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

    /// Takes the state that a guest saved.
    pub(crate) fn saved(&mut self, now: u64, id: ActorId, saved: Saved) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let keeping = &mut actor.keeping;
        (keeping.dirty, keeping.due) = (false, false);
        // A mechtron without state returns empty data in format 0.
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

    /// Writes changed subscriptions or wakes of an actor that has no instance to save.
    pub(crate) fn write_list(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        // The state is only in the store, so this waits for the next instance.
        if actor.keeping.relisted && !matches!(actor.keeping.last, Last::Stored) {
            actor.keeping.unsaved = true;
            self.write(now, id);
        }
    }

    /// Writes unsaved changes, if this host owns the app's actors and no write of this actor is pending.
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

    /// Handles the result of a write that `SaveState` asked for.
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
            // An actor that ends does not try again.
            actor.keeping.relisted &= actor.leave.is_none();
            self.log(&address, Level::Error, format!("saving its state failed, so the change is undone: {error}"));
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
        self.log(&address, Level::Error, format!("saving its state failed and is retried: {error}"));
        self.save_later(at, id);
    }

    /// Releases the effects that waited for a save, if the state is saved.
    fn release(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id).filter(|actor| !actor.keeping.is_unsaved()) else { return };
        for late in std::mem::take(&mut actor.keeping.late) {
            match late.it {
                Late::End(letter, outcome) => self.answer(now, &letter, outcome),
                // Only effects of a single call have further limits, so this cannot be refused.
                Late::Effect(effect, trace) => drop(self.let_out(now, id, effect, trace)),
            }
        }
    }

    /// Keeps an effect until the state is saved, or returns it if nothing has to wait. Errors when too much waits.
    pub(crate) fn hold_back(&mut self, id: ActorId, late: Late) -> Result<Option<Late>, Crash> {
        let limits = self.config.actors;
        let Some(actor) = self.actors.get_mut(&id).filter(|actor| actor.saves_each()) else { return Ok(Some(late)) };
        let hold = match &late {
            // The actor has one message at a time, so there is one answer.
            Late::End(_, outcome) => actor.account.unbounded_hold(&actor.waiting_bytes, outcome_weight(outcome)),
            Late::Effect(effect, _) => {
                let held = actor.account.hold(&actor.waiting_bytes, effect.weight(), &limits);
                held.map_err(|(_, failure)| {
                    Crash::budget(format!("too much waits for its state to be saved: {}", failure.message))
                })?
            }
        };
        actor.keeping.late.push(Held { it: late, _hold: hold });
        Ok(None)
    }

    /// Fails the effects that waited, because the state behind them is lost.
    pub(crate) fn fail_late(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        for late in std::mem::take(&mut actor.keeping.late) {
            match late.it {
                Late::End(letter, _) => self.fail_letter(now, id, &letter, failure),
                // Like the effects of a call that crashed, it was never sent.
                Late::Effect(..) => {}
            }
        }
    }
}
