//! Checks and compiles modules. Each runs in its own process, in a queue that is fair between spaces. Compiled modules are cached
//! on disk.

mod cache;
pub(crate) mod child;
mod job;
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

use futures_channel::oneshot;
use starlane_bundle::Digest;
use starlane_protocol::{Failure, HostSecret};
use wasmtime::{Engine, Module};

pub(crate) use self::job::Source;
use self::{
    cache::{CacheMiss, Compiled, CompiledCache, deserialize},
    child::{ChildFault, CompileBounds},
    job::{Job, Told},
};
use crate::{
    fair::{FairQueue, Owner},
    joint::Joint,
    limits::{Limit, Limiter},
};

use super::{engine::Allocation, fault::describe};

/// The folder of compiled modules in a data folder.
pub(crate) const FOLDER: &str = "compiled";
/// The time for which a module whose compilation failed is refused without a new attempt.
const REMEMBERED: Duration = Duration::from_secs(60);
/// The maximum number of such modules.
const MAX_REMEMBERED: usize = 1_024;
/// The maximum number of remembered modules that passed their check. Above it, all are forgotten.
const MAX_CHECKED: usize = 65_536;

/// The settings of the compiler.
#[derive(Debug, Clone)]
pub(crate) struct CompileConfig {
    /// The program with the command `compile-module`, run in a limited process. None: this process compiles.
    pub(crate) program: Option<PathBuf>,
    /// The folder of compiled modules, and the secret that authenticates them.
    pub(crate) kept: Option<(PathBuf, HostSecret)>,
    /// The server's limits.
    pub(crate) limiter: Arc<Limiter>,
}

/// The reason why a module was not compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CompileError {
    /// The module is not a valid guest.
    #[error("{0}")]
    Module(String),
    /// It exceeds a limit.
    #[error("{}", .0.message)]
    Limit(Failure),
    /// Too many modules of its space are waiting.
    #[error("{}", .0.message)]
    Waiting(Failure),
    /// The module's bytes do not exist.
    #[error("its file is missing or damaged")]
    Absent,
    /// The compiler failed, not the module.
    #[error("the compiler failed: {0}")]
    Failed(String),
}

/// The counts of the compiler.
#[derive(Debug, Default)]
pub(crate) struct CompileCounts {
    /// Started checks of modules.
    pub(crate) checked: AtomicU64,
    /// Modules that were compiled.
    pub(crate) compiled: AtomicU64,
    /// Modules that were read from disk.
    pub(crate) loaded: AtomicU64,
    /// Modules that were refused or whose compilation failed.
    pub(crate) failed: AtomicU64,
}

/// Compiles modules on its own threads. Clones share the compiler; it ends with the last clone.
#[derive(Clone)]
pub(crate) struct Compiler(Arc<Ending>);

struct Ending(Arc<Shared>);

struct Shared {
    engine: Engine,
    allocation: Allocation,
    config: CompileConfig,
    kept: Option<CompiledCache>,
    /// Checks that requests of a space wait for.
    checking: Joint<(String, Digest), Result<u64, CompileError>>,
    state: Mutex<State>,
    work: Condvar,
    is_over: AtomicBool,
    counts: CompileCounts,
}

struct State {
    queue: FairQueue<Job>,
    refused: HashMap<Digest, (Instant, CompileError)>,
    /// Modules that passed their check, with their initial memory in bytes.
    checked: HashMap<Digest, u64>,
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
        // One module per space at a time, so that a space with many modules does not block others.
        let queue = FairQueue::new(1, 1_000_000_000);
        let state = Mutex::new(State { queue, refused: HashMap::new(), checked: HashMap::new() });
        let (work, is_over, counts) = (Condvar::new(), AtomicBool::new(false), CompileCounts::default());
        let parallel = config.limiter.count(Limit::CompileProcesses).max(1);
        let checking = Joint::default();
        let shared = Arc::new(Shared { engine, allocation, config, kept, checking, state, work, is_over, counts });
        for number in 0..parallel {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("starlane-compile-{number}")).spawn(move || shared.work())?;
        }
        Ok(Self(Arc::new(Ending(shared))))
    }

    /// A compiled module, read from disk or compiled on a space's account. Dropping the future leaves the queue.
    pub(crate) async fn compile(
        &self,
        space: &str,
        digest: Digest,
        source: impl Into<Source>,
    ) -> Result<Module, CompileError> {
        let source = source.into();
        let shared = Arc::clone(&self.0.0);
        let loaded = tokio::task::spawn_blocking(move || shared.load(&digest)).await;
        if let Ok(Some(module)) = loaded {
            return Ok(module);
        }
        let (told, compiled) = oneshot::channel();
        self.0.0.enqueue(space, Job { digest, source, told: Told::Compiled(told) })?;
        compiled.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Checks a module on a space's account: once for all waiting requests of the space, until all of them are cancelled. Returns
    /// the module's initial memory in bytes.
    pub(crate) async fn check(
        &self,
        space: &str,
        digest: Digest,
        source: impl Into<Source>,
    ) -> Result<u64, CompileError> {
        if let Some(memory) = self.0.0.checked(&digest) {
            return Ok(memory);
        }
        let (shared, space, source) = (Arc::clone(&self.0.0), space.to_owned(), source.into());
        let key = (space.clone(), digest);
        let check = |_| async move {
            let (told, checked) = oneshot::channel();
            shared.enqueue(&space, Job { digest, source, told: Told::Checked(told) })?;
            checked.await.unwrap_or_else(|_| Err(stopping()))
        };
        self.0.0.checking.join(key, check).await
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

    fn enqueue(&self, space: &str, job: Job) -> Result<(), CompileError> {
        let mut state = self.lock();
        if let Some((since, error)) = state.refused.get(&job.digest)
            && since.elapsed() < REMEMBERED
        {
            return Err(error.clone());
        }
        let waiting = state.queue.waiting(space);
        if waiting >= self.config.limiter.count(Limit::CompilesWaiting) {
            let what = format!("{waiting} modules of space `{space}` are waiting for compilation: try again later");
            return Err(CompileError::Waiting(self.config.limiter.refuse(Limit::CompilesWaiting, what)));
        }
        state.queue.push(&Owner { space: space.into(), app: "".into() }, job);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    fn work(&self) {
        while let Some((owner, job)) = self.next() {
            let begun = Instant::now();
            self.do_job(job);
            self.lock().queue.done(&owner, begun.elapsed().as_nanos() as u64);
            // The next module of this space can be taken now.
            self.work.notify_one();
        }
    }

    fn do_job(&self, Job { digest, source, told }: Job) {
        match told {
            Told::Checked(told) if !told.is_canceled() => {
                let wasm = source.read();
                let checked = wasm.and_then(|wasm| self.check(&digest, &wasm, &|| told.is_canceled()));
                if let (Err(error), false) = (&checked, told.is_canceled()) {
                    self.refuse(digest, error);
                }
                let _ = told.send(checked);
            }
            Told::Compiled(told) if !told.is_canceled() => {
                // Another space can have had it compiled meanwhile.
                let compile = || self.compile(&digest, &source.read()?);
                let compiled = self.load(&digest).map_or_else(compile, Ok);
                if let Err(error) = &compiled {
                    self.refuse(digest, error);
                }
                let _ = told.send(compiled);
            }
            // Nobody waits any more.
            Told::Checked(_) | Told::Compiled(_) => {}
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

    /// Reads a compiled module from disk.
    fn load(&self, digest: &Digest) -> Option<Module> {
        match self.kept.as_ref()?.load(&self.engine, digest) {
            Ok(module) => {
                self.counts.loaded.fetch_add(1, Relaxed);
                Some(module)
            }
            Err(CacheMiss::Absent) => None,
            Err(error) => {
                tracing::warn!("compiling a module again: {error}");
                None
            }
        }
    }

    /// The initial memory, in bytes, of a module that passed its check.
    fn checked(&self, digest: &Digest) -> Option<u64> {
        self.lock().checked.get(digest).copied()
    }

    /// Checks a module that was not checked earlier. Ends early when it is cancelled.
    fn check(&self, digest: &Digest, wasm: &[u8], is_unwanted: &dyn Fn() -> bool) -> Result<u64, CompileError> {
        if let Some(memory) = self.checked(digest) {
            return Ok(memory);
        }
        self.counts.checked.fetch_add(1, Relaxed);
        let functions = self.config.limiter.limits().of_functions();
        let memory = match &self.config.program {
            Some(program) => {
                let bounds = CompileBounds { check: Some(functions), ..self.bounds() };
                let checked = child::run(program, bounds, wasm, || self.is_over.load(Relaxed) || is_unwanted());
                let checked = checked.map_err(|fault| self.not_made(fault))?;
                let memory = String::from_utf8_lossy(&checked).trim().parse();
                memory.map_err(|_| CompileError::Failed("it did not report the memory of the module".to_owned()))?
            }
            None => starlane_meter::check(wasm, &functions).map_err(|fault| self.not_made(ChildFault::of(&fault)))?,
        };
        let mut state = self.lock();
        if state.checked.len() >= MAX_CHECKED {
            state.checked.clear();
        }
        state.checked.insert(*digest, memory);
        Ok(memory)
    }

    fn compile(&self, digest: &Digest, wasm: &[u8]) -> Result<Module, CompileError> {
        self.check(digest, wasm, &|| false)?;
        let compiled = match &self.config.program {
            Some(program) => child::run(program, self.bounds(), wasm, || self.is_over.load(Relaxed))
                .map_err(|fault| self.not_made(fault))?,
            None => {
                let compiled = catch_unwind(AssertUnwindSafe(|| self.engine.precompile_module(wasm)));
                let compiled = compiled.map_err(|_| CompileError::Failed("it panicked".to_owned()))?;
                compiled.map_err(|error| CompileError::Module(describe(&error)))?
            }
        };
        let module = deserialize(&self.engine, Compiled(&compiled)).map_err(CompileError::Failed)?;
        self.counts.compiled.fetch_add(1, Relaxed);
        if let Some(kept) = &self.kept
            && let Err(error) = kept.save(digest, &Compiled(&compiled))
        {
            tracing::warn!("cannot save the compiled module {digest}: {error}");
        }
        Ok(module)
    }

    /// The limits of a compiler process.
    fn bounds(&self) -> CompileBounds {
        let (limiter, sparing) = (&self.config.limiter, self.allocation == Allocation::Sparing);
        let seconds = limiter.get(Limit::CompileTime).div_ceil(1_000);
        CompileBounds { memory: limiter.get(Limit::CompileMemory), seconds, sparing, check: None }
    }

    fn not_made(&self, fault: ChildFault) -> CompileError {
        let over = |limit, what: &str| CompileError::Limit(self.config.limiter.refuse(limit, what));
        match fault {
            ChildFault::Module(reason) => CompileError::Module(reason),
            ChildFault::Function(limit, reason) => over(limit.into(), &reason),
            ChildFault::Memory => over(Limit::CompileMemory, "compiling the module takes too much memory"),
            ChildFault::Time => over(Limit::CompileTime, "compiling the module takes too much processor time"),
            ChildFault::Process(reason) => CompileError::Failed(reason),
            ChildFault::Stopped => stopping(),
        }
    }

    /// Remembers a failed module, so that its messages do not start the compilation again and again.
    fn refuse(&self, digest: Digest, error: &CompileError) {
        self.counts.failed.fetch_add(1, Relaxed);
        if matches!(error, CompileError::Failed(_) | CompileError::Waiting(_) | CompileError::Absent) {
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
