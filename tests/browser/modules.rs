//! The check of guests' modules in a page: a worker checks them before they are compiled.

use bytes::Bytes;
use futures_util::future::{join, join_all};
use js_sys::Function;
use starlane_browser::{BrowserSandbox, BrowserTime};
use starlane_bundle::Digest;
use starlane_host::{
    ports::{Sandbox, SandboxError, Time},
    testing::module_table::{MEMORY, judge_modules, module_table},
};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_test::wasm_bindgen_test;

use crate::fixture::{
    Patch, echo, eval, faster_timers, figure, first_worker, meter, sandbox, scripts, worker_of, worker_script,
};

async fn compile(sandbox: &dyn Sandbox, wasm: Bytes) -> Result<(), SandboxError> {
    sandbox.compile("acme", Digest::of(&wasm), MEMORY, wasm).await
}

/// Counts started and terminated workers in `globalThis.workers`.
fn counted_workers() -> Patch {
    Patch::apply(
        "const [own, end] = [globalThis.Worker, Worker.prototype.terminate]; globalThis.workers = { made: 0, ended: 0 }; \
         globalThis.Worker = new Proxy(own, { construct: (...all) => (globalThis.workers.made++, Reflect.construct(...all.slice(0, 2))) }); \
         own.prototype.terminate = function () { globalThis.workers.ended++; end.call(this); }; \
         return () => { globalThis.Worker = own; own.prototype.terminate = end; };",
    )
}

fn workers(which: &str) -> f64 {
    eval(&format!("globalThis.workers.{which}")).as_f64().unwrap()
}

#[wasm_bindgen_test]
async fn verdicts_match_the_table_of_modules() {
    let judged = judge_modules(&sandbox()).await;
    figure("the table of modules", "modules.refused", judged.refused as f64, "modules");
    figure("the table of modules", "modules.accepted", judged.accepted as f64, "modules");
    assert_eq!(judged.differences, [""; 0]);
}

#[wasm_bindgen_test]
async fn a_refused_module_is_never_compiled() {
    let _counted = Patch::apply(
        "const own = WebAssembly.compile; globalThis.compiled = 0; \
         WebAssembly.compile = (...all) => (globalThis.compiled++, own(...all)); \
         return () => { WebAssembly.compile = own; };",
    );
    let sandbox = sandbox();
    let mut tried = 0;
    for case in module_table().filter(|case| case.refused.is_some() && case.wasm.len() < 100_000) {
        assert!(compile(&*sandbox, case.wasm).await.is_err(), "{}", case.name);
        tried += 1;
    }
    assert!(tried > 40, "{tried} were tried");
    // The only compiled module is the meter.
    assert_eq!(eval("globalThis.compiled").as_f64(), Some(1.0));
}

/// The check depends on the limit of memory: the same module can be accepted for one mechtron and refused for another.
#[wasm_bindgen_test]
async fn a_module_is_checked_for_each_limit_of_memory() {
    let sandbox = sandbox();
    let (wasm, digest) = (echo(), Digest::of(&echo()));
    compile(&*sandbox, wasm.clone()).await.unwrap();
    assert!(sandbox.has_module(&digest, MEMORY) && !sandbox.has_module(&digest, 65_536));
    let refused = sandbox.compile("acme", digest, 65_536, wasm).await;
    let Err(SandboxError::Module { reason, .. }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("its limit is 65536"), "{reason}");
    assert!(sandbox.has_module(&digest, MEMORY) && !sandbox.has_module(&digest, 65_536));
    sandbox.forget(&digest);
    assert!(!sandbox.has_module(&digest, MEMORY));
}

#[wasm_bindgen_test]
async fn one_worker_does_all_checks_in_turn_and_later_runs_guests() {
    let _counted = counted_workers();
    let sandbox = sandbox();
    sandbox.prepare();
    sandbox.prepare();
    let accepted: Vec<Bytes> = module_table().filter(|case| case.refused.is_none()).map(|case| case.wasm).collect();
    let compiled = join_all(accepted.iter().map(|wasm| compile(&*sandbox, wasm.clone()))).await;
    assert!(compiled.len() > 5 && compiled.iter().all(Result::is_ok), "{compiled:?}");
    assert_eq!(workers("made"), 1.0);
    crate::workers::start(&*sandbox, 1, "one").await.unwrap();
    assert_eq!(workers("made"), 1.0, "the guest got the idle worker");
    crate::workers::start(&*sandbox, 2, "two").await.unwrap();
    assert_eq!(workers("made"), 2.0);
    sandbox.prepare();
    drop(sandbox);
    assert_eq!((workers("made"), workers("ended")), (3.0, 3.0), "dropping the sandbox ends all workers");
}

#[wasm_bindgen_test]
async fn modules_stay_unchecked_until_the_meter_can_be_loaded() {
    let meter = Function::new_with_args(
        "meter",
        "let tries = 0; return () => (tries++ === 0 ? Promise.reject(new Error('no such file')) : meter());",
    );
    let meter = meter.call1(&JsValue::UNDEFINED, &crate::fixture::meter()).unwrap();
    let sandbox = BrowserSandbox::new(&worker_of(&worker_script()), meter.unchecked_ref(), scripts());
    let refused = compile(&sandbox, echo()).await;
    let Err(SandboxError::Unchecked { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, "no such file");
    compile(&sandbox, echo()).await.expect("the meter is loaded again");
}

#[wasm_bindgen_test]
async fn modules_stay_unchecked_if_no_worker_runs() {
    let sandbox = BrowserSandbox::new(&worker_of("throw new Error('boom');"), &meter(), scripts());
    for prepared in [false, true] {
        if prepared {
            sandbox.prepare();
        }
        let refused = compile(&sandbox, echo()).await;
        let Err(SandboxError::Unchecked { reason, .. }) = refused else { panic!("{refused:?}") };
        assert!(reason.contains("boom"), "{reason}");
    }
}

#[wasm_bindgen_test]
async fn dropping_a_sandbox_fails_its_running_check() {
    let _counted = counted_workers();
    let sandbox = sandbox();
    let checks = [echo(), echo()].map(|wasm| sandbox.compile("acme", Digest::of(&wasm), MEMORY, wasm));
    let dropped = async {
        BrowserTime.sleep(0).await;
        drop(sandbox);
    };
    let (refused, ()) = join(join_all(checks), dropped).await;
    for refused in refused {
        let Err(SandboxError::Unchecked { reason, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(reason, "the host was closed");
    }
    assert_eq!(workers("made"), workers("ended"));
}

#[wasm_bindgen_test]
async fn only_a_module_that_takes_too_long_to_check_is_refused() {
    let _faster = faster_timers(10);
    let _counted = counted_workers();
    // The first worker exceeds the time limit.
    let script = "const own = WebAssembly.Instance; WebAssembly.Instance = function (...all) { \
        const { exports } = new own(...all); \
        const check = (memory) => { for (const end = Date.now() + SLOW; Date.now() < end; ); return exports.check(memory); }; \
        return { exports: { ...exports, check } }; };\n"
        .to_owned()
        + &worker_script();
    let (slow, quick) = (worker_of(&script.replace("SLOW", "40_000")), worker_of(&worker_script()));
    let sandbox = BrowserSandbox::new(&first_worker(&slow, &quick), &meter(), scripts());
    let refused = compile(&sandbox, echo()).await;
    let Err(SandboxError::Module { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, "checking it takes more than 20000 ms");
    assert_eq!((workers("made"), workers("ended")), (1.0, 1.0));
    compile(&sandbox, echo()).await.expect("a new worker checks it");
    assert_eq!((workers("made"), workers("ended")), (2.0, 1.0));
}
