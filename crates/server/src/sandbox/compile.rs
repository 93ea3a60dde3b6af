//! Compiling modules: each in a process of its own, in a queue that is fair between spaces, and once: the result is kept on disk.

mod cache;
pub(crate) mod child;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_channel::oneshot;
use starlane_bundle::Digest;
use starlane_protocol::{Failure, HostSecret};
use wasmtime::{Engine, Module};

use self::{
    cache::{CacheMiss, Compiled, CompiledCache, deserialize},
    child::{ChildFault, CompileBounds},
};
use crate::{
    fair::{FairQueue, Owner},
    limits::{Limit, Limiter},
};

use super::{engine::Allocation, fault::describe};

/// The folder of compiled modules in a data folder.
pub(crate) const FOLDER: &str = "compiled";
/// How long a module that could not be compiled is refused without another try.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many such modules are remembered.
const MAX_REMEMBERED: usize = 1_024;

/// How modules are compiled.
#[derive(Debug, Clone)]
pub(crate) struct CompileConfig {
    /// The program whose command `compile-module` compiles, in a process with limits; without it, this process does.
    pub(crate) program: Option<PathBuf>,
    /// Where compiled modules are kept, and the secret that authenticates them.
    pub(crate) kept: Option<(PathBuf, HostSecret)>,
    /// The limits of it all.
    pub(crate) limiter: Arc<Limiter>,
}

/// Why a module was not compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// It can't be a guest.
    #[error("{0}")]
    Module(String),
    /// It exceeds a limit.
    #[error("{}", .0.message)]
    Limit(Failure),
    /// Too many others of its space wait.
    #[error("{}", .0.message)]
    Waiting(Failure),
    /// The compiler failed, not the module.
    #[error("the compiler failed: {0}")]
    Failed(String),
}

/// What the compiler did.
#[derive(Debug, Default)]
pub(crate) struct CompileCounts {
    /// Modules that were compiled.
    pub(crate) compiled: AtomicU64,
    /// Modules that were read from disk.
    pub(crate) loaded: AtomicU64,
    /// Modules that were refused, or could not be compiled.
    pub(crate) failed: AtomicU64,
}

/// Compiles modules on threads of its own. Clones are the same compiler; it ends with the last.
#[derive(Clone)]
pub(crate) struct Compiler(Arc<Ending>);

struct Ending(Arc<Shared>);

struct Shared {
    engine: Engine,
    allocation: Allocation,
    config: CompileConfig,
    kept: Option<CompiledCache>,
    state: Mutex<State>,
    work: Condvar,
    is_over: AtomicBool,
    counts: CompileCounts,
}

struct State {
    queue: FairQueue<Job>,
    refused: HashMap<Digest, (Instant, CompileError)>,
}

struct Job {
    digest: Digest,
    wasm: Bytes,
    told: oneshot::Sender<Result<Module, CompileError>>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("config", &self.0.0.config).finish_non_exhaustive()
    }
}

impl Compiler {
    /// Opens a compiler for an engine.
    pub(super) fn open(engine: Engine, allocation: Allocation, config: CompileConfig) -> io::Result<Self> {
        let (kept, max_bytes) = (config.kept.as_ref(), config.limiter.get(Limit::CompiledBytes));
        let kept = kept.map(|(folder, secret)| CompiledCache::open(folder, secret, &engine, max_bytes));
        let kept = kept.transpose()?;
        // One of a space at a time: whoever has many modules keeps no other space from compiling one.
        let state = Mutex::new(State { queue: FairQueue::new(1, 1_000_000_000), refused: HashMap::new() });
        let (work, is_over, counts) = (Condvar::new(), AtomicBool::new(false), CompileCounts::default());
        let parallel = config.limiter.count(Limit::CompileProcesses).max(1);
        let shared = Arc::new(Shared { engine, allocation, config, kept, state, work, is_over, counts });
        for number in 0..parallel {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("starlane-compile-{number}")).spawn(move || shared.work())?;
        }
        Ok(Self(Arc::new(Ending(shared))))
    }

    /// A compiled module: read from disk, or compiled at the expense of a space. Whoever drops the future gives up its place.
    pub(crate) async fn compile(&self, space: &str, digest: Digest, wasm: Bytes) -> Result<Module, CompileError> {
        let shared = Arc::clone(&self.0.0);
        let loaded = tokio::task::spawn_blocking(move || shared.load(&digest)).await;
        if let Ok(Some(module)) = loaded {
            return Ok(module);
        }
        self.0.0.enqueue(space, digest, wasm)?.await.unwrap_or_else(|_| Err(stopping()))
    }

    pub(crate) fn counts(&self) -> &CompileCounts {
        &self.0.0.counts
    }
}

fn stopping() -> CompileError {
    CompileError::Failed("the server is stopping".to_owned())
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.is_over.store(true, Relaxed);
        let waiting = self.0.lock().queue.drain();
        self.0.work.notify_all();
        drop(waiting);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that may panic runs while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(
        &self,
        space: &str,
        digest: Digest,
        wasm: Bytes,
    ) -> Result<oneshot::Receiver<Result<Module, CompileError>>, CompileError> {
        let mut state = self.lock();
        if let Some((since, error)) = state.refused.get(&digest)
            && since.elapsed() < REMEMBERED
        {
            return Err(error.clone());
        }
        let waiting = state.queue.waiting(space);
        if waiting >= self.config.limiter.count(Limit::CompilesWaiting) {
            let what = format!("{waiting} modules of the space `{space}` wait to be compiled: try again later");
            return Err(CompileError::Waiting(self.config.limiter.refuse(Limit::CompilesWaiting, what)));
        }
        let (told, compiled) = oneshot::channel();
        state.queue.push(&Owner { space: space.into(), app: "".into() }, Job { digest, wasm, told });
        drop(state);
        self.work.notify_one();
        Ok(compiled)
    }

    fn work(&self) {
        while let Some((owner, job)) = self.next() {
            let begun = Instant::now();
            // Nobody waits any more, or another space has just had it compiled.
            if !job.told.is_canceled() {
                let compiled = self.load(&job.digest).map_or_else(|| self.compile(&job), Ok);
                if let Err(error) = &compiled {
                    self.refuse(job.digest, error);
                }
                let _ = job.told.send(compiled);
            }
            self.lock().queue.done(&owner, begun.elapsed().as_nanos() as u64);
            // The next of this space may be taken now.
            self.work.notify_one();
        }
    }

    fn next(&self) -> Option<(Owner, Job)> {
        let mut state = self.lock();
        loop {
            if self.is_over.load(Relaxed) {
                return None;
            }
            if let Some(next) = state.queue.pop() {
                return Some(next);
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads a module that was compiled before.
    fn load(&self, digest: &Digest) -> Option<Module> {
        match self.kept.as_ref()?.load(&self.engine, digest) {
            Ok(module) => {
                self.counts.loaded.fetch_add(1, Relaxed);
                Some(module)
            }
            Err(CacheMiss::Absent) => None,
            Err(error) => {
                tracing::warn!("a compiled module is compiled again: {error}");
                None
            }
        }
    }

    fn compile(&self, job: &Job) -> Result<Module, CompileError> {
        let limiter = &self.config.limiter;
        starlane_meter::check(&job.wasm, &limiter.limits().of_functions()).map_err(|fault| match fault.limit() {
            Some(limit) => CompileError::Limit(limiter.refuse(limit.into(), fault)),
            None => CompileError::Module(fault.to_string()),
        })?;
        let compiled = match &self.config.program {
            Some(program) => {
                let sparing = self.allocation == Allocation::Sparing;
                let seconds = limiter.get(Limit::CompileTime).div_ceil(1_000);
                let bounds = CompileBounds { memory: limiter.get(Limit::CompileMemory), seconds, sparing };
                let over = |limit, what| CompileError::Limit(limiter.refuse(limit, what));
                child::run(program, bounds, &job.wasm, || self.is_over.load(Relaxed)).map_err(|fault| match fault {
                    ChildFault::Module(reason) => CompileError::Module(reason),
                    ChildFault::Memory => over(Limit::CompileMemory, "compiling it takes too much memory"),
                    ChildFault::Time => over(Limit::CompileTime, "compiling it takes too much processor time"),
                    ChildFault::Process(reason) => CompileError::Failed(reason),
                    ChildFault::Stopped => stopping(),
                })?
            }
            None => {
                let compiled = catch_unwind(AssertUnwindSafe(|| self.engine.precompile_module(&job.wasm)));
                let compiled = compiled.map_err(|_| CompileError::Failed("it panicked".to_owned()))?;
                compiled.map_err(|error| CompileError::Module(describe(&error)))?
            }
        };
        let module = deserialize(&self.engine, Compiled(&compiled)).map_err(CompileError::Failed)?;
        self.counts.compiled.fetch_add(1, Relaxed);
        if let Some(kept) = &self.kept
            && let Err(error) = kept.save(&job.digest, &Compiled(&compiled))
        {
            tracing::warn!("the compiled module {} can't be kept: {error}", job.digest);
        }
        Ok(module)
    }

    /// Remembers a module that can't be compiled, so that its messages do not have it tried again and again.
    fn refuse(&self, digest: Digest, error: &CompileError) {
        self.counts.failed.fetch_add(1, Relaxed);
        if matches!(error, CompileError::Failed(_) | CompileError::Waiting(_)) {
            return;
        }
        let mut state = self.lock();
        if state.refused.len() >= MAX_REMEMBERED {
            state.refused.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        }
        if state.refused.len() < MAX_REMEMBERED {
            state.refused.insert(digest, (Instant::now(), error.clone()));
        }
    }
}
