//! Launching on what IndexedDB keeps: the contract, and what it costs.

use std::rc::Rc;

use starlane_browser::BrowserTime;
use starlane_bundle::Digest;
use starlane_host::testing::{launch_suite, launch_world::World};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{fresh_name, open_store};

/// A world whose page keeps what it keeps in a database of its own.
fn world() -> World {
    World::new(Rc::new(BrowserTime), Rc::new(open_store(&fresh_name(), 1e9).0))
}

macro_rules! tests {
    ($($case:ident)*) => { $(#[wasm_bindgen_test] async fn $case() { launch_suite::$case(&world()).await })* };
}

starlane_host::launch_cases!(tests);

#[wasm_bindgen_test]
async fn one_changed_file_of_a_thousand_is_one_blob() {
    let (fetched, files) = launch_suite::delta_of_one_file(&world()).await;
    assert_eq!((fetched, files), (1, 1000));
}

#[wasm_bindgen_test]
async fn ten_megabytes_are_kept_and_hashed_on_every_load() {
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
    bytes_but_one(&world, &digest, bytes).await;
    assert_eq!(page.0.blob(&digest, SIZE as u64).await.unwrap().len(), SIZE);
    assert_eq!(page.0.blob_counts().healed, 1);
}

/// Spoils the last byte of what is kept.
async fn bytes_but_one(world: &World, digest: &Digest, mut bytes: Vec<u8>) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x80;
    }
    world.store.put_blob(digest, bytes.into()).await.unwrap();
}
