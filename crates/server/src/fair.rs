//! A queue that is fair between spaces, and between the apps of a space: the owner with the least use is next.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use starlane_host::Principal;

/// Entries of idle spaces and apps are swept when there are more than this many.
const SWEEP_ABOVE: usize = 64;

/// The owner of work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Owner {
    /// The space.
    pub(crate) space: Arc<str>,
    /// The app's address.
    pub(crate) app: Arc<str>,
}

impl Owner {
    /// The owner of a principal's requests. Principals such as `acme/ada` share the account of their space.
    pub(crate) fn of_principal(principal: &Principal) -> Self {
        let space = principal.account().split('/').next().unwrap_or_default();
        Self { space: space.into(), app: principal.account().into() }
    }

    /// The owner of an app's work, from the app's address.
    pub(crate) fn of_app(app: &str) -> Self {
        let space = app.split(':').next().unwrap_or_default();
        Self { space: space.into(), app: app.into() }
    }
}

/// Work of many owners. Use is charged in two steps: an advance when work is taken, and the rest when it is done. So
/// threads that take work at the same time already share fairly.
///
/// An owner that was idle begins with the same use as the waiting owners, so idle time is not saved up.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    spaces: HashMap<Arc<str>, Space<T>>,
    /// The spaces from which work can be taken, ordered by their use.
    ready: BTreeSet<(u64, Arc<str>)>,
    /// The initial use of a space that becomes active now.
    level: u64,
    /// The number of spaces with waiting or taken work.
    active: u64,
    /// The maximum number of unfinished entries of one space.
    max_running: usize,
    advance: u64,
    sweep_above: usize,
}

#[derive(Debug)]
struct Space<T> {
    used: u64,
    waiting: usize,
    running: usize,
    apps: HashMap<Arc<str>, App<T>>,
    ready: BTreeSet<(u64, Arc<str>)>,
    level: u64,
    active: u64,
    sweep_above: usize,
}

#[derive(Debug)]
struct App<T> {
    used: u64,
    running: usize,
    waiting: VecDeque<T>,
}

impl<T> Default for Space<T> {
    fn default() -> Self {
        Self {
            used: 0,
            waiting: 0,
            running: 0,
            apps: HashMap::new(),
            ready: BTreeSet::new(),
            level: 0,
            active: 0,
            sweep_above: SWEEP_ABOVE,
        }
    }
}

impl<T> Default for App<T> {
    fn default() -> Self {
        Self { used: 0, running: 0, waiting: VecDeque::new() }
    }
}

impl<T> FairQueue<T> {
    /// An empty queue. At most `max_running` of a space's work is taken at a time; `advance` is the usual use of an
    /// entry.
    pub(crate) fn new(max_running: usize, advance: u64) -> Self {
        let (spaces, ready, sweep_above) = (HashMap::new(), BTreeSet::new(), SWEEP_ABOVE);
        Self { spaces, ready, level: 0, active: 0, max_running: max_running.max(1), advance, sweep_above }
    }

    /// The number of waiting entries of a space.
    pub(crate) fn waiting(&self, space: &str) -> usize {
        self.spaces.get(space).map_or(0, |space| space.waiting)
    }

    /// Adds work behind the other work of its app.
    pub(crate) fn push(&mut self, owner: &Owner, work: T) {
        let level = self.level;
        self.change(&owner.space, |space| {
            if space.is_idle() {
                space.used = space.used.max(level);
            }
            space.waiting += 1;
            let app_level = space.level;
            space.change(&owner.app, |app| {
                if app.is_idle() {
                    app.used = app.used.max(app_level);
                }
                app.waiting.push_back(work);
            });
        });
    }

    /// Takes the next work. [`FairQueue::done`] must follow.
    pub(crate) fn pop(&mut self) -> Option<(Owner, T)> {
        let (used, name) = self.ready.first().cloned()?;
        self.level = self.level.max(used);
        let advance = self.advance;
        let (app, work) = self.change(&name, |space| {
            let (used, app) = space.ready.first().cloned()?;
            space.level = space.level.max(used);
            let work = space.change(&app, |app| {
                app.used += advance;
                app.running += 1;
                app.waiting.pop_front()
            })?;
            space.used += advance;
            space.waiting -= 1;
            space.running += 1;
            Some((app, work))
        })?;
        Some((Owner { space: name, app }, work))
    }

    /// Reports that an owner's work is done or waits again, and how much it has used.
    pub(crate) fn done(&mut self, owner: &Owner, used: u64) {
        let advance = self.advance;
        let settle = |charged: &mut u64| *charged = charged.saturating_sub(advance).saturating_add(used);
        // The average use of the active spaces, with which a later one begins.
        self.level += used / self.active.max(1);
        self.change(&owner.space, |space| {
            space.running -= 1;
            settle(&mut space.used);
            space.level += used / space.active.max(1);
            space.change(&owner.app, |app| {
                app.running -= 1;
                settle(&mut app.used);
            });
            space.sweep();
        });
        if self.spaces.len() > self.sweep_above {
            let (level, all_idle) = (self.level, self.spaces.values().all(Space::is_idle));
            self.spaces.retain(|_, space| !space.is_idle() || (space.used > level && !all_idle));
            self.sweep_above = SWEEP_ABOVE.max(2 * self.spaces.len());
        }
    }

    /// Removes all waiting work. Work that was taken earlier must still be reported as done.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.ready.clear();
        let mut waiting = Vec::new();
        for space in self.spaces.values_mut() {
            space.ready.clear();
            space.waiting = 0;
            waiting.extend(space.apps.values_mut().flat_map(|app| app.waiting.drain(..)));
            space.active = space.apps.values().filter(|app| !app.is_idle()).count() as u64;
        }
        self.active = self.spaces.values().filter(|space| !space.is_idle()).count() as u64;
        waiting
    }

    fn change<R>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut Space<T>) -> R) -> R {
        let space = self.spaces.entry(Arc::clone(name)).or_default();
        self.ready.remove(&(space.used, Arc::clone(name)));
        let was_idle = space.is_idle();
        let result = change(space);
        match (was_idle, space.is_idle()) {
            (true, false) => self.active += 1,
            (false, true) => self.active -= 1,
            _ => {}
        }
        if space.waiting > 0 && space.running < self.max_running {
            self.ready.insert((space.used, Arc::clone(name)));
        }
        result
    }
}

impl<T> App<T> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

impl<T> Space<T> {
    fn change<R>(&mut self, name: &Arc<str>, change: impl FnOnce(&mut App<T>) -> R) -> R {
        let app = self.apps.entry(Arc::clone(name)).or_default();
        self.ready.remove(&(app.used, Arc::clone(name)));
        let was_idle = app.is_idle();
        let result = change(app);
        match (was_idle, app.is_idle()) {
            (true, false) => self.active += 1,
            (false, true) => self.active -= 1,
            _ => {}
        }
        if !app.waiting.is_empty() {
            self.ready.insert((app.used, Arc::clone(name)));
        }
        result
    }

    fn is_idle(&self) -> bool {
        self.waiting == 0 && self.running == 0
    }

    /// Forgets apps that are idle and not ahead of the others.
    fn sweep(&mut self) {
        if self.apps.len() > self.sweep_above {
            let (level, all_idle) = (self.level, self.is_idle());
            self.apps.retain(|_, app| !app.is_idle() || (app.used > level && !all_idle));
            self.sweep_above = SWEEP_ABOVE.max(2 * self.apps.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(app: &str) -> Owner {
        Owner::of_app(app)
    }

    /// Takes work and puts it back, as for a guest that never ends. Returns its owner.
    fn turn(queue: &mut FairQueue<&'static str>, used: u64) -> String {
        let (owner, work) = queue.pop().unwrap();
        queue.push(&owner, work);
        queue.done(&owner, used);
        owner.app.to_string()
    }

    #[test]
    fn a_busy_space_delays_another_by_one_turn() {
        let mut queue = FairQueue::new(2, 5);
        for _ in 0..64 {
            queue.push(&owner("acme:spin"), "spin");
        }
        for _ in 0..100 {
            assert_eq!(turn(&mut queue, 5), "acme:spin");
        }
        for _ in 0..20 {
            queue.push(&owner("bob:echo"), "echo");
            let first = queue.pop().unwrap();
            let (next, work) = if first.1 == "echo" { first } else { queue.pop().unwrap() };
            assert_eq!(work, "echo");
            queue.done(&next, 1);
            if queue.waiting("acme") < 64 {
                queue.push(&owner("acme:spin"), "spin");
                queue.done(&owner("acme:spin"), 5);
            }
        }
    }

    #[test]
    fn spaces_and_the_apps_of_a_space_share_by_use() {
        let mut queue = FairQueue::new(1, 5);
        for app in ["acme:long", "bob:short", "carl:one", "carl:two"] {
            for _ in 0..8 {
                queue.push(&owner(app), "work");
            }
        }
        let mut used: HashMap<String, u64> = HashMap::new();
        for _ in 0..4_000 {
            let (owner, work) = queue.pop().unwrap();
            let nanos = if &*owner.app == "acme:long" { 50 } else { 5 };
            queue.push(&owner, work);
            queue.done(&owner, nanos);
            *used.entry(owner.app.to_string()).or_default() += nanos;
        }
        let third = used.values().sum::<u64>() / 3;
        let is_near = |value: u64, to: u64| value.abs_diff(to) <= 100;
        assert!(is_near(used["acme:long"], third) && is_near(used["bob:short"], third), "{used:?}");
        assert!(is_near(used["carl:one"], third / 2) && is_near(used["carl:two"], third / 2), "{used:?}");
    }

    #[test]
    fn a_space_runs_at_most_its_share() {
        let mut queue = FairQueue::new(2, 5);
        for _ in 0..5 {
            queue.push(&owner("acme:spin"), "spin");
        }
        let taken = [queue.pop(), queue.pop()];
        assert!(taken.iter().all(Option::is_some) && queue.pop().is_none());
        queue.push(&owner("bob:echo"), "echo");
        assert_eq!(&*queue.pop().unwrap().0.space, "bob");
        queue.done(&owner("acme:spin"), 5);
        assert_eq!(&*queue.pop().unwrap().0.space, "acme");
    }

    #[test]
    fn idle_time_is_not_saved_up_and_idle_spaces_are_forgotten() {
        let mut queue = FairQueue::new(2, 5);
        queue.push(&owner("acme:spin"), "spin");
        for number in 0..1_000 {
            let once = owner(&format!("space{number}:app"));
            queue.push(&once, "once");
            while queue.waiting(&once.space) > 0 {
                let (owner, work) = queue.pop().unwrap();
                if work == "spin" {
                    queue.push(&owner, work);
                }
                queue.done(&owner, 5);
            }
        }
        assert!(queue.spaces.len() <= 2 * SWEEP_ABOVE, "{} spaces", queue.spaces.len());
        queue.push(&owner("late:spin"), "spin");
        let turns: Vec<String> = (0..20).map(|_| turn(&mut queue, 5)).collect();
        let late = turns.iter().filter(|app| *app == "late:spin").count();
        assert!((8..=12).contains(&late), "{turns:?}");
    }

    #[test]
    fn work_taken_before_clearing_can_still_be_completed() {
        let mut queue = FairQueue::new(2, 5);
        for app in ["acme:one", "acme:one", "acme:two", "bob:echo"] {
            queue.push(&owner(app), "work");
        }
        let (taken, _) = queue.pop().unwrap();
        assert_eq!((queue.drain().len(), queue.drain().len(), queue.waiting("acme")), (3, 0, 0));
        assert!(queue.pop().is_none());
        queue.done(&taken, 5);
        assert_eq!(queue.active, 0);
        queue.push(&owner("bob:echo"), "later");
        assert_eq!(queue.pop().unwrap().1, "later");
    }
}
