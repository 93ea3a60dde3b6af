#![doc = include_str!("sandbox/README.md")]

mod check;
mod contract;
mod engine;
mod fault;
mod instance;
mod lift;
mod lower;
mod mesh;
mod meter;
mod state;
#[cfg(test)]
mod tests;
mod thread;

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    num::NonZero,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
};

use bytes::Bytes;
use futures_channel::{mpsc, oneshot};
use futures_util::future::LocalBoxFuture;
use starlane_bundle::Digest;
use starlane_host::ports::{Sandbox, SandboxError};
use starlane_node::guest::{BatchReport, GuestCall, GuestPlan, InstanceId};
use wasmtime::InstancePre;

use self::{
    contract::Contracts,
    engine::{Compiler, INSTANCES},
    instance::NO_ROOM,
    meter::Meter,
    state::GuestState,
    thread::{Batch, Birth, GuestThread},
};

/// Why hosts would not run a module within so many bytes of memory, if they would not.
pub fn check_module(wasm: &[u8], memory: u64) -> Result<(), String> {
    let needed = check::check(wasm).map_err(|fault| fault.to_string())?;
    if needed > memory {
        return Err(format!("it begins with {needed} bytes of memory, and its limit is {memory}"));
    }
    Ok(())
}

/// Runs guests with wasmtime, on threads of its own. Dropping it ends them all.
pub(crate) struct WasmtimeSandbox {
    compiler: Arc<Compiler>,
    threads: Vec<GuestThread>,
    modules: Rc<RefCell<HashMap<Digest, InstancePre<GuestState>>>>,
    instances: Rc<RefCell<HashMap<InstanceId, Running>>>,
    contracts: Contracts,
    guest_nanos: Arc<AtomicU64>,
}

/// The host's side of an instance. Dropping it ends the instance when it is idle.
struct Running {
    thread: usize,
    meter: Arc<Meter>,
    batches: mpsc::UnboundedSender<Batch>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.meter.stop();
    }
}

/// Why no sandbox can be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenSandboxError {
    /// The system gives no thread.
    #[error("no thread for guests could be started: {0}")]
    Thread(#[from] io::Error),
    /// The engine does not run on this machine.
    #[error("the WebAssembly engine can't be used here: {0}")]
    Engine(#[from] wasmtime::Error),
}

impl WasmtimeSandbox {
    /// Opens a sandbox with one thread for each processor.
    pub(crate) fn open() -> Result<Self, OpenSandboxError> {
        Self::with_threads(std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN))
    }

    /// Opens a sandbox with so many threads.
    pub(crate) fn with_threads(threads: NonZero<usize>) -> Result<Self, OpenSandboxError> {
        let engine = engine::engine()?;
        let linker = mesh::linker(&engine)?;
        Ok(Self {
            compiler: Arc::new(Compiler::new(engine, linker)),
            threads: (0..threads.get()).map(GuestThread::spawn).collect::<Result<_, _>>()?,
            modules: Rc::default(),
            instances: Rc::default(),
            contracts: Contracts::default(),
            guest_nanos: Arc::default(),
        })
    }

    /// How many nanoseconds guests have computed, of all processors together; it goes on counting.
    pub(crate) fn guest_nanos(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.guest_nanos)
    }

    /// The thread with the fewest instances, and its number.
    fn idlest(&self) -> Option<(usize, &GuestThread)> {
        let mut counts = vec![0; self.threads.len()];
        for running in self.instances.borrow().values() {
            if let Some(count) = counts.get_mut(running.thread) {
                *count += 1;
            }
        }
        self.threads.iter().enumerate().zip(counts).min_by_key(|(_, count)| *count).map(|(thread, _)| thread)
    }

    fn begin(&self, plan: &GuestPlan) -> Result<oneshot::Receiver<Result<(), String>>, SandboxError> {
        let module = self.modules.borrow().get(&plan.wasm).cloned();
        let module = module.ok_or_else(|| SandboxError::Module {
            digest: plan.wasm,
            reason: "it has not been compiled here; compile it before an instance is made".to_owned(),
        })?;
        if self.instances.borrow().len() >= INSTANCES as usize {
            return Err(SandboxError::Full(format!("{INSTANCES} instances run; the maximum is {INSTANCES}")));
        }
        let gate = self.contracts.gate(&plan.contract).map_err(SandboxError::Instance)?;
        let (number, thread) =
            self.idlest().ok_or_else(|| SandboxError::Instance("the sandbox has no threads".to_owned()))?;
        let (made, is_made) = oneshot::channel();
        let (sender, batches) = mpsc::unbounded();
        let meter = Arc::new(Meter::new(plan.limits.call_ms, Arc::clone(&self.guest_nanos)));
        let running = Running { thread: number, meter: meter.clone(), batches: sender };
        self.instances.borrow_mut().insert(plan.instance, running);
        thread.run(Birth { module, bounds: plan.limits, gate, meter, made, batches });
        Ok(is_made)
    }
}

impl Sandbox for WasmtimeSandbox {
    fn has_module(&self, digest: &Digest) -> bool {
        self.modules.borrow().contains_key(digest)
    }

    fn compile(&self, digest: Digest, wasm: Bytes) -> LocalBoxFuture<'static, Result<(), SandboxError>> {
        let (compiler, modules) = (self.compiler.clone(), self.modules.clone());
        Box::pin(async move {
            if modules.borrow().contains_key(&digest) {
                return Ok(());
            }
            let (sender, compiled) = oneshot::channel();
            let aside = std::thread::Builder::new().name("starlane-compile".into()).spawn(move || {
                let _ = sender.send(compiler.compile(&wasm));
            });
            let compiled = match aside {
                Ok(_) => compiled.await.unwrap_or_else(|_| Err("the compiler gave up on it".to_owned())),
                Err(error) => Err(format!("no thread to compile it on: {error}")),
            };
            let module = compiled.map_err(|reason| SandboxError::Module { digest, reason })?;
            modules.borrow_mut().insert(digest, module);
            Ok(())
        })
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
                // Instances that were stopped may still be in the pool for a moment.
                if reason == NO_ROOM { SandboxError::Full(reason) } else { SandboxError::Instance(reason) }
            })
        })
    }

    fn run(&self, instance: InstanceId, calls: Vec<GuestCall>) -> LocalBoxFuture<'static, BatchReport> {
        let (report, done) = oneshot::channel();
        if let Some(running) = self.instances.borrow().get(&instance) {
            // If its task is gone the batch is dropped, and with it the sender of the report.
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
        match self.instances.borrow().get(&instance) {
            Some(running) => format!("thread {}", running.thread),
            None => "nowhere".to_owned(),
        }
    }
}
