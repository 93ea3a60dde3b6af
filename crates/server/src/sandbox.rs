#![doc = include_str!("sandbox/README.md")]

pub(crate) mod compile;
mod cpu_budget;
mod engine;
mod exports;
mod fault;
mod gate;
mod instance;
mod life;
mod lift;
mod lower;
mod mesh;
pub(crate) mod metrics;
mod scheduler;
mod state;
mod streams;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    num::NonZero,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use futures_channel::{mpsc, oneshot};
use futures_util::future::LocalBoxFuture;
use starlane_abi::names;
use starlane_bundle::Digest;
use starlane_host::ports::{Sandbox, SandboxError};
use starlane_meter::ModuleFault;
use starlane_node::guest::{BatchReport, GuestCall, GuestPlan, InstanceId};
use wasmtime::{ExternType, InstancePre, Linker};

use crate::{
    contract::{ASIDE, Contracts},
    fair::Owner,
    limits::Limit,
};

use self::{
    compile::{CompileConfig, Compiler},
    cpu_budget::CpuBudget,
    engine::INSTANCES,
    gate::Gate,
    instance::NO_ROOM,
    life::{Batch, Birth, live},
    scheduler::{Accounts, Scheduler},
    state::GuestState,
};

/// Runs guests with wasmtime on its own threads. Dropping it ends them all.
pub(crate) struct WasmtimeSandbox {
    compiler: Compiler,
    linker: Rc<Linker<GuestState>>,
    scheduler: Scheduler,
    modules: Rc<RefCell<HashMap<Digest, InstancePre<GuestState>>>>,
    instances: Rc<RefCell<HashMap<InstanceId, Running>>>,
    contracts: Rc<Contracts>,
    usage: Arc<GuestUsage>,
}

/// The resource use of guests, for the metrics.
#[derive(Debug, Default)]
pub(crate) struct GuestUsage {
    /// The processor time of each app.
    pub(crate) accounts: Accounts,
    /// The number of modules in memory.
    pub(crate) modules: AtomicUsize,
}

/// The settings of a sandbox.
#[derive(Debug, Clone)]
pub(crate) struct SandboxConfig {
    /// The number of threads that run guests.
    pub(crate) threads: NonZero<usize>,
    /// The settings of the compiler.
    pub(crate) compile: CompileConfig,
}

/// The host's side of an instance. Dropping it ends the instance when it is idle.
struct Running {
    cpu_budget: Arc<CpuBudget>,
    batches: mpsc::UnboundedSender<Batch>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cpu_budget.stop();
    }
}

/// The reason why a sandbox cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenSandboxError {
    /// The system refused a thread.
    #[error("cannot start a thread for guests: {0}")]
    Thread(#[from] io::Error),
    /// The engine does not run on this machine.
    #[error("the WebAssembly engine cannot run on this machine: {0}")]
    Engine(#[from] wasmtime::Error),
}

impl WasmtimeSandbox {
    /// Opens a sandbox.
    pub(crate) fn open(config: SandboxConfig) -> Result<Self, OpenSandboxError> {
        let (engine, allocation) = engine::engine()?;
        let linker = mesh::linker(&engine)?;
        Ok(Self {
            scheduler: Scheduler::start(config.threads, config.compile.limiter.get(Limit::SpaceCpuPercent))?,
            compiler: Compiler::open(engine, allocation, config.compile)?,
            linker: Rc::new(linker),
            modules: Rc::default(),
            instances: Rc::default(),
            contracts: Rc::default(),
            usage: Arc::default(),
        })
    }

    /// The live resource use of guests.
    pub(crate) fn usage(&self) -> Arc<GuestUsage> {
        Arc::clone(&self.usage)
    }

    /// The compiler, for tasks of other threads.
    pub(crate) fn compiler(&self) -> Compiler {
        self.compiler.clone()
    }

    /// The contracts in use, for resources that are not mechtrons.
    pub(crate) fn contracts(&self) -> Rc<Contracts> {
        Rc::clone(&self.contracts)
    }

    fn begin(&self, plan: &GuestPlan) -> Result<oneshot::Receiver<Result<(), String>>, SandboxError> {
        let module = self.modules.borrow().get(&plan.wasm).cloned();
        let module = module.ok_or_else(|| SandboxError::Module {
            digest: plan.wasm,
            reason: "it has not been compiled here; compile it before an instance is made".to_owned(),
        })?;
        if self.instances.borrow().len() >= INSTANCES as usize {
            return Err(SandboxError::Full(format!("{INSTANCES} instances are running; the maximum is {INSTANCES}")));
        }
        let checker = self.contracts.checker(&plan.contract, ASIDE).map_err(SandboxError::Instance)?;
        let owner = Owner::of_app(plan.app());
        let gate = Gate::new(checker, owner.clone());
        let account = self.usage.accounts.open(owner);
        let (made, is_made) = oneshot::channel();
        let (sender, batches) = mpsc::unbounded();
        let cpu_budget = Arc::new(CpuBudget::new(plan.limits.call_ms));
        self.instances.borrow_mut().insert(plan.instance, Running { cpu_budget: cpu_budget.clone(), batches: sender });
        self.scheduler.spawn(&account, live(Birth { module, bounds: plan.limits, gate, cpu_budget, made, batches }));
        Ok(is_made)
    }
}

/// The initial memory of an instance, in bytes.
fn initial_memory(module: &InstancePre<GuestState>) -> u64 {
    let memory = module.module().get_export(names::MEMORY);
    let memory = memory.as_ref().and_then(ExternType::memory);
    memory.map_or(0, |memory| memory.minimum().saturating_mul(memory.page_size()))
}

impl Sandbox for WasmtimeSandbox {
    fn has_module(&self, digest: &Digest, memory: u64) -> bool {
        self.modules.borrow().get(digest).is_some_and(|module| initial_memory(module) <= memory)
    }

    fn compile(
        &self,
        space: &str,
        digest: Digest,
        memory: u64,
        wasm: Bytes,
    ) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        let (compiler, linker, space) = (self.compiler.clone(), self.linker.clone(), space.to_owned());
        let (modules, usage) = (self.modules.clone(), self.usage.clone());
        Box::pin(async move {
            let refused = |reason: String| SandboxError::Module { digest, reason };
            let known = modules.borrow().get(&digest).cloned();
            let module = match known {
                Some(module) => module,
                None => {
                    let compiled = compiler.compile(&space, digest, wasm).await;
                    let module = compiled.map_err(|error| refused(error.to_string()))?;
                    linker.instantiate_pre(&module).map_err(|error| refused(fault::describe(&error)))?
                }
            };
            let needed = initial_memory(&module);
            if needed > memory {
                return Err(refused(ModuleFault::Memory(needed, memory).to_string()));
            }
            modules.borrow_mut().insert(digest, module);
            usage.modules.store(modules.borrow().len(), Relaxed);
            Ok(())
        })
    }

    fn forget(&self, digest: &Digest) {
        // Running instances keep the parts that they need.
        let forgotten = self.modules.borrow_mut().remove(digest);
        self.usage.modules.store(self.modules.borrow().len(), Relaxed);
        drop(forgotten);
    }

    fn start(&self, plan: &GuestPlan) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        let (begun, instances, id) = (self.begin(plan), self.instances.clone(), plan.instance);
        Box::pin(async move {
            let made = begun?.await.unwrap_or_else(|_| Err("its thread has ended".to_owned()));
            let made = match made {
                Ok(()) if !instances.borrow().contains_key(&id) => Err("it was stopped meanwhile".to_owned()),
                other => other,
            };
            made.map_err(|reason| {
                instances.borrow_mut().remove(&id);
                // Stopped instances can remain in the pool for a moment.
                if reason == NO_ROOM { SandboxError::Full(reason) } else { SandboxError::Instance(reason) }
            })
        })
    }

    fn run(&self, instance: InstanceId, calls: Vec<GuestCall>) -> LocalBoxFuture<'static, BatchReport> {
        let (report, done) = oneshot::channel();
        if let Some(running) = self.instances.borrow().get(&instance) {
            // If the task has ended, the batch and the sender of its report are dropped.
            let _ = running.batches.unbounded_send(Batch { calls, report });
        }
        let instances = self.instances.clone();
        Box::pin(async move {
            let report = done.await.unwrap_or_else(|_| BatchReport {
                crash: Some("no such instance: it was stopped or has crashed".to_owned()),
                ..BatchReport::default()
            });
            if report.crash.is_some() {
                instances.borrow_mut().remove(&instance);
            }
            report
        })
    }

    fn stop(&self, instance: InstanceId) {
        self.instances.borrow_mut().remove(&instance);
    }

    fn place(&self, instance: InstanceId) -> String {
        match self.instances.borrow().contains_key(&instance) {
            true => "server".to_owned(),
            false => "nowhere".to_owned(),
        }
    }
}
