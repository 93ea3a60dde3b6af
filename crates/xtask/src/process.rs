//! Starts and ends programs. No other module does.
//!
//! Each child is known by its id from start to end, so that Ctrl-C, a failure or a time limit ends only programs that were started
//! here. A child whose output is read gets a process group of its own, because browsers and drivers start children in turn.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

/// How long children of a finished program may keep its output open.
const LINGER: Duration = Duration::from_secs(2);
/// How long a service may take to stop after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// The running children: their ids, and whether each leads a process group of its own.
static RUNNING: Mutex<BTreeMap<u32, bool>> = Mutex::new(BTreeMap::new());

/// Ends all children at the first Ctrl-C (or SIGTERM), and also this program at the second.
pub(crate) fn end_children_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        let again = INTERRUPTED.swap(true, Ordering::SeqCst);
        for (&id, &group) in running().iter() {
            end(id, group, again);
        }
        if again {
            std::process::exit(130);
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// Whether Ctrl-C was pressed. Then running programs end, and no new ones are started.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// A program about to be run.
pub(crate) struct Program {
    command: Command,
    limit: Option<Duration>,
}

/// The result of a [streamed](Program::stream) program.
pub(crate) struct Finished {
    /// How it ended. None if it exceeded its time limit and was ended.
    pub(crate) status: Option<ExitStatus>,
    /// The lines of stdout and stderr, in the order of their arrival.
    pub(crate) lines: Vec<String>,
}

impl Finished {
    /// Whether it ended by itself with exit code 0.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

impl Program {
    /// The program `name`, looked up on the PATH of its environment.
    pub(crate) fn new(name: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(name);
        command.stdin(Stdio::null());
        Self { command, limit: None }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn envs<N: AsRef<OsStr>, V: AsRef<OsStr>>(mut self, all: impl IntoIterator<Item = (N, V)>) -> Self {
        self.command.envs(all);
        self
    }

    pub(crate) fn without_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.command.env_remove(name);
        self
    }

    /// Runs in `folder`.
    pub(crate) fn within(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Lets the program read the terminal, because sudo asks for a password.
    pub(crate) fn may_ask(mut self) -> Self {
        self.command.stdin(Stdio::inherit());
        self
    }

    /// Ends the program after `limit`. Applies to [`output`](Self::output) and [`stream`](Self::stream).
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The command line, for people.
    pub(crate) fn line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// Runs it with our own stdout and stderr. An exit code other than 0 is an error.
    pub(crate) fn run(mut self) -> Result<()> {
        let line = self.line();
        let mut child = Running::start(&mut self.command, false)?;
        let status = child.wait()?;
        succeeded(&line, status, "")
    }

    /// Runs it silently and returns its stdout. An exit code other than 0 is an error that contains stderr.
    pub(crate) fn output(self) -> Result<String> {
        let line = self.line();
        let limit = self.limit;
        let (mut out, mut err) = (String::new(), String::new());
        let status = self.read(|source, text| {
            let to = if source == Source::Out { &mut out } else { &mut err };
            to.push_str(text);
            to.push('\n');
        })?;
        let Some(status) = status else {
            bail!("`{line}` exceeded its limit of {} s and was ended", limit.unwrap_or_default().as_secs());
        };
        succeeded(&line, status, err.trim())?;
        Ok(out)
    }

    /// Runs it, prints each line as it arrives, and collects them.
    pub(crate) fn stream(self) -> Result<Finished> {
        let mut lines = Vec::new();
        let status = self.read(|source, text| {
            // Ignores a reader that has gone (`| head`).
            let _ = match source {
                Source::Out => writeln!(std::io::stdout(), "{text}"),
                Source::Err => writeln!(std::io::stderr(), "{text}"),
            };
            lines.push(text.to_owned());
        })?;
        Ok(Finished { status, lines })
    }

    /// Starts it in the background. It ends when the returned value is dropped.
    pub(crate) fn serve(mut self) -> Result<Service> {
        Running::start(&mut self.command, true).map(Service)
    }

    fn read(mut self, mut on_line: impl FnMut(Source, &str)) -> Result<Option<ExitStatus>> {
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut self.command, true)?;
        let (sender, receiver) = mpsc::channel();
        if let Some(out) = running.child.stdout.take() {
            forward(out, Source::Out, sender.clone());
        }
        if let Some(err) = running.child.stderr.take() {
            forward(err, Source::Err, sender);
        }
        let start = Instant::now();
        let mut exited: Option<Instant> = None;
        loop {
            match receiver.recv_timeout(Duration::from_millis(100)) {
                Ok((source, line)) => on_line(source, &line),
                Err(RecvTimeoutError::Disconnected) => break,
                // A child of the finished program holds its output open.
                Err(RecvTimeoutError::Timeout) if exited.is_some_and(|at| at.elapsed() > LINGER) => {
                    end(running.child.id(), true, false);
                    break;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if exited.is_none() && running.child.try_wait()?.is_some() {
                exited = Some(Instant::now());
            }
            if exited.is_none() && self.limit.is_some_and(|limit| start.elapsed() > limit) {
                running.stop();
                return Ok(None);
            }
        }
        let status = running.wait()?;
        Ok(Some(status))
    }
}

/// A program that runs in the background until this value is dropped.
pub(crate) struct Service(Running);

impl Service {
    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.child.try_wait()?)
    }
}

/// A started child. Dropping it ends the child.
struct Running {
    child: Child,
    group: bool,
}

impl Running {
    fn start(command: &mut Command, group: bool) -> Result<Self> {
        if interrupted() {
            bail!("interrupted");
        }
        #[cfg(unix)]
        if group {
            std::os::unix::process::CommandExt::process_group(command, 0);
        }
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => anyhow!("`{name}` was not found: install it, or add its folder to PATH"),
            _ => anyhow!("cannot start `{name}`: {error}"),
        })?;
        running().insert(child.id(), group);
        Ok(Self { child, group })
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let status = self.child.wait()?;
        running().remove(&self.child.id());
        if interrupted() {
            bail!("interrupted");
        }
        Ok(status)
    }

    /// Ends it with SIGTERM, and with SIGKILL after [`GRACE`].
    fn stop(&mut self) {
        let start = Instant::now();
        end(self.child.id(), self.group, false);
        while start.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(20));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            end(self.child.id(), self.group, true);
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        running().remove(&self.child.id());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let listed = running().contains_key(&self.child.id());
        if listed {
            self.stop();
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Source {
    Out,
    Err,
}

fn forward(from: impl Read + Send + 'static, source: Source, to: Sender<(Source, String)>) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            if to.send((source, text.trim_end_matches(['\n', '\r']).to_owned())).is_err() {
                return;
            }
            line.clear();
        }
    });
}

fn succeeded(line: &str, status: ExitStatus, told: &str) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    let told = if told.is_empty() { String::new() } else { format!("\n{told}") };
    bail!("`{line}` failed ({status}){told}")
}

fn running() -> MutexGuard<'static, BTreeMap<u32, bool>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(unix)]
fn end(id: u32, group: bool, hard: bool) {
    use rustix::process::{Pid, Signal, kill_process, kill_process_group};
    let signal = if hard { Signal::KILL } else { Signal::TERM };
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // Fails if the process has just ended by itself.
        let _ = if group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

/// Without signals there is only [`Child::kill`], which [`Running::stop`] calls after its grace.
#[cfg(not(unix))]
fn end(_id: u32, _group: bool, _hard: bool) {}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=./:@,+~^%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn shell(script: &str) -> Program {
        Program::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn output_returns_stdout_and_an_error_contains_stderr() {
        assert_eq!(shell("echo yes; echo no >&2").output().unwrap(), "yes\n");
        let error = shell("echo why >&2; exit 3").output().unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_program_over_its_limit_is_ended_with_its_children() {
        let start = Instant::now();
        let finished = shell("sleep 60 & sleep 60").limit(Duration::from_millis(300)).stream().unwrap();
        assert!(finished.status.is_none() && !finished.success());
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn children_of_a_finished_program_do_not_block_the_reader() {
        let start = Instant::now();
        let finished = shell("sleep 30 & echo done").stream().unwrap();
        assert!(finished.success());
        assert_eq!(finished.lines, ["done"]);
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_dropped_service_is_ended() {
        let mut service = shell("sleep 60").serve().unwrap();
        let id = service.0.child.id();
        assert!(service.ended().unwrap().is_none());
        drop(service);
        assert!(!running().contains_key(&id));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Program::new("no-such-program-here").output().unwrap_err().to_string();
        assert!(error.contains("no-such-program-here"), "{error}");
    }
}
