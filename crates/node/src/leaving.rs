//! Actors whose app changes or is removed. They first save their changes. The next version of an app continues with their state and
//! their waiting messages.

use starlane_protocol::{Address, Failure, Topic};

use crate::{
    actor::{ActorId, Life},
    app::{AppPlan, Role},
    guest::Level,
    node::Node,
    requests::Route,
    timers::Timer,
    topics::Subscriber,
};

/// How long an actor may take to come to rest before another version replaces it and drops its unfinished messages, in
/// milliseconds.
const PATIENCE_MS: u64 = 5_000;

/// What happens to an actor once it rests.
#[derive(Debug, Clone)]
pub(crate) enum Leave {
    /// It becomes an actor of another version of its app.
    Swap(Role),
    /// It ends, because no app that runs here has its mechtron.
    End,
}

impl Node {
    /// Installs an app, or another version of one. Actors of unchanged mechtrons are not touched. The others save, and continue as
    /// the new version, with their state, subscriptions, wakes and messages.
    pub fn handle_install(&mut self, now: u64, plan: AppPlan) {
        let app = plan.app.clone();
        let is_new = !self.apps.has(&app);
        self.apps.install(plan);
        if is_new {
            self.take_over(&app);
        }
        let mut ended = Vec::new();
        for id in self.actors_of(&app) {
            let Some(address) = self.actors.get(&id).map(|actor| actor.address.clone()) else { continue };
            let is_own = self.by_address.get(&address).is_none_or(|known| *known == id);
            match self.apps.role(&address).filter(|_| is_own) {
                Some(role) => self.swap(now, id, role),
                None => ended.push(id),
            }
        }
        self.end(now, &ended, "the app's new version has no such mechtron");
    }

    /// Removes an app: its actors save and end. Their state stays in the store.
    pub fn handle_uninstall(&mut self, now: u64, app: &Address) {
        self.apps.uninstall(app);
        let ended = self.actors_of(app);
        self.end(now, &ended, "the app was removed");
        if self.actors_of(app).is_empty() {
            self.set_owner(app, None);
        }
    }

    /// Whether an app has actors here, including those that are about to end.
    pub fn has_actors(&self, app: &Address) -> bool {
        !self.actors_of(app).is_empty()
    }

    fn swap(&mut self, now: u64, id: ActorId, role: Role) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let is_new = !actor.role.runs_the_same(&role);
        if matches!(actor.leave, Some(Leave::End)) {
            let address = actor.address.clone();
            if role.plan.keyed {
                self.usage.hold_key(&actor.made_for);
            }
            self.by_address.insert(address, id);
        } else if !is_new && actor.leave.is_none() {
            self.adopt(now, id, role);
            return;
        }
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.leave = Some(Leave::Swap(role));
        }
        self.pump(now, id);
    }

    /// Ends actors, in the order of their ids, and fails the requests that wait for them.
    fn end(&mut self, now: u64, ids: &[ActorId], reason: &str) {
        let failure = Failure::not_running(reason.to_owned());
        for id in ids {
            let Some(actor) = self.actors.get_mut(id) else { continue };
            if matches!(actor.leave.replace(Leave::End), Some(Leave::End)) {
                continue;
            }
            let (address, made_for, keyed) = (actor.address.clone(), actor.made_for.clone(), actor.role.plan.keyed);
            let topics = actor.subscriptions.clone();
            if self.by_address.get(&address) == Some(id) {
                self.by_address.remove(&address);
            }
            if keyed {
                self.usage.release_key(&made_for);
            }
            // The subscriptions stay in the actor's state, in case the app comes back.
            for topic in topics {
                self.unsubscribe(topic, Subscriber::Actor(*id));
            }
            self.fail_letters(now, *id, &failure);
        }
        for id in ids {
            self.fail_asked(now, Route::Actor(*id), || failure.clone());
        }
        for id in ids {
            self.pump(now, *id);
        }
        self.fill_slots(now);
    }

    fn fail_letters(&mut self, now: u64, id: ActorId, failure: &Failure) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        for (_, held) in std::mem::take(&mut actor.mailbox) {
            self.fail_letter(now, id, &held.it, failure);
        }
    }

    /// Takes a leaving actor one step further. Returns true while it may still get outcomes and wakes.
    pub(crate) fn leave_on(&mut self, now: u64, id: ActorId) -> bool {
        let Some(actor) = self.actors.get_mut(&id) else { return false };
        let Some(leave) = &actor.leave else { return true };
        let ends = matches!(leave, Leave::End);
        match actor.life {
            Life::Awake(_) if !actor.in_flight.is_empty() || actor.is_reporting => {
                self.be_patient(now, id);
                false
            }
            Life::Awake(_) if actor.may_sleep() => {
                // With `each`, pending effects leave when the store confirms the write.
                if actor.keeping.dirty {
                    self.save(id);
                } else if !actor.saves_each() || !actor.keeping.is_unsaved() {
                    self.fall_asleep(now, id);
                }
                false
            }
            Life::Awake(_) if !ends => {
                self.be_patient(now, id);
                true
            }
            Life::Awake(_) | Life::Starting(_) => {
                let failure = Failure::not_running("the app was removed");
                self.end_instance(now, id, &failure);
                false
            }
            _ => {
                self.has_left(now, id);
                false
            }
        }
    }

    fn be_patient(&mut self, now: u64, id: ActorId) {
        if self.actors.get(&id).is_some_and(|actor| actor.patience.is_none()) {
            let patience = self.after(now + PATIENCE_MS, Timer::Leave(id));
            if let Some(actor) = self.actors.get_mut(&id) {
                actor.patience = Some(patience);
            }
        }
    }

    /// Ends the wait for a leaving actor.
    pub(crate) fn leave_now(&mut self, now: u64, id: ActorId) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        actor.patience = None;
        if actor.leave.is_none() || !matches!(actor.life, Life::Awake(_)) {
            return;
        }
        let text = "another version of the app replaced the actor before its messages ended";
        let address = actor.address.clone();
        self.log(&address, Level::Warn, text);
        self.end_instance(now, id, &Failure::new(503, "swapped", text));
    }

    /// Finishes a leaving actor that has no instance any more.
    fn has_left(&mut self, now: u64, id: ActorId) {
        self.write_list(now, id);
        let Some(actor) = self.actors.get_mut(&id) else { return };
        if let Some(patience) = actor.patience.take() {
            self.timers.remove(patience);
        }
        match actor.leave.take() {
            Some(Leave::Swap(role)) => {
                actor.life = Life::Asleep;
                actor.crashes.clear();
                self.adopt(now, id, role);
            }
            // Unsaved changes are written first.
            Some(Leave::End) if actor.keeping.is_unsaved() => actor.leave = Some(Leave::End),
            _ => {
                let timers = std::mem::take(&mut actor.timers);
                let own = actor.watch.take().into_iter().chain(actor.keeping.timer.take());
                for key in own.chain(timers.into_iter().map(|(key, _)| key)) {
                    self.timers.remove(key);
                }
                self.fail_letters(now, id, &Failure::not_running("the app was removed"));
                self.remove_actor(id);
            }
        }
    }

    /// Gives an actor the role of another version. It keeps the subscriptions that this version allows.
    fn adopt(&mut self, now: u64, id: ActorId, role: Role) {
        let Some(actor) = self.set_role(id, role) else { return };
        let topics = std::mem::take(&mut actor.subscriptions);
        for topic in topics {
            self.listen(id, topic);
        }
        self.pump(now, id);
    }

    /// Restores a subscription of an actor, if it is still permitted.
    pub(crate) fn listen(&mut self, id: ActorId, topic: Topic) {
        let Some(actor) = self.actors.get_mut(&id) else { return };
        let address = actor.address.clone();
        match actor.role.permit_topic(self.name, &address, &topic) {
            Ok(()) => {
                actor.subscriptions.push(topic.clone());
                self.subscribe(topic, Subscriber::Actor(id));
            }
            Err(failure) => {
                actor.keeping.relisted = true;
                self.log(&address, Level::Error, format!("its subscription to {topic} ended: {failure}"));
                self.unsubscribe(topic, Subscriber::Actor(id));
            }
        }
    }

    /// Sets a timer that wakes an actor.
    pub(crate) fn wake_at(&mut self, id: ActorId, due: u64, token: u64) {
        let key = self.after(due, Timer::Wake(id, token));
        if let Some(actor) = self.actors.get_mut(&id) {
            actor.timers.push((key, token));
        }
    }
}
