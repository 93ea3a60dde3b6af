//! Runs the tutorial command by command, in an empty folder, with the released files only.

mod commands;
mod pictures;

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use starlane_testkit::{figure, server::from_environment, workspace};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::commands::{Step, steps};

/// The timeout of one command, which may compile.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// The end of the command that gets the first reply of the mechtron from `starlane new`.
const FIRST_REPLY: &str = "http://127.0.0.1:7722/";

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    if let [_, flag, folder] = &words[..]
        && flag == "--pictures"
    {
        let made = pictures::make(folder.as_ref()).await;
        return made.map_or_else(
            |error| {
                println!("{error:#}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        );
    }
    let (mut passed, mut failed) = (0, 0);
    match Tutorial::start() {
        Ok(mut tutorial) => {
            if let Err(error) = tutorial.run(&mut passed).await {
                println!("FAIL  {error:#}");
                failed = 1;
            }
        }
        Err(error) => {
            println!("FAIL  {error:#}");
            failed = 1;
        }
    }
    figure::figure_of("", "tutorial", "tutorial.commands", f64::from(passed), "commands");
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A user who follows the tutorial.
struct Tutorial {
    dist: PathBuf,
    /// The terminal's current folder.
    at: PathBuf,
    /// The commands that run until Ctrl-C. They end with the tutorial, before their folder is removed.
    running: Vec<Child>,
    folder: tempfile::TempDir,
    /// The output of the commands since the last text block.
    printed: String,
    began: Option<Instant>,
    coloured: bool,
}

impl Tutorial {
    fn start() -> Result<Self> {
        let dist = from_environment("STARLANE_PRODUCT")?;
        let folder = tempfile::Builder::new().prefix("starlane-tutorial-").tempdir()?;
        let here = workspace().canonicalize()?;
        ensure!(!folder.path().starts_with(&here), "the tutorial has to be outside of the checkout");
        let at = folder.path().to_owned();
        Ok(Self { dist, folder, at, running: Vec::new(), printed: String::new(), began: None, coloured: false })
    }

    async fn run(&mut self, passed: &mut u32) -> Result<()> {
        let text = std::fs::read_to_string(self.dist.join("TUTORIAL.md"))?;
        for step in steps(&text) {
            match step {
                Step::Expect(lines) => {
                    for line in lines {
                        ensure!(
                            self.printed.contains(&line),
                            "expected the line `{line}` in the output:\n{}",
                            self.printed
                        );
                    }
                    self.printed.clear();
                }
                Step::ChangeFolder(to) => self.at.push(to),
                Step::Background(line) => {
                    self.background(&line).await.with_context(|| format!("`{line}`"))?;
                    *passed += 1;
                    println!("ok  {line}");
                }
                Step::Run(line) => {
                    let start = Instant::now();
                    if line.starts_with("starlane new") {
                        self.began = Some(start);
                    }
                    self.command(&line).await.with_context(|| format!("`{line}`"))?;
                    if line.ends_with(FIRST_REPLY)
                        && let Some(began) = self.began.take()
                    {
                        figure::figure_of("", "tutorial", "author.first-reply", began.elapsed().as_secs_f64(), "s");
                    }
                    *passed += 1;
                    println!("ok  {line} ({:.1} s)", start.elapsed().as_secs_f64());
                }
            }
        }
        ensure!(*passed > 0, "the tutorial has no commands");
        Ok(())
    }

    async fn command(&mut self, line: &str) -> Result<()> {
        let ran = timeout(COMMAND_TIMEOUT, self.shell(line).output()).await.context("it does not end")??;
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        if !ran.status.success() {
            bail!("{}\n{out}{err}", ran.status);
        }
        self.printed.push_str(&out);
        self.printed.push_str(&err);
        Ok(())
    }

    /// Starts a command that runs until Ctrl-C, waits until it is ready, and returns its output.
    async fn background(&mut self, line: &str) -> Result<String> {
        let mut command = self.shell(&format!("exec {line}"));
        let mut child = command.spawn()?;
        let (out, err) = (child.stdout.take().context("no output")?, child.stderr.take().context("no errors")?);
        let mut lines = BufReader::new(out).lines();
        let mut errors = BufReader::new(err).lines();
        let mut all = String::new();
        let ready = async {
            // The last line of a ready server, and of a complete build.
            while !["Next:", "runs at"].iter().any(|last| all.contains(last)) {
                let said = tokio::select! {
                    Ok(Some(said)) = lines.next_line() => said,
                    Ok(Some(said)) = errors.next_line() => said,
                    else => bail!("it ended"),
                };
                all += &format!("{said}\n");
            }
            Ok(())
        };
        timeout(COMMAND_TIMEOUT, ready).await.context("it says nothing")??;
        // Read the rest of the output, or the command would block on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        tokio::spawn(async move { while let Ok(Some(_)) = errors.next_line().await {} });
        self.running.push(child);
        Ok(all)
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        let path = [self.dist.clone().into_os_string(), env::var_os("PATH").unwrap_or_default()];
        let path = path.join(std::ffi::OsStr::new(":"));
        for (name, _) in env::vars_os().filter(|(name, _)| is_ours(&name.to_string_lossy())) {
            command.env_remove(name);
        }
        command.env("PATH", path).env("STARLANE", &self.dist).env("XDG_CONFIG_HOME", self.folder.path().join("config"));
        // The data folder is always in the folder where the tutorial begins.
        command.env("STARLANE_DATA", self.folder.path().join("starlane-data"));
        // Pictures have colours. Without a terminal, commands print none by default.
        if self.coloured {
            command.env("CLICOLOR_FORCE", "1");
        }
        command.args(["-c", line]).current_dir(&self.at).kill_on_drop(true);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command
    }
}

/// Returns whether a variable comes from `cargo xtask` or cargo. The tutorial's commands must not see it.
fn is_ours(name: &str) -> bool {
    name.starts_with("STARLANE_") || (name.starts_with("CARGO_") && name != "CARGO_HOME") || name == "RUSTFLAGS"
}
