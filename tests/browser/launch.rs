//! Launching apps from IndexedDB: the contract, and its cost.

use std::rc::Rc;

use starlane_browser::BrowserTime;
use starlane_bundle::Digest;
use starlane_host::{
    BlobCounts,
    testing::{
        launch_suite, launch_tries,
        launch_world::{World, address},
    },
};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{figure, fresh_name, open_store, script};

/// A world whose page has its own database.
fn world() -> World {
    World::new(Rc::new(BrowserTime), Rc::new(open_store(&fresh_name(), 1e9).0))
}

macro_rules! tests {
    ($($case:ident)*) => { $(#[wasm_bindgen_test] async fn $case() { launch_suite::$case(&world()).await })* };
}

starlane_host::launch_cases!(tests);

#[wasm_bindgen_test]
async fn changing_one_file_of_a_thousand_costs_one_blob() {
    let (fetched, files) = launch_tries::delta_of_one_file(&world()).await;
    assert_eq!((fetched, files), (1, 1000));
}

/// JavaScript with the stored record of an app as `text`.
fn with_record(then: &str) -> String {
    format!(
        "const db = await done(indexedDB.open(given)); \
         const records = db.transaction('records', 'readwrite').objectStore('records'); \
         const text = await done(records.get('acme:app')); try {{ {then} }} finally {{ db.close(); }}"
    )
}

/// Replaces the record by a JavaScript expression of `text`.
async fn change_record(name: &str, changed: &str) {
    let body = with_record(&format!("await done(records.put({changed}, 'acme:app'));"));
    script(&body, &JsValue::from_str(name)).await;
}

#[wasm_bindgen_test]
async fn flipped_bits_in_a_record_are_detected_and_repaired() {
    let name = fresh_name();
    let world = World::new(Rc::new(BrowserTime), Rc::new(open_store(&name, 1e9).0));
    let signed = world.publish("acme:repo:app:1.0.0", &[("/module.wasm", b"a module")]);
    world.say("acme:app", 4, "acme:repo:app:1.0.0", &signed);
    world.page().launch("acme:app").await.unwrap();
    let flips = [
        // A higher revision would refuse the server's record forever; a lower one would allow a rollback.
        "text.replace('\"revision\":4', '\"revision\":6')",
        "text.replace('\"revision\":4', '\"revision\":0')",
        "text.replace('acme:repo', 'acme:rupo')",
        "text.replace('{', 'z')",
        "String.fromCharCode(text.charCodeAt(0) ^ 1) + text.slice(1)",
        "text.slice(0, -1)",
        "''",
        "new Uint8Array(9)",
    ];
    for flip in flips {
        change_record(&name, flip).await;
        for damaged in [true, false] {
            assert_eq!(world.page().launch("acme:app").await.unwrap().revision, 4, "{flip}");
            let logs = world.take_logs();
            let noticed = logs.iter().any(|line| line.contains("`acme:app` in the store is damaged"));
            assert_eq!(noticed, damaged, "{flip}: {logs:?}");
        }
    }
    change_record(&name, flips[0]).await;
    world.set_away(true);
    assert_eq!(world.page().refused("acme:app").await, "offline", "a damaged record launches nothing");
}

/// Browsers and users may delete the data of a whole origin.
#[wasm_bindgen_test]
async fn a_database_deleted_between_two_pages_is_filled_again() {
    let name = fresh_name();
    let world = || World::new(Rc::new(BrowserTime), Rc::new(open_store(&name, 1e9).0));
    let publish = |world: &World| {
        let signed = world.publish("acme:repo:app:1.0.0", &[("/module.wasm", b"a module")]);
        world.say("acme:app", 4, "acme:repo:app:1.0.0", &signed);
    };
    let first = world();
    publish(&first);
    first.page().launch("acme:app").await.unwrap();
    drop(first);
    script("await done(indexedDB.deleteDatabase(given));", &JsValue::from_str(&name)).await;
    // A cold start: the next store has never seen the first.
    let second = world();
    publish(&second);
    for counts in [BlobCounts { fetched: 1, cached: 0, healed: 0 }, BlobCounts { fetched: 0, cached: 1, healed: 0 }] {
        let page = second.page();
        assert_eq!(page.launch("acme:app").await.unwrap().revision, 4);
        assert_eq!(page.0.blob_counts(), counts);
    }
    let logs = second.take_logs();
    assert!(!logs.iter().any(|line| line.contains("the store")), "{logs:?}");
    second.set_away(true);
    second.page().launch("acme:app").await.unwrap();
}

/// Changes bytes of a served bundle, of the cached bundle, and of the cached record of an app.
#[wasm_bindgen_test]
async fn only_data_with_a_changed_byte_is_refused() {
    let name = fresh_name();
    let world = World::new(Rc::new(BrowserTime), Rc::new(open_store(&name, 1e9).0));
    let (mut tried, mut accepted) = launch_tries::one_changed_byte(&world).await;
    let app = address("acme:app");
    let record = script(&with_record("return text;"), &JsValue::from_str(&name)).await.as_string().unwrap();
    for at in 0..record.len() {
        let flip =
            format!("text.slice(0, {at}) + String.fromCharCode(text.charCodeAt({at}) ^ 1) + text.slice({at} + 1)");
        change_record(&name, &flip).await;
        tried += 1;
        if matches!(world.store.record(&app).await, Ok(Some(_))) {
            accepted.push(format!("byte {at} of the record"));
        }
        change_record(&name, &flip).await;
    }
    assert!(matches!(world.store.record(&app).await, Ok(Some(_))), "it is whole again");
    figure("one changed byte", "mutations.tried", tried as f64, "mutations");
    figure("one changed byte", "mutations.accepted", accepted.len() as f64, "mutations");
    assert!(accepted.is_empty(), "{accepted:#?}");
}

#[wasm_bindgen_test]
async fn hostile_names_of_files_are_refused() {
    let (tried, accepted) = launch_tries::hostile_names_of_files(&world()).await;
    figure("hostile names", "names.tried", tried as f64, "names");
    figure("hostile names", "names.accepted", accepted.len() as f64, "names");
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[wasm_bindgen_test]
async fn ten_megabytes_are_cached_and_hashed_on_every_load() {
    const SIZE: usize = 10_000_000;
    let bytes: Vec<u8> = (0..SIZE).map(|at| (at.wrapping_mul(2_654_435_761) >> 16) as u8).collect();
    let digest = Digest::of(&bytes);
    let world = world();
    let signed = world.publish("acme:repo:app:1.0.0", &[("/large.bin", &bytes)]);
    world.say("acme:app", 1, "acme:repo:app:1.0.0", &signed);
    let page = world.page();
    page.launch("acme:app").await.unwrap();
    for _ in 0..3 {
        assert!(page.0.blob(&digest, SIZE as u64).await.unwrap() == bytes);
    }
    assert_eq!(page.0.blob_counts().cached, 2);
    spoil(&world, &digest, bytes).await;
    assert_eq!(page.0.blob(&digest, SIZE as u64).await.unwrap().len(), SIZE);
    assert_eq!(page.0.blob_counts().healed, 1);
}

/// Damages the last byte of a stored value.
async fn spoil(world: &World, digest: &Digest, mut bytes: Vec<u8>) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x80;
    }
    world.store.put_blob(digest, bytes.into()).await.unwrap();
}
