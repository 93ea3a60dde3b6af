//! Runs the tutorial command by command, in an empty folder, with the released files only. Does the same with the first block of
//! other pages, and with the guide of a new mechtron.

mod commands;
mod pictures;
mod ports;
mod template;

use std::{
    env, fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use starlane_testkit::{
    documents::{self, Runner},
    figure,
    server::from_environment,
    workspace,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    commands::{Step, first_steps, steps},
    ports::Ports,
};

/// The timeout of one command, which may compile.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(600);
/// The end of the command that gets the first reply of the mechtron from `starlane new`.
const FIRST_REPLY: &str = "http://127.0.0.1:7722/";
/// The pages whose first block of commands is run.
const FIRST_BLOCKS: [&str; 2] = ["crates/cli/README.md", "crates/server/README.md"];

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
    let mut passed = Passed::default();
    let outcome = follow_all(&mut passed).await;
    if let Err(error) = &outcome {
        println!("FAIL  {error:#}");
    }
    figure::figure_of("", "tutorial", "tutorial.commands", f64::from(passed.commands), "commands");
    figure::figure_of("", "tutorial", "snippets.run", f64::from(passed.snippets), "snippets");
    println!("{} passed, {} failed", passed.commands, u32::from(outcome.is_err()));
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What went well.
#[derive(Default)]
struct Passed {
    /// Commands that ran.
    commands: u32,
    /// Pieces of code in the documents.
    snippets: u32,
}

/// Follows each text as a new user, in an empty folder.
async fn follow_all(passed: &mut Passed) -> Result<()> {
    let mut tutorial = Tutorial::start()?;
    let text = fs::read_to_string(tutorial.dist.join("TUTORIAL.md"))?;
    tutorial.follow(steps(&text), passed).await.context("crates/cli/TUTORIAL.md")?;
    drop(tutorial);
    for page in FIRST_BLOCKS {
        let text = fs::read_to_string(workspace().join(page))?;
        Tutorial::start()?.follow(first_steps(&text), passed).await.context(page)?;
    }
    template::follow(passed).await.context(template::GUIDE)?;
    let all = documents::of(Runner::Tutorial).len();
    ensure!(usize::try_from(passed.snippets)? == all, "{} of {all} pieces of code were run", passed.snippets);
    Ok(())
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
    ports: Ports,
}

impl Tutorial {
    fn start() -> Result<Self> {
        let dist = from_environment("STARLANE_PRODUCT")?;
        let folder = tempfile::Builder::new().prefix("starlane-tutorial-").tempdir()?;
        let here = workspace().canonicalize()?;
        ensure!(!folder.path().starts_with(&here), "the tutorial has to be outside of the checkout");
        let at = folder.path().to_owned();
        let (running, printed, ports) = (Vec::new(), String::new(), Ports::choose()?);
        Ok(Self { dist, at, running, folder, printed, began: None, coloured: false, ports })
    }

    async fn follow(&mut self, steps: Vec<Step>, passed: &mut Passed) -> Result<()> {
        ensure!(!steps.is_empty(), "the text has no commands");
        for step in steps {
            passed.snippets += u32::from(!matches!(step, Step::Expect(_)));
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
                    passed.commands += 1;
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
                    passed.commands += 1;
                    println!("ok  {line} ({:.1} s)", start.elapsed().as_secs_f64());
                }
            }
        }
        Ok(())
    }

    async fn command(&mut self, line: &str) -> Result<()> {
        let ran = timeout(COMMAND_TIMEOUT, self.shell(line).output()).await.context("it does not end")??;
        let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        if !ran.status.success() {
            bail!("{}\n{out}{err}", ran.status);
        }
        self.printed.push_str(&self.ports.as_written(&out));
        self.printed.push_str(&self.ports.as_written(&err));
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
        Ok(self.ports.as_written(&all))
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
        command.envs(self.ports.environment());
        // Pictures have colours. Without a terminal, commands print none by default.
        if self.coloured {
            command.env("CLICOLOR_FORCE", "1");
        }
        command.args(["-c", &self.ports.as_run(line)]).current_dir(&self.at).kill_on_drop(true);
        command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        command
    }
}

/// Returns whether a variable comes from `cargo xtask` or cargo. The tutorial's commands must not see it.
fn is_ours(name: &str) -> bool {
    name.starts_with("STARLANE_") || (name.starts_with("CARGO_") && name != "CARGO_HOME") || name == "RUSTFLAGS"
}
