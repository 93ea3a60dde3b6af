//! The ports in a browser, in a real one.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![cfg(target_arch = "wasm32")]

use wasm_bindgen_test::wasm_bindgen_test_configure;

mod actors;
mod cache;
mod fixture;
mod inline;
mod launch;
mod modules;
mod socket;
mod source;
mod store;
mod store_faults;
mod store_upgrade;
mod time;
mod workers;

wasm_bindgen_test_configure!(run_in_browser);
