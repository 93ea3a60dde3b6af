//! Programs that a test starts. Each is known by its id, and ended by it.

use std::{
    ffi::OsStr,
    fs::File,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

/// How long a program may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);

/// A program in its own process group. Dropping it ends the whole group: drivers start browsers, and those start more.
#[derive(Debug)]
pub struct Started {
    child: Child,
    group: Option<Pid>,
    name: String,
}

impl Started {
    /// Starts a program whose output is appended to the file `log`.
    pub fn new(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        Self::start(command)
    }

    /// Starts a program whose standard output the caller reads.
    pub fn with_output(command: &mut Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        Self::start(command)
    }

    fn start(command: &mut Command) -> Result<Self> {
        let name = command.as_std().get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group, name })
    }

    /// The id of its process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// The child itself.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Fails if the program has ended.
    pub fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended by itself ({status})", self.name),
        }
    }

    /// Kills it at once, like a crash.
    pub async fn kill(mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
        self.group = None;
    }

    /// Ends it with SIGTERM, and with SIGKILL after five seconds.
    pub async fn stop(mut self) {
        self.signal(Signal::TERM);
        let asked = Instant::now();
        while asked.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(20)).await;
        }
        self.kill().await;
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // Fails if the group has just ended by itself.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Looks for a program on the PATH, then in the folder where `cargo xtask setup` puts tools.
pub fn find_program(name: impl AsRef<OsStr>) -> Option<std::path::PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(Into::into);
    let cache = cache.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let tools = cache.map(|cache| cache.join("starlane/tools/bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(tools);
    folders.map(|folder| folder.join(name.as_ref())).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_program_is_ended_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 60 & echo $!; wait"]);
        let started = Started::new(&mut command, &log).unwrap();
        let inner = loop {
            if let Ok(pid) = std::fs::read_to_string(&log).unwrap().trim().parse::<u32>() {
                break pid;
            }
            sleep(Duration::from_millis(5)).await;
        };
        let alive = || std::fs::read_to_string(format!("/proc/{inner}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
        assert!(alive());
        drop(started);
        let start = Instant::now();
        while alive() && start.elapsed() < Duration::from_secs(10) {
            sleep(Duration::from_millis(5)).await;
        }
        assert!(!alive());
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Started::new(&mut Command::new("no-such-program-here"), &folder.path().join("log")).unwrap_err();
        assert!(format!("{error:#}").contains("no-such-program-here"));
        assert!(find_program("no-such-program-here").is_none() && find_program("sh").is_some());
    }
}
