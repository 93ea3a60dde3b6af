//! Clock, timers, randomness.

use futures_util::future::{Either, select};
use starlane_browser::BrowserTime;
use starlane_host::ports::Time;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{Patch, eval, figure};

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

/// `setTimeout` takes 31 bits, and does not wait at all for more.
#[wasm_bindgen_test]
async fn a_sleep_longer_than_a_timer_is_slept_in_pieces() {
    const LONGEST: u64 = i32::MAX as u64;
    let noted = Patch::apply(
        "const own = globalThis.setTimeout; globalThis.waits = []; \
         globalThis.setTimeout = (call, ms) => (globalThis.waits.push(ms), own(call, 0)); \
         return () => { globalThis.setTimeout = own; };",
    );
    let tried = [LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST, 3 * LONGEST + 7, u64::from(u32::MAX), 1 << 40];
    let mut failing = 0;
    for ms in tried {
        eval("globalThis.waits.length = 0");
        BrowserTime.sleep(ms).await;
        let (longest, sum) = (eval("Math.max(...globalThis.waits)"), eval("globalThis.waits.reduce((a, b) => a + b)"));
        failing += usize::from(longest.as_f64() > Some(LONGEST as f64) || sum.as_f64() != Some(ms as f64));
    }
    drop(noted);
    figure("F25 sleeps in pieces", "field-faults.tried", tried.len() as f64, "inputs");
    figure("F25 sleeps in pieces", "field-faults.failing", failing as f64, "inputs");
    assert_eq!(failing, 0);
}

#[wasm_bindgen_test]
fn the_epoch_is_that_of_unix() {
    assert!((1_700_000_000_000..10_000_000_000_000).contains(&BrowserTime.unix_ms()));
}

#[wasm_bindgen_test]
fn random_bytes_differ() {
    assert_ne!(BrowserTime.random(), BrowserTime.random());
}
