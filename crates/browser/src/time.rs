//! Clock, timers, tasks and randomness of a page or a worker.

use futures_util::future::LocalBoxFuture;
use gloo_timers::future::TimeoutFuture;
use starlane_host::ports::Time;
use wasm_bindgen::prelude::wasm_bindgen;

/// The maximum delay of `setTimeout`.
const MAX_TIMER_MS: u64 = i32::MAX as u64;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(bytes: &js_sys::Uint8Array);
}

/// Waits for any number of milliseconds. The crate's only timer: `setTimeout` does not wait at all if the delay exceeds its maximum.
pub(crate) async fn wait(ms: u64) {
    let mut left = ms;
    loop {
        let step = left.min(MAX_TIMER_MS);
        TimeoutFuture::new(step as u32).await;
        left -= step;
        if left == 0 {
            return;
        }
    }
}

/// Milliseconds of a monotonic clock.
pub(crate) fn now_ms() -> f64 {
    performance_now()
}

/// The browser's time.
#[derive(Debug, Clone, Copy, Default)]
pub struct BrowserTime;

impl Time for BrowserTime {
    fn now_ms(&self) -> u64 {
        performance_now() as u64
    }

    fn unix_ms(&self) -> u64 {
        js_sys::Date::now() as u64
    }

    fn sleep(&self, ms: u64) -> LocalBoxFuture<'static, ()> {
        Box::pin(wait(ms))
    }

    fn spawn(&self, task: LocalBoxFuture<'static, ()>) {
        wasm_bindgen_futures::spawn_local(task);
    }

    fn random(&self) -> [u8; 32] {
        let array = js_sys::Uint8Array::new_with_length(32);
        get_random_values(&array);
        let mut bytes = [0; 32];
        array.copy_to(&mut bytes);
        bytes
    }
}
