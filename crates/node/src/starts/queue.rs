//! The actors that wait for an instance, in turns. An app is in the queue of its space, and a space in the queue of all
//! spaces, only while it can have one more awake actor. So the work for a start does not depend on the number of
//! waiting actors.

use std::{collections::VecDeque, rc::Rc};

use crate::{
    actor::ActorId,
    limits::ActorLimits,
    maps::Map,
    shares::{Account, Share},
};

/// The actors that wait for an instance.
#[derive(Debug, Default)]
pub(crate) struct StartQueue {
    /// The waiting apps, by the numbers of their shares.
    lines: Map<u64, Line>,
    /// For each space, the waiting apps that may have one more awake actor, by the number of the space's share.
    apps: Map<u64, Turns>,
    /// The spaces that have such an app and may have one more awake actor.
    spaces: Turns,
    turn: u64,
    /// Accounts that changed since slots were last filled.
    changed: Vec<Account>,
    /// The host had no room for an instance. It is asked again soon.
    pub(crate) full: bool,
    /// The host is closing: nothing starts any more.
    pub(crate) closed: bool,
}

/// The waiting actors of one app.
#[derive(Debug)]
struct Line {
    account: Account,
    waiting: VecDeque<ActorId>,
}

/// Shares in the order of their last turns, by their numbers.
#[derive(Debug, Default)]
struct Turns(Map<(u64, u64), ()>);

impl Turns {
    fn set(&mut self, share: &Share, ready: bool) {
        let place = (share.turn.get(), share.number);
        if ready {
            self.0.insert(place, ());
        } else {
            self.0.remove(&place);
        }
    }

    fn first(&self) -> Option<u64> {
        self.0.keys().next().map(|(_, number)| *number)
    }
}

impl StartQueue {
    /// Adds a waiting actor, before or after the others of its app.
    pub(crate) fn push(&mut self, account: &Account, id: ActorId, first: bool) {
        let number = account.app.number;
        match self.lines.get_mut(&number) {
            Some(line) if first => line.waiting.push_front(id),
            Some(line) => line.waiting.push_back(id),
            None => {
                self.lines.insert(number, Line { account: account.clone(), waiting: [id].into() });
            }
        }
        self.changed(account);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Marks an account: an actor of it has lost its instance, come to rest, or started to wait.
    pub(crate) fn changed(&mut self, account: &Account) {
        if !self.is_empty() {
            self.changed.push(account.clone());
        }
    }

    /// The next account that changed.
    pub(crate) fn next_changed(&mut self) -> Option<Account> {
        self.changed.pop()
    }

    /// Updates the places of an app and its space, by their awake and waiting actors.
    pub(crate) fn order(&mut self, account: &Account, limits: &ActorLimits) {
        let Account { app, space, .. } = account;
        let apps = self.apps.entry(space.number).or_default();
        apps.set(app, self.lines.contains_key(&app.number) && !app.is_full(limits.awake_per_app));
        let none = apps.0.is_empty();
        if none {
            self.apps.remove(&space.number);
        }
        self.spaces.set(space, !none && !space.is_full(limits.awake_per_space));
    }

    /// Takes the next actor to get an instance, among the apps and spaces that may have one more.
    pub(crate) fn next(&mut self, limits: &ActorLimits) -> Option<(ActorId, Account)> {
        let number = self.next_of(self.spaces.first()?)?;
        let line = self.lines.get_mut(&number)?;
        let (id, account) = (line.waiting.pop_front()?, line.account.clone());
        if line.waiting.is_empty() {
            self.lines.remove(&number);
        }
        // They leave their old places before these change; `order` gives them new ones.
        self.turn += 1;
        self.spaces.set(&account.space, false);
        if let Some(apps) = self.apps.get_mut(&account.space.number) {
            apps.set(&account.app, false);
        }
        account.app.turn.set(self.turn);
        account.space.turn.set(self.turn);
        self.order(&account, limits);
        Some((id, account))
    }

    /// How many actors wait for room that an actor of `share` would make: those of the app if it is full; else of the app whose
    /// turn it is in the space, if the space is full; else of the app whose turn it is.
    pub(crate) fn waiting_for(&self, share: &Rc<Share>, account: &Account) -> usize {
        let app = match () {
            () if Rc::ptr_eq(share, &account.app) => Some(share.number),
            () if Rc::ptr_eq(share, &account.space) => self.next_of(share.number),
            () => self.spaces.first().and_then(|space| self.next_of(space)),
        };
        app.and_then(|app| self.lines.get(&app)).map_or(0, |line| line.waiting.len())
    }

    /// The app whose turn it is in a space.
    fn next_of(&self, space: u64) -> Option<u64> {
        self.apps.get(&space)?.first()
    }
}
