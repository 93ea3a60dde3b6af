//! The budget of the cache: which bundles are evicted first, which never, and how tabs share it.

use std::rc::Rc;

use bytes::Bytes;
use starlane_browser::{BrowserTime, IndexedDbStore};
use starlane_bundle::{Digest, Used};
use starlane_host::{
    BlobCounts,
    ports::{BundleStore, RecordStore, StoreError},
    testing::launch_world::{World, address, publisher},
};
use starlane_protocol::Address;
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Patch, faster_timers, fresh_name, open_store, record, script, stored, stored_keys};

/// The size of each blob here, in bytes.
const SIZE: usize = 1000;

fn blob(number: u8) -> (Digest, Bytes) {
    let bytes = Bytes::from(vec![number; SIZE]);
    (Digest::of(&bytes), bytes)
}

fn bundle(name: &str) -> Address {
    address(&format!("acme:repo:{name}:1.0.0"))
}

/// Uses a bundle of these blobs, and stores as many of them as fit. Returns its address.
async fn used(store: &IndexedDbStore, name: &str, blobs: &[u8]) -> Address {
    let digests = blobs.iter().map(|number| blob(*number).0).collect();
    store.pin(&bundle(name), digests).await.unwrap();
    for number in blobs {
        let (digest, bytes) = blob(*number);
        store.put_blob(&digest, bytes).await.unwrap();
    }
    bundle(name)
}

/// Uses a bundle and releases it.
async fn visited(store: &IndexedDbStore, name: &str, blobs: &[u8]) {
    let bundle = used(store, name, blobs).await;
    store.unpin(&bundle);
}

/// Waits until no tab holds a lock of a database: the locks of a closing tab stay visible for a while.
async fn locks_end(name: &str) {
    let gone = "while ((await navigator.locks.query()).held.some(({ name }) => name.endsWith(given))) \
        await new Promise((resolve) => setTimeout(resolve, 10));";
    script(gone, &JsValue::from_str(name)).await;
}

/// The cached ones of these blobs.
async fn kept(store: &IndexedDbStore, blobs: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let mut kept = Vec::new();
    for number in blobs {
        if let Some(bytes) = store.blob(&blob(number).0).await.unwrap() {
            assert_eq!(bytes, blob(number).1);
            kept.push(number);
        }
    }
    kept
}

#[wasm_bindgen_test]
async fn the_least_recently_used_bundle_is_evicted_first_and_whole() {
    let name = fresh_name();
    let (store, reasons) = open_store(&name, 6.0 * SIZE as f64);
    visited(&store, "a", &[1, 2]).await;
    visited(&store, "b", &[3, 4]).await;
    visited(&store, "c", &[5, 6]).await;
    visited(&store, "a", &[]).await;
    assert_eq!(kept(&store, 1..=6).await, [1, 2, 3, 4, 5, 6], "all fit, to the byte");
    // `a` was used again, but without blobs. Its earlier blobs belong to no bundle now, and are evicted first.
    visited(&store, "d", &[7]).await;
    assert_eq!(kept(&store, 1..=7).await, [3, 4, 5, 6, 7]);
    visited(&store, "b", &[3, 4]).await;
    visited(&store, "e", &[8, 9]).await;
    assert_eq!(kept(&store, 1..=9).await, [3, 4, 7, 8, 9], "`c` was used before `b`");
    assert_eq!(stored(&name, "settings", "total").await.as_f64(), Some(5.0 * SIZE as f64));
    assert!(reasons.borrow().is_empty());
}

#[wasm_bindgen_test]
async fn bundles_in_use_stay_and_a_blob_that_does_not_fit_is_refused() {
    let (store, reasons) = open_store(&fresh_name(), 3.0 * SIZE as f64);
    visited(&store, "old", &[9]).await;
    let first = used(&store, "a", &[1, 2]).await;
    let (digest, bytes) = blob(3);
    store.pin(&bundle("b"), vec![digest, blob(4).0]).await.unwrap();
    store.put_blob(&digest, bytes).await.unwrap();
    assert_eq!(kept(&store, [1, 2, 3, 9]).await, [1, 2, 3]);
    let refused = store.put_blob(&blob(4).0, blob(4).1).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Full(reason) if reason.contains("in use")), "{refused}");
    assert_eq!(kept(&store, 1..=4).await, [1, 2, 3], "nothing was evicted for it");
    // Pinned twice and released once, it stays.
    store.pin(&first, vec![blob(1).0, blob(2).0]).await.unwrap();
    store.unpin(&first);
    store.put_blob(&blob(4).0, blob(4).1).await.unwrap_err();
    // An app that moves to another bundle releases the first.
    store.pin(&bundle("a2"), vec![blob(2).0]).await.unwrap();
    store.unpin(&first);
    store.put_blob(&blob(4).0, blob(4).1).await.unwrap();
    assert_eq!(kept(&store, 1..=4).await, [2, 3, 4], "the blob that both have stays");
    assert!(reasons.borrow().is_empty());
}

#[wasm_bindgen_test]
async fn a_blob_of_two_bundles_is_evicted_with_the_last() {
    let (store, _) = open_store(&fresh_name(), 3.0 * SIZE as f64);
    visited(&store, "a", &[1, 2]).await;
    visited(&store, "b", &[2, 3]).await;
    visited(&store, "c", &[4]).await;
    assert_eq!(kept(&store, 1..=4).await, [2, 3, 4]);
    visited(&store, "d", &[5]).await;
    assert_eq!(kept(&store, 1..=5).await, [4, 5]);
}

#[wasm_bindgen_test]
async fn records_are_never_evicted() {
    let (store, _) = open_store(&fresh_name(), 1.0);
    let record = record(7);
    store.put_record(record.clone()).await.unwrap();
    for number in 0..10 {
        let (digest, bytes) = blob(number);
        store.put_blob(&digest, bytes).await.unwrap_err();
    }
    assert_eq!(store.record(&record.app).await, Ok(Some(record)));
}

#[wasm_bindgen_test]
async fn tabs_share_the_budget_and_see_each_others_bundles() {
    let name = fresh_name();
    let (one, two) = (open_store(&name, 4.0 * SIZE as f64).0, open_store(&name, 4.0 * SIZE as f64).0);
    used(&one, "a", &[1]).await;
    visited(&one, "b", &[2]).await;
    // The other tab has used none of these, and learns of them only from the database.
    visited(&two, "c", &[3, 4, 5]).await;
    assert_eq!(kept(&two, 1..=5).await, [1, 3, 4, 5], "`a` is older, and runs in the first tab");
    drop(one);
    locks_end(&name).await;
    visited(&two, "d", &[6]).await;
    assert_eq!(kept(&two, 1..=6).await, [3, 4, 5, 6], "the first tab is closed");
    // Simultaneous puts of both tabs stay within the budget.
    let (three, four) = (open_store(&name, 4.0 * SIZE as f64).0, open_store(&name, 4.0 * SIZE as f64).0);
    let puts = (10..30).map(|number| {
        let (digest, bytes) = blob(number);
        if number % 2 == 0 { three.put_blob(&digest, bytes) } else { four.put_blob(&digest, bytes) }
    });
    futures_util::future::join_all(puts).await;
    let left = kept(&two, 1..30).await;
    let total = stored(&name, "settings", "total").await.as_f64().unwrap();
    assert_eq!(total, (left.len() * SIZE) as f64, "{left:?}");
    assert!(total <= 4.0 * SIZE as f64);
}

#[wasm_bindgen_test]
async fn a_pin_that_is_released_before_other_tabs_see_it_is_released() {
    let name = fresh_name();
    let (store, _) = open_store(&name, 4.0 * SIZE as f64);
    let mut pinning = store.pin(&bundle("a"), Vec::new());
    assert!(futures_util::poll!(&mut pinning).is_pending());
    store.unpin(&bundle("a"));
    pinning.await.unwrap();
    locks_end(&name).await;
}

#[wasm_bindgen_test]
async fn without_locks_another_tab_evicts_by_the_time_of_use() {
    let _patch = Patch::apply(
        "Object.defineProperty(navigator, 'locks', { value: undefined, configurable: true }); \
         return () => { delete navigator.locks; };",
    );
    let name = fresh_name();
    let (one, two) = (open_store(&name, 2.0 * SIZE as f64).0, open_store(&name, 2.0 * SIZE as f64).0);
    visited(&one, "b", &[2]).await;
    used(&one, "a", &[1]).await;
    visited(&two, "c", &[3]).await;
    assert_eq!(kept(&two, 1..=3).await, [1, 3]);
}

/// A lock manager that hangs. The bundles of other tabs are unknown then, so none is evicted, and the store does not wait for long.
#[wasm_bindgen_test]
async fn without_an_answer_about_locks_only_blobs_without_a_bundle_are_evicted() {
    let (store, reasons) = open_store(&fresh_name(), 3.0 * SIZE as f64);
    visited(&store, "a", &[1]).await;
    visited(&store, "b", &[2]).await;
    let (digest, bytes) = blob(3);
    store.put_blob(&digest, bytes).await.unwrap();
    let hanging = Patch::apply(
        "const own = LockManager.prototype.query; LockManager.prototype.query = () => new Promise(() => {}); \
         return () => { LockManager.prototype.query = own; };",
    );
    let faster = faster_timers(10);
    visited(&store, "c", &[4]).await;
    assert_eq!(kept(&store, 1..=4).await, [1, 2, 4]);
    let refused = store.put_blob(&blob(5).0, blob(5).1).await.unwrap_err();
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    drop((hanging, faster));
    store.put_blob(&blob(5).0, blob(5).1).await.unwrap();
    assert_eq!(kept(&store, 1..=5).await, [2, 4, 5]);
    assert!(reasons.borrow().is_empty());
}

/// Evicted bundles leave no rows behind, which would slow each step down in time.
#[wasm_bindgen_test]
async fn bundles_without_cached_blobs_are_forgotten() {
    let name = fresh_name();
    let (store, _) = open_store(&name, 2.0 * SIZE as f64);
    used(&store, "running", &[]).await;
    for number in 0..10 {
        visited(&store, &format!("empty{number}"), &[]).await;
        visited(&store, &format!("gone{number}"), &[number]).await;
    }
    assert_eq!(kept(&store, 0..10).await, [8, 9]);
    let known = stored_keys(&name, "bundles").await;
    // The next step forgets a bundle that is evicted now, but never the latest one or a running one.
    let expected = ["empty9", "gone7", "gone8", "gone9", "running"].map(|name| bundle(name).to_string());
    assert_eq!(known, expected);
    // Even if nothing can be evicted, a refused bundle is forgotten.
    store.pin(&bundle("gone8"), vec![blob(8).0, blob(9).0]).await.unwrap();
    for number in 10..20 {
        let bundle = bundle(&format!("refused{number}"));
        store.pin(&bundle, vec![blob(number).0]).await.unwrap();
        store.put_blob(&blob(number).0, blob(number).1).await.unwrap_err();
        store.unpin(&bundle);
    }
    let known = stored_keys(&name, "bundles").await;
    let expected = ["gone8", "refused18", "refused19", "running"].map(|name| bundle(name).to_string());
    assert_eq!(known, expected);
}

/// Makes the next `times` puts into a store find no room.
fn full(times: u32, store: &str) -> Patch {
    Patch::apply(&format!(
        "const own = IDBObjectStore.prototype.put; let left = {times}; \
         IDBObjectStore.prototype.put = function (...all) {{ \
           if (this.name === '{store}' && left-- > 0) throw new DOMException('no room', 'QuotaExceededError'); \
           return own.apply(this, all); }}; \
         return () => {{ IDBObjectStore.prototype.put = own; }};"
    ))
}

#[wasm_bindgen_test]
async fn without_room_on_the_disk_the_oldest_bundle_is_evicted_and_the_put_retried() {
    let (store, reasons) = open_store(&fresh_name(), 1e9);
    visited(&store, "a", &[1]).await;
    visited(&store, "b", &[2]).await;
    used(&store, "c", &[3]).await;
    let patch = full(1, "blobs");
    store.put_blob(&blob(4).0, blob(4).1).await.unwrap();
    assert_eq!(kept(&store, 1..=4).await, [2, 3, 4], "one went, for one");
    drop(patch);
    let _patch = full(1000, "blobs");
    let refused = store.put_blob(&blob(5).0, blob(5).1).await.unwrap_err();
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    assert!(kept(&store, 1..=5).await.contains(&3), "what is in use stays");
    assert!(reasons.borrow().is_empty(), "the store goes on");
}

#[wasm_bindgen_test]
async fn without_any_room_an_app_launches_and_the_log_reports_it() {
    for patch in [None, Some(full(1_000_000, "blobs"))] {
        let budget = if patch.is_some() { 1e9 } else { 0.0 };
        let world = World::new(Rc::new(BrowserTime), Rc::new(open_store(&fresh_name(), budget).0));
        let signed = world.publish("acme:repo:app:1.0.0", &[("/module.wasm", b"a module")]);
        world.say("acme:app", 1, "acme:repo:app:1.0.0", &signed);
        for _ in 0..2 {
            let page = world.page();
            page.launch("acme:app").await.unwrap();
            assert_eq!(page.0.blob_counts(), BlobCounts { fetched: 1, cached: 0, healed: 0 });
            let logs = world.take_logs();
            assert!(logs.iter().any(|line| line.contains("a blob can't be kept: the store is full")), "{logs:?}");
        }
    }
}

#[wasm_bindgen_test]
async fn launched_apps_stay_while_others_come_and_go() {
    let (store, _) = open_store(&fresh_name(), 12_000.0);
    let world = World::new(Rc::new(BrowserTime), Rc::new(store));
    for number in 0..5_u8 {
        let module = vec![number; 2_000];
        let bundle = format!("acme:repo:app{number}:1.0.0");
        let signed = world.publish_as(&bundle, &[("/module.wasm", &module)], &publisher(), |_| {});
        world.say(&format!("acme:app{number}"), 1, &bundle, &signed);
    }
    let page = world.page();
    page.launch("acme:app0").await.unwrap();
    page.launch("acme:app1").await.unwrap();
    page.0.uninstall(&address("acme:app1"));
    for number in 2..5 {
        page.launch(&format!("acme:app{number}")).await.unwrap();
        page.0.uninstall(&address(&format!("acme:app{number}")));
    }
    let logs = world.take_logs();
    assert!(!logs.iter().any(|line| line.contains("can't be kept")), "{logs:?}");
    drop(page);
    world.set_away(true);
    let page = world.page();
    page.launch("acme:app0").await.unwrap();
    page.launch("acme:app4").await.unwrap();
    assert_eq!(page.0.blob_counts(), BlobCounts { fetched: 0, cached: 2, healed: 0 });
    assert_eq!(page.refused("acme:app1").await, "offline", "it made room");
    // Evicting a bundle does not forget the revision that was seen.
    world.set_away(false);
    let old = world.publish("acme:repo:app1:0.9.0", &[]);
    world.say("acme:app1", 0, "acme:repo:app1:0.9.0", &old);
    assert_eq!(world.page().refused("acme:app1").await, "rollback");
}

/// Modules of other authors stay like the app's own.
#[wasm_bindgen_test]
async fn modules_of_other_authors_stay_while_their_app_is_used_anywhere() {
    const WIDGETS: &str = "bob:repo:widgets:1.0.0";
    let (store, _) = open_store(&fresh_name(), 9_000.0);
    let world = World::new(Rc::new(BrowserTime), Rc::new(store));
    let theirs = world.publish(WIDGETS, &[("/module.wasm", &[7; 2_000])]);
    let files = theirs.open().unwrap().into_contents().files;
    let used = Used { manifest: theirs.digest(), publisher: publisher().public(), files };
    let own = world.publish_as("acme:repo:app:1.0.0", &[("/module.wasm", b"not used")], &publisher(), |manifest| {
        let mut config = manifest.mechtrons.remove("/mechtron.toml").unwrap();
        config.wasm = format!("{WIDGETS}:/module.wasm");
        let path = format!("{WIDGETS}:/mechtron.toml");
        for (_, mechtron) in manifest.app.as_mut().unwrap().mechtrons.iter_mut() {
            mechtron.config.clone_from(&path);
        }
        manifest.mechtrons.insert(path, config);
        manifest.uses.insert(WIDGETS.to_owned(), used);
    });
    world.say("acme:app", 1, "acme:repo:app:1.0.0", &own);
    let (page, other) = (world.page(), world.page());
    page.launch("acme:app").await.unwrap();
    other.launch("acme:app").await.unwrap();
    page.0.uninstall(&address("acme:app"));
    let visit = async |number: u8| {
        let bundle = format!("acme:repo:app{number}:1.0.0");
        let signed = world.publish(&bundle, &[("/module.wasm", &[number; 2_000])]);
        world.say(&format!("acme:app{number}"), 1, &bundle, &signed);
        page.launch(&format!("acme:app{number}")).await.unwrap();
        page.0.uninstall(&address(&format!("acme:app{number}")));
    };
    let module = Digest::of(&[7; 2_000]);
    for number in 0..6 {
        visit(number).await;
        assert!(world.store.blob(&module).await.unwrap().is_some(), "after {number} others");
    }
    other.0.uninstall(&address("acme:app"));
    for number in 6..12 {
        visit(number).await;
    }
    assert_eq!(world.store.blob(&module).await, Ok(None), "nobody uses it any more");
}
