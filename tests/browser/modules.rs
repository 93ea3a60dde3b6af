//! Which modules may be guests in a page: they are checked in a worker before they are compiled.

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

/// Counts the workers that are made and ended, in `globalThis.workers`.
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
async fn modules_are_judged_as_the_table_says() {
    let judged = judge_modules(&sandbox()).await;
    figure("the table of modules", "modules.refused", judged.refused as f64, "modules");
    figure("the table of modules", "modules.accepted", judged.accepted as f64, "modules");
    assert_eq!(judged.differences, [""; 0]);
}

#[wasm_bindgen_test]
async fn no_module_is_compiled_that_is_refused() {
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
    // That one is the meter.
    assert_eq!(eval("globalThis.compiled").as_f64(), Some(1.0));
}

/// A memory is part of what is checked: the same module may be compiled for one mechtron and refused for another.
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
async fn checks_take_turns_in_one_worker_which_runs_guests_afterwards() {
    let _counted = counted_workers();
    let sandbox = sandbox();
    sandbox.prepare();
    sandbox.prepare();
    let accepted: Vec<Bytes> = module_table().filter(|case| case.refused.is_none()).map(|case| case.wasm).collect();
    let compiled = join_all(accepted.iter().map(|wasm| compile(&*sandbox, wasm.clone()))).await;
    assert!(compiled.len() > 5 && compiled.iter().all(Result::is_ok), "{compiled:?}");
    assert_eq!(workers("made"), 1.0);
    crate::workers::start(&*sandbox, 1, "one").await.unwrap();
    assert_eq!(workers("made"), 1.0, "the guest got the worker that had nothing more to check");
    crate::workers::start(&*sandbox, 2, "two").await.unwrap();
    assert_eq!(workers("made"), 2.0);
    sandbox.prepare();
    drop(sandbox);
    assert_eq!((workers("made"), workers("ended")), (3.0, 3.0), "dropping it ends them all");
}

#[wasm_bindgen_test]
async fn a_meter_that_cannot_be_loaded_leaves_modules_unchecked_until_it_can() {
    let meter = Function::new_with_args(
        "meter",
        "let tries = 0; return () => (tries++ === 0 ? Promise.reject(new Error('no such file')) : meter());",
    );
    let meter = meter.call1(&JsValue::UNDEFINED, &crate::fixture::meter()).unwrap();
    let sandbox = BrowserSandbox::new(&worker_of(&worker_script()), meter.unchecked_ref(), scripts());
    let refused = compile(&sandbox, echo()).await;
    let Err(SandboxError::Unchecked { reason, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(reason, "no such file");
    compile(&sandbox, echo()).await.expect("it is asked for again");
}

#[wasm_bindgen_test]
async fn a_worker_that_cannot_run_leaves_modules_unchecked() {
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
async fn a_sandbox_that_is_dropped_ends_what_it_checks() {
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
async fn a_module_that_takes_too_long_to_check_is_refused_and_others_are_not() {
    let _faster = faster_timers(10);
    let _counted = counted_workers();
    // The first worker checks for longer than it may.
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
