use std::rc::Rc;

use starlane_host::testing::state_suite;
use starlane_protocol::Topic;

use super::*;
use crate::limits::{Limit, ServerLimits};

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn open_with(data: &Path, limits: StateLimits) -> Result<SqliteStateStore, String> {
    open_under(data, limits, ServerLimits::default())
}

fn open_under(data: &Path, limits: StateLimits, all: ServerLimits) -> Result<SqliteStateStore, String> {
    let limiter = Limiter::new(all);
    SqliteStateStore::open(data, limits, &limiter, &Storage::new(data, limiter.clone()))
}

fn open(data: &Path) -> Result<SqliteStateStore, String> {
    open_with(data, StateLimits::default())
}

fn state(actor: &str, data: &[u8]) -> ActorState {
    ActorState {
        address: address(actor),
        made_for: String::new(),
        saved: Some(Saved { format: 1, data: data.to_vec().into() }),
        subscriptions: vec![Topic::parse("acme:app:one#changes").unwrap()],
        wakes: vec![(7, 8)],
    }
}

#[tokio::test]
async fn the_store_passes_the_contract_suite() {
    let folder = tempfile::tempdir().unwrap();
    let next = std::cell::Cell::new(0);
    state_suite::all(|limits| {
        next.set(next.get() + 1);
        let own = folder.path().join(next.get().to_string());
        std::fs::create_dir(&own).unwrap();
        let store = open_with(&own, limits).unwrap();
        async { Rc::new(store) as Rc<dyn StateStore> }
    })
    .await;
}

#[tokio::test]
async fn state_survives_reopening_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let app = address("acme:app");
    let store = open(folder.path()).unwrap();
    let first = store.take(&app).await.unwrap().epoch;
    store.save(&app, first, state("acme:app:one", b"1")).await.unwrap();
    // The first store is not closed, as if its process had been killed.
    let other = open(folder.path()).unwrap();
    let owned = other.take(&app).await.unwrap();
    assert!(owned.epoch > first);
    let [known] = &owned.actors[..] else { panic!("{owned:?}") };
    assert_eq!((known.wakes.as_slice(), known.subscriptions.len(), known.has_state), (&[(7, 8)][..], 1, true));
    assert_eq!(other.load(&app, &known.address).await.unwrap().unwrap().data, b"1"[..]);
    assert_eq!(store.save(&app, first, state("acme:app:one", b"2")).await, Err(StateError::Fenced));
}

#[tokio::test]
async fn unchanged_state_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let app = address("acme:app");
    let epoch = store.take(&app).await.unwrap().epoch;
    for data in [b"1", b"1", b"2", b"2", b"1"] {
        store.save(&app, epoch, state("acme:app:one", data)).await.unwrap();
    }
    let woken = ActorState { wakes: Vec::new(), ..state("acme:app:one", b"1") };
    store.save(&app, epoch, woken).await.unwrap();
    let counts = store.counts();
    assert_eq!((counts.written.load(Relaxed), counts.unchanged.load(Relaxed)), (4, 2));
}

#[tokio::test]
async fn state_counts_for_the_quota_of_its_space() {
    let folder = tempfile::tempdir().unwrap();
    let mut limits = ServerLimits::default();
    limits.set(Limit::SpaceStorage, 1 << 20).unwrap();
    let full = vec![7; 600_000];
    for start in 0..2 {
        let store = open_under(folder.path(), StateLimits::default(), limits.clone()).unwrap();
        for (app, fits) in [("acme:one", true), ("acme:two", false), ("other:app", true)] {
            let epoch = store.take(&address(app)).await.unwrap().epoch;
            let saved = store.save(&address(app), epoch, state(&format!("{app}:actor"), &full)).await;
            match (&saved, fits) {
                (Ok(()), true) => {}
                (Err(StateError::Full(text)), false) => assert!(text.contains("space-storage"), "{text}"),
                _ => panic!("start {start}, {app}: {saved:?}"),
            }
        }
    }
    let store = open_under(folder.path(), StateLimits::default(), limits).unwrap();
    store.forget(&address("acme:one")).await.unwrap();
    let epoch = store.take(&address("acme:two")).await.unwrap().epoch;
    store.save(&address("acme:two"), epoch, state("acme:two:actor", &full)).await.unwrap();
}

#[tokio::test]
async fn waiting_saves_share_transactions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let app = address("acme:app");
    let epoch = store.take(&app).await.unwrap().epoch;
    let saves = (0..1_000).map(|n| store.save(&app, epoch, state(&format!("acme:app:keyed:{n}"), b"1")));
    let saves: Vec<_> = saves.collect();
    for saved in futures_util::future::join_all(saves).await {
        saved.unwrap();
    }
    assert_eq!(store.counts().written.load(Relaxed), 1_000);
    assert!(store.counts().commits.load(Relaxed) < 1_000, "{:?}", store.counts());
}

#[test]
fn the_error_names_the_version_of_a_newer_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state.sqlite");
    crate::database::open_file(&file, rusqlite::OpenFlags::default())
        .unwrap()
        .pragma_update(None, "user_version", 9)
        .unwrap();
    let error = open(folder.path()).map(drop).unwrap_err();
    assert!(error.contains("version 9") && error.contains("version 1"), "{error}");
    std::fs::write(&file, b"not a database, but long enough to be read as one").unwrap();
    assert!(open(folder.path()).is_err());
}

#[cfg(unix)]
#[test]
fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path()).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", entry.path());
    }
}
