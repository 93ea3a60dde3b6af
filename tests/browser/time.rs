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
    // Each engine rounds clocks and timers differently.
    assert!(BrowserTime.now_ms() - before >= 55);
    BrowserTime.sleep(0).await;
}

/// `setTimeout` takes 31 bits, and does not wait at all for more.
#[wasm_bindgen_test]
async fn a_sleep_longer_than_a_timer_uses_several_timers() {
    const MAX_TIMER_MS: u64 = i32::MAX as u64;
    // Shortens only our own timers: a driver has timers in the page too.
    let noted = Patch::apply(
        "const own = globalThis.setTimeout; globalThis.waits = []; \
         globalThis.setTimeout = (call, ms) => (globalThis.waits.push(ms), own(call, ms > 1e6 ? 0 : ms)); \
         return () => { globalThis.setTimeout = own; };",
    );
    let tried = [
        MAX_TIMER_MS - 1,
        MAX_TIMER_MS,
        MAX_TIMER_MS + 1,
        2 * MAX_TIMER_MS,
        3 * MAX_TIMER_MS + 7,
        u64::from(u32::MAX),
        1 << 40,
    ];
    let mut failing = 0;
    for ms in tried {
        eval("globalThis.waits.length = 0");
        BrowserTime.sleep(ms).await;
        let waits = eval("globalThis.waits.join(' ')").as_string().unwrap();
        let waits: Vec<u64> = waits.split(' ').map(|wait| wait.parse::<f64>().unwrap() as u64).collect();
        // Timers that earlier tests left running may be among ours.
        let mut others = waits.iter();
        let pieces = (0..ms.div_ceil(MAX_TIMER_MS)).map(|piece| (ms - piece * MAX_TIMER_MS).min(MAX_TIMER_MS));
        let all_there = pieces.into_iter().all(|piece| others.any(|wait| *wait == piece));
        failing += usize::from(!all_there || waits.iter().any(|wait| *wait > MAX_TIMER_MS));
    }
    drop(noted);
    figure("F25 sleeps in pieces", "field-faults.tried", tried.len() as f64, "inputs");
    figure("F25 sleeps in pieces", "field-faults.failing", failing as f64, "inputs");
    assert_eq!(failing, 0);
}

#[wasm_bindgen_test]
fn time_counts_from_the_unix_epoch() {
    assert!((1_700_000_000_000..10_000_000_000_000).contains(&BrowserTime.unix_ms()));
}

#[wasm_bindgen_test]
fn random_bytes_differ() {
    assert_ne!(BrowserTime.random(), BrowserTime.random());
}
