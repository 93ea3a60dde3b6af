//! Clock, timers, randomness.

use futures_util::future::{Either, select};
use starlane_browser::BrowserTime;
use starlane_host::ports::Time;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
async fn sleepers_wake_in_order_and_none_too_early() {
    let before = BrowserTime.now_ms();
    let first = select(BrowserTime.sleep(60), BrowserTime.sleep(20)).await;
    let Either::Right(((), longer)) = first else { panic!("the shorter sleep ends first") };
    longer.await;
    // Engines round clocks and timers, each its own way.
    assert!(BrowserTime.now_ms() - before >= 55);
    BrowserTime.sleep(0).await;
}

#[wasm_bindgen_test]
fn the_epoch_is_that_of_unix() {
    assert!((1_700_000_000_000..10_000_000_000_000).contains(&BrowserTime.unix_ms()));
}

#[wasm_bindgen_test]
fn random_bytes_differ() {
    assert_ne!(BrowserTime.random(), BrowserTime.random());
}
