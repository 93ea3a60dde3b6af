//! Runs guests in workers, and inline in this thread.

mod glue;
mod pool;
mod worker;

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, ready};
use js_sys::{Function, Uint8Array, WebAssembly::Module};
use litemap::LiteMap;
use starlane_bundle::Digest;
use starlane_host::{
    batch::{decode_report, encode_calls},
    ports::{Sandbox, SandboxError},
};
use starlane_node::guest::{BatchReport, GuestCall, GuestPlan, InstanceId};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use self::{
    glue::{Guest, InlineGuests, Modules},
    pool::Pool,
    worker::{GuestWorker, crashed},
};
use crate::{failure, object::object};

/// Runs guests with the browser's WebAssembly API. Dropping it ends them and their workers.
pub struct BrowserSandbox {
    /// The compiled modules, by digest and limit of memory.
    compiled: Rc<RefCell<LiteMap<(Digest, u64), Module>>>,
    modules: Modules,
    instances: Rc<RefCell<LiteMap<InstanceId, Place>>>,
    pool: Pool,
    inline: InlineGuests,
    script: Function,
}

/// The maximum size of a body that is checked in the page's own thread.
const MAX_INLINE_BODY_BYTES: f64 = 262_144.0;

/// The place of an instance.
enum Place {
    /// In this thread. `None` while it is being made.
    Inline(Option<Guest>),
    Worker(Rc<GuestWorker>),
}

impl BrowserSandbox {
    /// Makes a sandbox from functions of the embedder, because bundlers must see the URLs of the scripts as literals.
    ///
    /// - `worker()` returns a new `Worker` on `worker.js`.
    /// - `meter()` resolves to the module of the crate `meter`, which checks guests' modules.
    /// - `script(name)` returns the URL of a script that is loaded on demand: `contract` checks bodies against schemas, `glue` runs
    ///   guests in this thread.
    pub fn new(worker: &Function, meter: &Function, script: Function) -> Self {
        let modules = Modules::new(worker, meter);
        let pool = Pool::new(modules.clone());
        Self { compiled: Rc::default(), modules, instances: Rc::default(), pool, inline: InlineGuests::new(), script }
    }

    /// The URL of a script. Fails if the embedder's function throws.
    fn script(&self, name: &str) -> Result<JsValue, SandboxError> {
        let url = self.script.call1(&JsValue::UNDEFINED, &JsValue::from_str(name));
        url.map_err(|error| SandboxError::Instance(failure::text(&error)))
    }

    /// The contract of a plan in the form of the glue: `{ text, checker, most }`, or undefined.
    fn contract(&self, plan: &GuestPlan, most: f64) -> Result<JsValue, SandboxError> {
        if plan.contract.is_empty() {
            return Ok(JsValue::UNDEFINED);
        }
        let checker = self.script("contract")?;
        let text = JsValue::from_str(&plan.contract);
        Ok(object(&[("text", text), ("checker", checker), ("most", JsValue::from_f64(most))]).into())
    }

    fn module(&self, plan: &GuestPlan) -> Result<Module, SandboxError> {
        let module = self.compiled.borrow().get(&(plan.wasm, plan.limits.memory)).cloned();
        module.ok_or_else(|| SandboxError::Module {
            digest: plan.wasm,
            reason: "it has not been compiled here; compile it before an instance is made".to_owned(),
        })
    }
}

impl Sandbox for BrowserSandbox {
    fn has_module(&self, digest: &Digest, memory: u64) -> bool {
        self.compiled.borrow().contains_key(&(*digest, memory))
    }

    fn prepare(&self) {
        self.modules.prepare();
    }

    fn compile(
        &self,
        _: &str,
        digest: Digest,
        memory: u64,
        wasm: Bytes,
    ) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        let (compiled, modules) = (Rc::clone(&self.compiled), self.modules.clone());
        Box::pin(async move {
            if compiled.borrow().contains_key(&(digest, memory)) {
                return Ok(());
            }
            let made = JsFuture::from(modules.compile(&Uint8Array::from(&*wasm), memory as f64)).await;
            let made = made.map_err(|error| SandboxError::Unchecked { digest, reason: failure::text(&error) })?;
            if let Some(reason) = made.as_string() {
                return Err(SandboxError::Module { digest, reason });
            }
            compiled.borrow_mut().insert((digest, memory), made.unchecked_into());
            Ok(())
        })
    }

    fn forget(&self, digest: &Digest) {
        self.compiled.borrow_mut().retain(|(kept, _), _| kept != digest);
    }

    fn start(&self, plan: &GuestPlan) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        let module = match self.module(plan) {
            Ok(module) => module,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let most = if plan.inline { MAX_INLINE_BODY_BYTES } else { f64::INFINITY };
        let contract = match self.contract(plan, most) {
            Ok(contract) => contract,
            Err(error) => return Box::pin(ready(Err(error))),
        };
        let (instances, id) = (Rc::clone(&self.instances), plan.instance);
        if plan.inline {
            let glue = match self.script("glue") {
                Ok(glue) => glue,
                Err(error) => return Box::pin(ready(Err(error))),
            };
            instances.borrow_mut().insert(id, Place::Inline(None));
            let made = self.inline.create(&glue, &module, &glue::limits(&plan.limits), &contract);
            return Box::pin(async move {
                let made = JsFuture::from(made).await;
                let mut instances = instances.borrow_mut();
                let Some(place) = instances.get_mut(&id) else {
                    return Err(SandboxError::Instance("it was stopped meanwhile".to_owned()));
                };
                match made {
                    Ok(guest) => {
                        *place = Place::Inline(Some(guest.unchecked_into()));
                        Ok(())
                    }
                    Err(error) => {
                        instances.remove(&id);
                        Err(SandboxError::Instance(failure::text(&error)))
                    }
                }
            });
        }
        let worker = match self.pool.worker_for(&plan.group) {
            Ok(worker) => worker,
            Err(reason) => return Box::pin(ready(Err(SandboxError::Instance(reason)))),
        };
        let made = worker.start(plan, &module, &contract);
        instances.borrow_mut().insert(id, Place::Worker(worker));
        Box::pin(async move {
            let made = made.await.unwrap_or_else(|_| Err("it was stopped meanwhile".to_owned()));
            made.map_err(|reason| {
                forget(&instances, id);
                SandboxError::Instance(reason)
            })
        })
    }

    fn run(&self, instance: InstanceId, calls: Vec<GuestCall>) -> LocalBoxFuture<'static, BatchReport> {
        let in_worker = match self.instances.borrow().get(&instance) {
            Some(Place::Worker(worker)) => Some(worker.run(instance, &calls)),
            _ => None,
        };
        let instances = Rc::clone(&self.instances);
        Box::pin(async move {
            let report = match in_worker {
                Some(report) => report.await.unwrap_or_else(|_| crashed("the sandbox was dropped")),
                None => run_inline(&instances, instance, &calls),
            };
            if report.crash.is_some() {
                forget(&instances, instance);
            }
            report
        })
    }

    fn stop(&self, instance: InstanceId) {
        forget(&self.instances, instance);
    }

    fn place(&self, instance: InstanceId) -> String {
        match self.instances.borrow().get(&instance) {
            Some(Place::Inline(_)) => "inline".to_owned(),
            Some(Place::Worker(worker)) => format!("worker {}", worker.number),
            None => "nowhere".to_owned(),
        }
    }
}

impl Drop for BrowserSandbox {
    fn drop(&mut self) {
        self.modules.end();
    }
}

fn run_inline(
    instances: &RefCell<LiteMap<InstanceId, Place>>,
    instance: InstanceId,
    calls: &[GuestCall],
) -> BatchReport {
    let guest = match instances.borrow().get(&instance) {
        Some(Place::Inline(Some(guest))) => guest.clone(),
        _ => return crashed("no such instance: it was stopped or has crashed"),
    };
    match guest.run(&encode_calls(calls)) {
        Ok(report) => decode_report(report.into()).unwrap_or_else(|error| crashed(&error.to_string())),
        Err(error) => crashed(&failure::text(&error)),
    }
}

fn forget(instances: &RefCell<LiteMap<InstanceId, Place>>, instance: InstanceId) {
    let place = instances.borrow_mut().remove(&instance);
    if let Some(Place::Worker(worker)) = place {
        worker.stop(instance);
    }
}
