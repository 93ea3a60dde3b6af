//! Guests in the page's own thread: the same contract.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use starlane_browser::BrowserSandbox;
use starlane_bundle::Digest;
use starlane_host::{
    ports::{Sandbox, SandboxError},
    testing::sandbox_suite,
};
use starlane_node::guest::{BatchReport, GuestCall, GuestPlan, InstanceId};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{echo, meter, scripts, worker_of, worker_script};

/// Makes every instance inline. Its worker only checks modules.
struct Inline(BrowserSandbox);

impl Sandbox for Inline {
    fn has_module(&self, digest: &Digest, memory: u64) -> bool {
        self.0.has_module(digest, memory)
    }

    fn compile(
        &self,
        space: &str,
        digest: Digest,
        memory: u64,
        wasm: Bytes,
    ) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        self.0.compile(space, digest, memory, wasm)
    }

    fn start(&self, plan: &GuestPlan) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        self.0.start(&GuestPlan { inline: true, ..plan.clone() })
    }

    fn run(&self, instance: InstanceId, calls: Vec<GuestCall>) -> LocalBoxFuture<'static, BatchReport> {
        assert_eq!(self.0.place(instance).replace("nowhere", "inline"), "inline");
        self.0.run(instance, calls)
    }

    fn stop(&self, instance: InstanceId) {
        self.0.stop(instance);
    }

    fn place(&self, instance: InstanceId) -> String {
        self.0.place(instance)
    }
}

fn sandbox() -> Rc<dyn Sandbox> {
    Rc::new(Inline(BrowserSandbox::new(&worker_of(&worker_script()), &meter(), scripts())))
}

macro_rules! tests {
    ($($case:ident)*) => { $(#[wasm_bindgen_test] async fn $case() { sandbox_suite::$case(sandbox(), echo()).await })* };
}

starlane_host::sandbox_cases!(tests);

#[wasm_bindgen_test]
async fn the_pages_own_thread_checks_no_long_bodies() {
    sandbox_suite::long_bodies_are_not_checked_in_the_pages_own_thread(sandbox(), echo()).await;
}
