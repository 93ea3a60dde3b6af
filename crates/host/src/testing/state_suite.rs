//! The contract of state stores. Each case gets an empty store; [`all`] runs the cases one after another.

// The cases of a suite fail by panics.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{future::Future, rc::Rc};

use starlane_node::{guest::Saved, state::ActorState};
use starlane_protocol::{Address, Topic};

use crate::ports::{StateError, StateLimits, StateStore};

/// Limits that a test can reach.
const LIMITS: StateLimits = StateLimits { actor_bytes: 1_000, app_bytes: 2_500 };

/// Runs all cases, each on a new store from `fresh`, which gets the limits.
pub async fn all<F: Future<Output = Rc<dyn StateStore>>>(fresh: impl Fn(StateLimits) -> F) {
    let roomy = StateLimits::default();
    nothing_is_kept_at_first(&*fresh(roomy).await).await;
    what_is_saved_comes_back(&*fresh(roomy).await).await;
    the_last_save_wins(&*fresh(roomy).await).await;
    empty_state_is_dropped(&*fresh(roomy).await).await;
    apps_stay_apart(&*fresh(roomy).await).await;
    an_earlier_owner_is_fenced(&*fresh(roomy).await).await;
    a_forgotten_app_has_no_owner(&*fresh(roomy).await).await;
    saves_take_effect_in_the_order_of_the_calls(&*fresh(roomy).await).await;
    limits_hold_and_name_themselves(&*fresh(LIMITS).await).await;
}

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn app() -> Address {
    address("acme:app")
}

fn state(actor: &str, data: impl Into<Vec<u8>>) -> ActorState {
    ActorState {
        address: address(actor),
        made_for: "ada".to_owned(),
        saved: Some(Saved { format: 1, data: data.into().into() }),
        subscriptions: Vec::new(),
        wakes: Vec::new(),
    }
}

async fn data(store: &dyn StateStore, actor: &str) -> Option<Vec<u8>> {
    store.load(&app(), &address(actor)).await.unwrap().map(|saved| saved.data.to_vec())
}

/// An app without state can also have an owner.
pub async fn nothing_is_kept_at_first(store: &dyn StateStore) {
    assert_eq!(store.load(&app(), &address("acme:app:one")).await, Ok(None));
    let owned = store.take(&app()).await.unwrap();
    assert!(owned.epoch > 0 && owned.actors.is_empty(), "{owned:?}");
    assert_eq!(store.forget(&address("acme:other")).await, Ok(()));
}

/// Every byte value, the largest numbers, keys in addresses, and subscriptions without state.
pub async fn what_is_saved_comes_back(store: &dyn StateStore) {
    let epoch = store.take(&app()).await.unwrap().epoch;
    let every: Vec<u8> = (0..=255).collect();
    let full = ActorState {
        saved: Some(Saved { format: u32::MAX, data: every.into() }),
        subscriptions: vec![Topic::parse("acme:app:one#changes").unwrap(), Topic::parse("bob:b:c#d").unwrap()],
        wakes: vec![(1_800_000_000_000, u64::MAX), (1_800_000_000_000, 0), (1 << 52, 7)],
        ..state("acme:app:keyed:xn--_3c-a", "")
    };
    let listening = ActorState { saved: None, made_for: String::new(), ..full.clone() };
    let listening = ActorState { address: address("acme:app:listens"), ..listening };
    for state in [&full, &listening] {
        store.save(&app(), epoch, state.clone()).await.unwrap();
        assert_eq!(store.load(&app(), &state.address).await.unwrap(), state.saved);
    }
    // An empty state is also a state.
    store.save(&app(), epoch, state("acme:app:one", "")).await.unwrap();
    assert_eq!(data(store, "acme:app:one").await, Some(Vec::new()));
    let owned = store.take(&app()).await.unwrap();
    let known = |actor: &Address| owned.actors.iter().find(|known| known.address == *actor).unwrap().clone();
    for state in [&full, &listening] {
        let known = known(&state.address);
        assert_eq!(known.has_state, state.saved.is_some());
        assert_eq!((known.made_for, known.subscriptions), (state.made_for.clone(), state.subscriptions.clone()));
        assert_eq!(known.wakes, state.wakes);
    }
    assert_eq!(owned.actors.len(), 3);
}

/// A save replaces the stored state. Saving the same state again changes nothing.
pub async fn the_last_save_wins(store: &dyn StateStore) {
    let epoch = store.take(&app()).await.unwrap().epoch;
    for text in ["1", "2", "2", "", "3"] {
        store.save(&app(), epoch, state("acme:app:one", text)).await.unwrap();
        assert_eq!(data(store, "acme:app:one").await, Some(text.as_bytes().to_vec()));
    }
    assert_eq!(store.take(&app()).await.unwrap().actors.len(), 1);
}

/// An actor without state, subscriptions and wakes has no entry.
pub async fn empty_state_is_dropped(store: &dyn StateStore) {
    let epoch = store.take(&app()).await.unwrap().epoch;
    let empty = ActorState { saved: None, ..state("acme:app:one", "") };
    store.save(&app(), epoch, empty.clone()).await.unwrap();
    store.save(&app(), epoch, state("acme:app:one", "1")).await.unwrap();
    store.save(&app(), epoch, empty).await.unwrap();
    assert_eq!(data(store, "acme:app:one").await, None);
    assert!(store.take(&app()).await.unwrap().actors.is_empty());
}

/// Also of apps whose addresses have the same beginning.
pub async fn apps_stay_apart(store: &dyn StateStore) {
    let other = address("acme:app2");
    let (one, two) = (store.take(&app()).await.unwrap().epoch, store.take(&other).await.unwrap().epoch);
    store.save(&app(), one, state("acme:app:one", "1")).await.unwrap();
    store.save(&other, two, state("acme:app2:one", "2")).await.unwrap();
    store.forget(&other).await.unwrap();
    assert_eq!(data(store, "acme:app:one").await, Some(b"1".to_vec()));
    assert_eq!(store.load(&other, &address("acme:app2:one")).await, Ok(None));
    assert_eq!(store.take(&app()).await.unwrap().actors.len(), 1);
}

/// The later of two owners can write, also over entries of the earlier one.
pub async fn an_earlier_owner_is_fenced(store: &dyn StateStore) {
    let never = store.save(&app(), 0, state("acme:app:one", "0")).await;
    assert_eq!(never, Err(StateError::Fenced));
    let first = store.take(&app()).await.unwrap().epoch;
    store.save(&app(), first, state("acme:app:one", "1")).await.unwrap();
    let second = store.take(&app()).await.unwrap().epoch;
    assert!(second > first, "{second} after {first}");
    assert_eq!(store.save(&app(), first, state("acme:app:one", "2")).await, Err(StateError::Fenced));
    assert_eq!(store.save(&app(), first, state("acme:app:two", "2")).await, Err(StateError::Fenced));
    let early = store.save(&app(), second + 1, state("acme:app:one", "2")).await;
    assert_eq!(early, Err(StateError::Fenced), "nobody has been given that epoch");
    assert_eq!(data(store, "acme:app:one").await, Some(b"1".to_vec()));
    assert_eq!(data(store, "acme:app:two").await, None);
    store.save(&app(), second, state("acme:app:one", "3")).await.unwrap();
    assert_eq!(data(store, "acme:app:one").await, Some(b"3".to_vec()));
}

/// The earlier owner must not restore removed state.
pub async fn a_forgotten_app_has_no_owner(store: &dyn StateStore) {
    let first = store.take(&app()).await.unwrap().epoch;
    store.save(&app(), first, state("acme:app:one", "1")).await.unwrap();
    store.forget(&app()).await.unwrap();
    assert_eq!(data(store, "acme:app:one").await, None);
    assert_eq!(store.save(&app(), first, state("acme:app:one", "2")).await, Err(StateError::Fenced));
    let second = store.take(&app()).await.unwrap();
    assert!(second.epoch > first && second.actors.is_empty(), "{second:?}");
}

/// Calls are made without waiting for earlier ones.
pub async fn saves_take_effect_in_the_order_of_the_calls(store: &dyn StateStore) {
    let epoch = store.take(&app()).await.unwrap().epoch;
    let save = |n: usize| store.save(&app(), epoch, state(&format!("acme:app:keyed:{}", n % 4), n.to_string()));
    let saves: Vec<_> = (0..64).map(save).collect();
    let loads: Vec<_> = (0..4).map(|n| store.load(&app(), &address(&format!("acme:app:keyed:{n}")))).collect();
    let taken = store.take(&app());
    for saved in futures_util::future::join_all(saves).await {
        saved.unwrap();
    }
    for (n, loaded) in futures_util::future::join_all(loads).await.into_iter().enumerate() {
        assert_eq!(loaded.unwrap().unwrap().data, (60 + n).to_string());
    }
    assert_eq!(taken.await.unwrap().actors.len(), 4);
}

/// A state over a limit is refused, the stored state stays, and released room can be used again.
pub async fn limits_hold_and_name_themselves(store: &dyn StateStore) {
    let epoch = store.take(&app()).await.unwrap().epoch;
    let weighing = |actor: &str, bytes: u64| {
        let own = StateLimits::weight(&state(actor, ""));
        state(actor, vec![7; (bytes - own) as usize])
    };
    let save = |actor: &str, bytes: u64| store.save(&app(), epoch, weighing(actor, bytes));
    save("acme:app:one", 1_000).await.unwrap();
    match save("acme:app:one", 1_001).await {
        Err(StateError::TooLarge(text)) => assert!(text.contains("1001") && text.contains("state-bytes"), "{text}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        data(store, "acme:app:one").await,
        weighing("acme:app:one", 1_000).saved.map(|saved| saved.data.to_vec())
    );
    save("acme:app:two", 1_000).await.unwrap();
    match save("acme:app:three", 501).await {
        Err(StateError::Full(text)) => assert!(text.contains("2500") && text.contains("state-bytes-per-app"), "{text}"),
        other => panic!("{other:?}"),
    }
    save("acme:app:two", 900).await.unwrap();
    save("acme:app:three", 600).await.unwrap();
    assert!(matches!(save("acme:app:two", 901).await, Err(StateError::Full(_))));
    let gone = ActorState { saved: None, ..state("acme:app:three", "") };
    store.save(&app(), epoch, gone).await.unwrap();
    save("acme:app:two", 1_000).await.unwrap();
    // Actors with only subscriptions count, too.
    let listening = ActorState {
        saved: None,
        subscriptions: (0..100).map(|n| Topic::parse(&format!("acme:app:one#changes-{n}")).unwrap()).collect(),
        ..state("acme:app:three", "")
    };
    assert!(matches!(store.save(&app(), epoch, listening).await, Err(StateError::TooLarge(_))));
    let other = address("acme:other");
    let epoch = store.take(&other).await.unwrap().epoch;
    store.save(&other, epoch, state("acme:other:one", vec![7; 500])).await.unwrap();
}
