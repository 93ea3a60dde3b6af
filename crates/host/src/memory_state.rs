//! A state store in memory, for pages and for tests.

use std::{cell::RefCell, future::ready, rc::Rc};

use futures_util::future::LocalBoxFuture;
use litemap::LiteMap;
use starlane_node::{
    guest::Saved,
    state::{ActorState, KnownActor, Owned, StateError},
};
use starlane_protocol::Address;

use crate::ports::{StateLimits, StateStore};

type Done<T> = LocalBoxFuture<'static, Result<T, StateError>>;

/// A state store in memory. Clones share the content.
#[derive(Clone, Default)]
pub struct MemoryStateStore(Rc<RefCell<Kept>>);

#[derive(Default)]
struct Kept {
    limits: StateLimits,
    apps: LiteMap<Address, KeptApp>,
}

#[derive(Default)]
struct KeptApp {
    epoch: u64,
    actors: LiteMap<Address, ActorState>,
}

impl MemoryStateStore {
    /// Makes an empty store with limits.
    pub fn new(limits: StateLimits) -> Self {
        Self(Rc::new(RefCell::new(Kept { limits, apps: LiteMap::new() })))
    }

    fn with<T: 'static>(&self, work: impl FnOnce(&mut Kept) -> Result<T, StateError>) -> Done<T> {
        Box::pin(ready(work(&mut self.0.borrow_mut())))
    }
}

impl StateStore for MemoryStateStore {
    fn take(&self, app: &Address) -> Done<Owned> {
        self.with(|kept| {
            let kept = kept.apps.entry(app.clone()).or_default();
            kept.epoch += 1;
            let known = |state: &ActorState| KnownActor {
                address: state.address.clone(),
                made_for: state.made_for.clone(),
                has_state: state.saved.is_some(),
                saved_ago_ms: None,
                subscriptions: state.subscriptions.clone(),
                wakes: state.wakes.clone(),
            };
            Ok(Owned { epoch: kept.epoch, actors: kept.actors.values().map(known).collect() })
        })
    }

    fn load(&self, app: &Address, actor: &Address) -> Done<Option<Saved>> {
        self.with(|kept| {
            let state = kept.apps.get(app).and_then(|kept| kept.actors.get(actor));
            Ok(state.and_then(|state| state.saved.clone()))
        })
    }

    fn save(&self, app: &Address, epoch: u64, state: ActorState) -> Done<()> {
        self.with(|kept| {
            let limits = kept.limits;
            let Some(kept) = kept.apps.get_mut(app).filter(|kept| kept.epoch == epoch) else {
                return Err(StateError::Fenced);
            };
            if state.is_empty() {
                kept.actors.remove(&state.address);
                return Ok(());
            }
            let others = kept.actors.values().filter(|other| other.address != state.address);
            limits.check(others.map(StateLimits::weight).sum(), StateLimits::weight(&state))?;
            kept.actors.insert(state.address.clone(), state);
            Ok(())
        })
    }

    fn forget(&self, app: &Address) -> Done<()> {
        self.with(|kept| {
            if let Some(kept) = kept.apps.get_mut(app) {
                kept.epoch += 1;
                kept.actors = LiteMap::new();
            }
            Ok(())
        })
    }
}
