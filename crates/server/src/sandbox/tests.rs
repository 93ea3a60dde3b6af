//! Runs the contract suite of sandboxes, and tests of this engine only.

use std::{fs, num::NonZero, rc::Rc, time::Duration};

use bytes::Bytes;
use starlane_host::{
    ports::Sandbox,
    testing::{actor_suite, module_table::judge_modules, sandbox_suite, schema_suite},
};
use starlane_testkit::{figure::figure, guest, workspace};
use tokio::task::LocalSet;

use super::{SandboxConfig, WasmtimeSandbox, compile::CompileConfig};
use crate::{
    limits::{Limiter, ServerLimits},
    time::TokioTime,
};

/// The module of `tests/guests/rust/echo`, which `cargo xtask test` builds first.
fn echo() -> Bytes {
    fs::read(guest("echo")).unwrap().into()
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(30), test).await };
    LocalSet::new().block_on(&runtime, limited).expect("within 30 s, however busy the machine")
}

fn sandbox(threads: usize) -> Rc<dyn Sandbox> {
    let compile = CompileConfig { program: None, kept: None, limiter: Limiter::new(ServerLimits::default()) };
    let config = SandboxConfig { threads: NonZero::new(threads).unwrap(), compile };
    Rc::new(WasmtimeSandbox::open(config).unwrap())
}

macro_rules! tests {
    ($($case:ident)*) => { $(#[test] fn $case() { block_on(sandbox_suite::$case(sandbox(2), echo())); })* };
}

starlane_host::sandbox_cases!(tests);
starlane_host::sandbox_bound_cases!(tests);

mod of_actors {
    use super::*;

    macro_rules! tests {
        ($($case:ident)*) => { $(#[test] fn $case() {
            block_on(async {
                let world = actor_suite::World::new(Rc::new(TokioTime::new()), || sandbox(1), echo()).await;
                actor_suite::$case(world).await;
            });
        })* };
    }

    starlane_host::actor_cases!(tests);
}

#[test]
fn a_runaway_call_is_stopped_while_others_answer_on_the_same_thread() {
    block_on(sandbox_suite::a_runaway_call_is_stopped_while_others_answer(sandbox(1), echo()));
}

#[test]
fn stop_ends_a_running_call_on_the_same_thread() {
    block_on(sandbox_suite::stop_ends_a_call_in_its_middle(sandbox(1), echo()));
}

#[test]
fn modules_are_checked_as_in_the_table() {
    let judged = block_on(async { judge_modules(&sandbox(1)).await });
    figure("modules.refused", judged.refused as f64, "modules");
    figure("modules.accepted", judged.accepted as f64, "modules");
    assert_eq!(judged.differences, [""; 0]);
}

#[test]
fn the_official_schema_suite_passes() {
    let path = workspace().join("target/schema-suite.json");
    let suite = fs::read_to_string(&path);
    let suite = suite.unwrap_or_else(|error| panic!("{}: {error}; `cargo xtask setup` fetches it", path.display()));
    let judged = block_on(async { schema_suite::run(&sandbox(1), &echo(), &suite).await });
    figure("schema-suite.cases", judged.cases as f64, "cases");
    figure("schema-suite.outside", judged.outside as f64, "cases");
    figure("schema-suite.differences", judged.differences.len() as f64, "cases");
    judged.check();
}
