//! Guests that never end by themselves. A separate binary: WebKit continues to compute in a terminated worker, which would slow
//! other tests down.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![cfg(target_arch = "wasm32")]

use starlane_host::testing::sandbox_suite;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};

use crate::fixture::{echo, sandbox};

#[allow(dead_code, reason = "shared with the other binary")]
mod fixture;

wasm_bindgen_test_configure!(run_in_browser);

#[wasm_bindgen_test]
async fn a_runaway_call_is_stopped_while_others_answer() {
    sandbox_suite::a_runaway_call_is_stopped_while_others_answer(sandbox(), echo()).await;
}

#[wasm_bindgen_test]
async fn a_runaway_start_is_stopped_wherever_it_runs() {
    sandbox_suite::a_runaway_start_is_stopped_wherever_it_runs(sandbox(), echo()).await;
}

#[wasm_bindgen_test]
async fn stop_interrupts_a_call() {
    sandbox_suite::stop_ends_a_call_in_its_middle(sandbox(), echo()).await;
}
