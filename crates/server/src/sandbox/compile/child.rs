//! The process that compiles one module. It gets only the module, has limits, and ends with the server.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use starlane_abi::limits::MODULE_BYTES;
use starlane_meter::{FunctionLimit, FunctionLimits, ModuleFault};

use crate::sandbox::{
    engine::{Allocation, compiling_engine},
    fault::describe,
};

/// The hidden command of the program that is started.
pub const COMMAND: &str = "compile-module";
/// The address space that mimalloc, the allocator of `starlane`, reserves at a time, in KiB. By default it would
/// reserve the whole limit of the process.
const ARENA: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "65536");
/// The maximum number of bytes read from its standard error.
const MAX_REASON: u64 = 4_096;
/// The interval between two checks whether the server is stopping.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The time for a process to exit after its answer.
const LAST_STEPS: Duration = Duration::from_secs(10);
/// A process that gets no processor is ended after this many times its processor time, and never before the minimum.
const WALL_FACTOR: u32 = 10;
const MIN_WALL: Duration = Duration::from_secs(60);

/// The limits for the compilation of one module.
#[derive(Debug, Clone, Copy)]
pub struct CompileBounds {
    /// The maximum address space of the process, in bytes.
    pub memory: u64,
    /// The maximum processor time, in seconds.
    pub seconds: u64,
    /// Compile for an engine that reserves no address space.
    pub sparing: bool,
    /// Only check the module, by these limits of its functions.
    pub check: Option<FunctionLimits>,
}

/// The limits of functions, in the order of their places.
pub(super) const FUNCTION_LIMITS: [FunctionLimit; 5] = [
    FunctionLimit::Bytes,
    FunctionLimit::Locals,
    FunctionLimit::Branches,
    FunctionLimit::LoopDepth,
    FunctionLimit::Moves,
];
/// The beginning of an error text that names one of these limits. The index of the limit follows.
const OVER: &str = "over-limit-";

/// The reason why a process compiled nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ChildFault {
    /// The module cannot be compiled, with the reason.
    Module(String),
    /// A function exceeds a limit, with the details.
    Function(FunctionLimit, String),
    /// The process exceeded its memory limit.
    Memory,
    /// The process exceeded its time limit.
    Time,
    /// The process did not start, or was ended by somebody.
    Process(String),
    /// The server is stopping.
    Stopped,
}

impl ChildFault {
    /// The fault of a module that does not pass its check.
    pub(super) fn of(fault: &ModuleFault) -> Self {
        match fault.limit() {
            Some(limit) => Self::Function(limit, fault.to_string()),
            None => Self::Module(fault.to_string()),
        }
    }

    /// The text in which the process reports it.
    pub(super) fn told(&self) -> String {
        match self {
            Self::Function(limit, reason) => {
                let place = FUNCTION_LIMITS.iter().position(|known| known == limit).unwrap_or_default();
                format!("{OVER}{place} {reason}")
            }
            Self::Module(reason) | Self::Process(reason) => reason.clone(),
            Self::Memory | Self::Time | Self::Stopped => String::new(),
        }
    }

    /// Parses a text that a process reported.
    pub(super) fn heard(reason: &str) -> Self {
        let over = reason.strip_prefix(OVER).and_then(|rest| rest.split_once(' '));
        let limit = over.and_then(|(place, rest)| Some((FUNCTION_LIMITS.get(place.parse::<usize>().ok()?)?, rest)));
        match limit {
            Some((limit, reason)) => Self::Function(*limit, reason.to_owned()),
            None => Self::Module(reason.to_owned()),
        }
    }
}

/// Compiles or checks one module, in the process of `starlane compile-module`. The module is read from `input` to its
/// end. The result is written to `output`: the compiled module, or after a check the initial memory in bytes. The error
/// says why the module is refused.
///
/// The process limits itself before it reads anything. It has no open files or secrets of the server.
pub fn compile_module(bounds: CompileBounds, input: impl Read, mut output: impl Write) -> Result<(), String> {
    limit(bounds).map_err(|error| format!("cannot limit the process: {error}"))?;
    let mut wasm = Vec::new();
    input.take(MODULE_BYTES as u64 + 1).read_to_end(&mut wasm).map_err(|error| error.to_string())?;
    if let Some(functions) = &bounds.check {
        let memory = starlane_meter::check(&wasm, functions).map_err(|fault| ChildFault::of(&fault).told())?;
        return write!(output, "{memory}").and_then(|()| output.flush()).map_err(|error| error.to_string());
    }
    let allocation = if bounds.sparing { Allocation::Sparing } else { Allocation::Pooled };
    let engine = compiling_engine(allocation).map_err(|error| error.to_string())?;
    let compiled = engine.precompile_module(&wasm).map_err(|error| describe(&error))?;
    output.write_all(&compiled).and_then(|()| output.flush()).map_err(|error| error.to_string())
}

#[cfg(unix)]
fn limit(bounds: CompileBounds) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, nice, setrlimit};
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // The server's own work has priority. If the system refuses, the process gets an equal share of the processor.
    let _ = nice(5);
    let set = |resource: Resource, value: u64, hard: u64| -> io::Result<()> {
        // The limits never exceed those of the server itself.
        let known = getrlimit(resource);
        let most = known.maximum.unwrap_or(u64::MAX);
        setrlimit(resource, Rlimit { current: Some(value.min(most)), maximum: Some(hard.min(most)) })?;
        Ok(())
    };
    set(Resource::As, bounds.memory, bounds.memory)?;
    set(Resource::Cpu, bounds.seconds, bounds.seconds + 1)?;
    set(Resource::Core, 0, 0)?;
    set(Resource::Fsize, 0, 0)
}

#[cfg(not(unix))]
fn limit(_: CompileBounds) -> io::Result<()> {
    Err(io::Error::other("this system does not support process limits"))
}

/// Runs the program on a module. `is_over` returns whether the server is stopping; then the process is killed.
pub(super) fn run(
    program: &Path,
    bounds: CompileBounds,
    wasm: &[u8],
    is_over: impl Fn() -> bool,
) -> Result<Vec<u8>, ChildFault> {
    let mut child = start(program, bounds)
        .map_err(|error| ChildFault::Process(format!("cannot start the compiler {}: {error}", program.display())))?;
    let answer = thread::scope(|scope| {
        let (told, done) = mpsc::channel();
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let talk = thread::Builder::new().name("starlane-compile-pipe".into()).spawn_scoped(scope, move || {
            // A process that ends early does not read all of it.
            let _ = stdin.map(|mut stdin| stdin.write_all(wasm));
            let compiled = read(stdout, bounds.memory);
            let _ = told.send((compiled, read(stderr, MAX_REASON)));
        });
        let wall = MIN_WALL.max(Duration::from_secs(bounds.seconds) * WALL_FACTOR);
        let answer = match talk {
            Ok(_) => wait(&done, Instant::now() + wall, is_over),
            Err(error) => Err(ChildFault::Process(format!("cannot start a thread for the compiler's output: {error}"))),
        };
        if answer.is_err() {
            // The other thread then ends too, because its pipes break.
            let _ = child.kill();
        }
        answer
    });
    let status = end(&mut child);
    let (compiled, reason) = answer?;
    let status = status.map_err(|error| ChildFault::Process(format!("cannot wait for the compiler: {error}")))?;
    judge(status, compiled, &String::from_utf8_lossy(&reason))
}

fn start(program: &Path, bounds: CompileBounds) -> io::Result<Child> {
    let mut command = Command::new(program);
    #[cfg(unix)]
    std::os::unix::process::CommandExt::arg0(&mut command, "starlane");
    command.arg(COMMAND).args(["--memory", &bounds.memory.to_string(), "--seconds", &bounds.seconds.to_string()]);
    if bounds.sparing {
        command.arg("--sparing");
    }
    if let Some(FunctionLimits { bytes, locals, branches, loop_depth, moves }) = bounds.check {
        command.arg("--check").arg(format!("{bytes},{locals},{branches},{loop_depth},{moves}"));
    }
    command
        .env_clear()
        .env(ARENA.0, ARENA.1)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.spawn()
}

fn read(pipe: Option<impl Read>, most: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    // After an error, the exit status decides about the bytes that were read.
    let _ = pipe.map(|pipe| pipe.take(most).read_to_end(&mut bytes));
    bytes
}

fn wait<T>(done: &mpsc::Receiver<T>, end: Instant, is_over: impl Fn() -> bool) -> Result<T, ChildFault> {
    loop {
        match done.recv_timeout(LOOK_AGAIN) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) if is_over() => return Err(ChildFault::Stopped),
            Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
            Err(RecvTimeoutError::Timeout) => return Err(ChildFault::Time),
            Err(RecvTimeoutError::Disconnected) => return Err(ChildFault::Process("cannot read its output".into())),
        }
    }
}

/// Waits for a process that has closed its pipes, and kills it if it does not exit in time.
fn end(child: &mut Child) -> io::Result<ExitStatus> {
    let end = Instant::now() + LAST_STEPS;
    while Instant::now() < end {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.kill()?;
    child.wait()
}

fn judge(status: ExitStatus, compiled: Vec<u8>, reason: &str) -> Result<Vec<u8>, ChildFault> {
    if status.success() {
        return Ok(compiled);
    }
    let reason = reason.trim();
    // The standard library prints this text before it aborts.
    if reason.contains("memory allocation of") || reason.contains("Cannot allocate memory") {
        return Err(ChildFault::Memory);
    }
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Err(match signal {
            // SIGXCPU, sent at the limit of processor time.
            24 => ChildFault::Time,
            _ => ChildFault::Process(format!("the compiler was ended by signal {signal}: {reason}")),
        });
    }
    match status.code() {
        Some(1) if !reason.is_empty() => Err(ChildFault::heard(reason)),
        _ => Err(ChildFault::Process(format!("the compiler failed ({status}): {reason}"))),
    }
}

/// The running program, for the command `compile-module`. On Linux it stays the same when its file is replaced.
pub fn own_program() -> io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() { Ok(own.to_owned()) } else { std::env::current_exe() }
}
