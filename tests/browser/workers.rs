//! Guests in workers: the contract, and the behaviour of this engine alone.

use std::rc::Rc;

use futures_util::future::{join, join_all};
use js_sys::Function;
use starlane_browser::{BrowserSandbox, BrowserTime};
use starlane_bundle::Digest;
use starlane_host::{
    ports::{Sandbox, SandboxError, Time},
    testing::{sandbox_suite, schema_suite},
};
use starlane_node::guest::{Context, GuestCall, GuestLimits, GuestPlan, InstanceId, Returned};
use wasm_bindgen::JsValue;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{
    Patch, echo, eval, figure, first_worker, meter, sandbox, scripts, scripts_that, worker_of, worker_script,
};

fn now() -> f64 {
    eval("performance.now()").as_f64().unwrap()
}

macro_rules! tests {
    ($($case:ident)*) => { $(#[wasm_bindgen_test] async fn $case() { sandbox_suite::$case(sandbox(), echo()).await })* };
}

starlane_host::sandbox_cases!(tests);

#[wasm_bindgen_test]
async fn eight_megabytes_are_checked_in_the_worker_and_not_in_the_page() {
    let counted = scripts_that("globalThis.checkers = (globalThis.checkers ?? 0) + 1;\n");
    let sandbox: Rc<dyn Sandbox> = Rc::new(BrowserSandbox::new(&worker_of(&worker_script()), &meter(), counted));
    let held_up = eval(
        "(() => { let last = performance.now(), most = 0; \
         const timer = setInterval(() => { const now = performance.now(); most = Math.max(most, now - last); last = now; }, 4); \
         return () => { clearInterval(timer); return most; }; })()",
    );
    let before = now();
    sandbox_suite::eight_megabytes_are_checked(sandbox, echo()).await;
    let all = now() - before;
    let most = Function::from(held_up).call0(&JsValue::UNDEFINED).unwrap().as_f64().unwrap();
    figure("eight megabytes", "schema.8MB-page-held-up", most.round(), "ms");
    figure("eight megabytes", "schema.8MB-two-bodies", all.round(), "ms");
    let in_the_page = eval("globalThis.checkers ?? 0").as_f64().unwrap();
    figure("eight megabytes", "schema.8MB-checkers-in-page", in_the_page, "checkers");
    assert_eq!(in_the_page, 0.0, "the page's own thread loaded the check of bodies");
}

#[wasm_bindgen_test]
async fn hostile_bodies_are_checked_in_time() {
    sandbox_suite::hostile_bodies_are_checked_in_time(sandbox(), echo()).await;
}

#[wasm_bindgen_test]
async fn longest_line_is_checked() {
    sandbox_suite::longest_line_is_checked(sandbox(), echo()).await;
}

#[wasm_bindgen_test]
async fn costly_lines_are_checked_in_time() {
    sandbox_suite::costly_lines_are_checked_in_time(sandbox(), echo()).await;
}

#[wasm_bindgen_test]
async fn verdicts_match_the_official_schema_suite() {
    let judged = schema_suite::run(&sandbox(), &echo(), include_str!("../../target/schema-suite.json")).await;
    let figures = [("cases", judged.cases), ("outside", judged.outside), ("differences", judged.differences.len())];
    for (name, value) in figures {
        figure("the official suite", &format!("schema-suite.{name}"), value as f64, "cases");
    }
    judged.check();
}

pub(crate) async fn start(sandbox: &dyn Sandbox, id: u64, group: &str) -> Result<InstanceId, SandboxError> {
    start_within(sandbox, id, group, 1000).await
}

/// Starts an instance with a budget for each call.
async fn start_within(sandbox: &dyn Sandbox, id: u64, group: &str, call_ms: u32) -> Result<InstanceId, SandboxError> {
    let (digest, instance) = (Digest::of(&echo()), InstanceId(id));
    let limits = GuestLimits { memory: 16 << 20, call_ms, concurrency: 1 };
    sandbox.compile("acme", digest, limits.memory, echo()).await?;
    sandbox
        .start(&GuestPlan { instance, group: group.into(), wasm: digest, limits, contract: "".into(), inline: false })
        .await?;
    let report = sandbox.run(instance, vec![GuestCall::Start(context())]).await;
    assert_eq!((report.crash, &report.done[0].returned), (None, &Returned::Done));
    Ok(instance)
}

fn context() -> Context {
    Context { address: "acme:echo".into(), mechtron: "echo".into(), settings: "{}".into(), state: None }
}

#[wasm_bindgen_test]
async fn each_group_has_a_worker_until_there_are_eight() {
    let sandbox = sandbox();
    let mut places = Vec::new();
    for id in 1..=9 {
        let instance = start(&*sandbox, id, &format!("group {id}")).await.unwrap();
        places.push(sandbox.place(instance));
    }
    let again = start(&*sandbox, 10, "group 3").await.unwrap();
    assert_eq!(sandbox.place(again), places[2], "a group stays in its worker");
    let ninth = places.pop().unwrap();
    assert!(places.contains(&ninth), "{ninth}");
    places.dedup();
    assert_eq!(places.len(), 8);
    sandbox.stop(InstanceId(5));
    let reused = start(&*sandbox, 11, "group 11").await.unwrap();
    assert_eq!(sandbox.place(reused), places[4], "an empty worker is used again");
}

#[wasm_bindgen_test]
async fn runs_of_one_turn_are_sent_in_one_message() {
    let sandbox = sandbox();
    let mut instances = Vec::new();
    for id in 1..=5 {
        instances.push(start(&*sandbox, id, "one").await.unwrap());
    }
    let _patch = Patch::apply(
        "const own = Worker.prototype.postMessage; globalThis.posted = 0; \
         Worker.prototype.postMessage = function (...all) { globalThis.posted++; return own.apply(this, all); }; \
         return () => { Worker.prototype.postMessage = own; };",
    );
    let reports = join_all(instances.iter().map(|instance| sandbox.run(*instance, vec![GuestCall::Save]))).await;
    assert!(reports.iter().all(|report| matches!(report.done[0].returned, Returned::Saved(_))), "{reports:?}");
    assert_eq!(eval("globalThis.posted").as_f64(), Some(1.0));
}

#[wasm_bindgen_test]
async fn a_failing_worker_ends_only_its_own_instances() {
    // The worker runs until it is asked to save.
    let script = worker_script()
        + "\nconst own = onmessage; onmessage = (event) => { if (globalThis.dies) setTimeout(() => { throw new Error('boom'); }); else own(event); };\
           const post = postMessage; postMessage = (...all) => { post(...all); globalThis.dies = all[0] instanceof ArrayBuffer; };";
    let failing: Rc<dyn Sandbox> = Rc::new(BrowserSandbox::new(&worker_of(&script), &meter(), scripts()));
    let one = start(&*failing, 1, "one").await.unwrap();
    let other = start(&*failing, 2, "other").await.unwrap();
    let report = failing.run(one, vec![GuestCall::Save]).await;
    let crash = report.crash.unwrap();
    assert!(crash.contains("boom"), "{crash}");
    assert_eq!(failing.place(one), "nowhere");
    assert!(failing.place(other).starts_with("worker"), "it is in another");
    start(&*failing, 3, "one").await.expect("a new worker in its place");
}

#[wasm_bindgen_test]
async fn making_an_instance_does_not_use_up_the_guests_budget() {
    // Longer than the budget of a call and the grace of the worker together.
    let script = "const own = WebAssembly.instantiate; WebAssembly.instantiate = async (...all) => { \
        await new Promise((resolve) => setTimeout(resolve, 3500)); return own(...all); };\n"
        .to_owned()
        + &worker_script();
    let slow = BrowserSandbox::new(&worker_of(&script), &meter(), scripts());
    start(&slow, 1, "one").await.expect("an instance, though late");
}

#[wasm_bindgen_test]
async fn making_another_instance_does_not_use_up_a_calls_budget() {
    // The second instance keeps the worker busy. A call of the first meanwhile keeps its own budget.
    let script = "let made = 0; const own = WebAssembly.instantiate; WebAssembly.instantiate = (...all) => { \
        for (const end = Date.now() + (made++ > 0 ? 3500 : 0); Date.now() < end; ); return own(...all); };\n"
        .to_owned()
        + &worker_script();
    let slow = BrowserSandbox::new(&worker_of(&script), &meter(), scripts());
    let first = start(&slow, 1, "one").await.unwrap();
    let asked = async {
        BrowserTime.sleep(2500).await;
        slow.run(first, vec![GuestCall::Save]).await
    };
    let (second, report) = join(start(&slow, 2, "one"), asked).await;
    second.expect("an instance, though late");
    assert_eq!(report.crash, None);
}

/// A manifest may allow more time than the maximum delay of a browser's timer, which then does not wait at all.
#[wasm_bindgen_test]
async fn a_calls_budget_can_exceed_the_maximum_of_a_timer() {
    let _noted = Patch::apply(
        "const own = globalThis.setTimeout; globalThis.waits = []; \
         globalThis.setTimeout = (call, ms) => (globalThis.waits.push(ms), own(call, ms)); \
         return () => { globalThis.setTimeout = own; };",
    );
    let sandbox = sandbox();
    let tried = [i32::MAX as u32 - 3000, i32::MAX as u32, i32::MAX as u32 + 1, u32::MAX];
    for (id, call_ms) in (1..).zip(tried) {
        let instance = start_within(&*sandbox, id, &format!("group {id}"), call_ms).await.unwrap();
        let report = sandbox.run(instance, vec![GuestCall::Save]).await;
        assert_eq!(report.crash, None);
    }
    let failing = eval("globalThis.waits.filter((ms) => !(ms <= 2 ** 31 - 1)).length").as_f64().unwrap();
    figure("F25 budgets beyond a timer", "field-faults.tried", tried.len() as f64, "inputs");
    figure("F25 budgets beyond a timer", "field-faults.failing", failing, "inputs");
    assert!(failing == 0.0 && eval("globalThis.waits.length").as_f64() > Some(0.0));
}

#[wasm_bindgen_test]
async fn an_error_names_why_a_worker_cannot_be_started() {
    let factories = [
        (worker_of("throw new Error('boom')"), "boom"),
        (worker_of("import './nowhere.js'"), ""),
        (eval("() => { throw new Error('refused'); }").into(), "refused"),
        (eval("() => 7").into(), "must return a Worker"),
    ];
    for (factory, reason) in factories {
        // The first worker checks the module, and then runs the first group.
        let factory = first_worker(&worker_of(&worker_script()), &factory);
        let sandbox = BrowserSandbox::new(&factory, &meter(), scripts());
        start(&sandbox, 1, "one").await.unwrap();
        let error = start(&sandbox, 2, "two").await.unwrap_err().to_string();
        assert!(error.contains("no instance could be made") && error.contains(reason), "{error}");
    }
}
