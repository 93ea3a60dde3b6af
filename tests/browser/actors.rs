//! Actors of two linked hosts, whose guests run in workers: the contract.

use std::rc::Rc;

use starlane_browser::BrowserTime;
use starlane_host::testing::actor_suite;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{echo, sandbox};

macro_rules! tests {
    ($($case:ident)*) => { $(#[wasm_bindgen_test] async fn $case() {
        let world = actor_suite::World::new(Rc::new(BrowserTime), sandbox, echo()).await;
        actor_suite::$case(world).await;
    })* };
}

starlane_host::actor_cases!(tests);
