#![doc = include_str!("../README.md")]

mod bench;
mod build;
mod dist;
mod figures;
mod files;
mod ledger;
mod process;
mod report;
mod run;
mod setup;
mod snippets;
mod test;
mod workshop;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workshop::Workshop;

/// Install, run, test, measure and pack Starlane.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    /// Install missing system packages with sudo, without asking.
    #[arg(long, global = true)]
    yes: bool,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install all prerequisites of the other commands.
    Setup(setup::Options),
    /// Build everything, start a server with the demo, and print its URL.
    Run(run::Options),
    /// Run every test. The last line is `N passed, N failed`.
    Test(test::Options),
    /// Measure Starlane beside its peers. Writes target/bench.json and target/bench.html.
    Bench(bench::Options),
    /// Pack everything that users install into target/dist.
    Dist,
}

fn main() -> ExitCode {
    match run_task(Arguments::parse()) {
        Ok(code) => code,
        Err(_) if process::interrupted() => ExitCode::from(130),
        Err(error) => {
            eprintln!("\n{} {error:#}", report::bad("error:"));
            ExitCode::FAILURE
        }
    }
}

fn run_task(arguments: Arguments) -> anyhow::Result<ExitCode> {
    process::end_children_on_ctrl_c()?;
    let workshop = Workshop::open(arguments.yes)?;
    match arguments.task {
        Task::Setup(options) => setup::command(&workshop, &options),
        Task::Run(options) => run::command(&workshop, &options),
        Task::Test(options) => test::command(&workshop, &options),
        Task::Bench(options) => bench::command(&workshop, &options),
        Task::Dist => dist::command(&workshop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use starlane_testkit::documents::{self, Runner};

    #[test]
    fn commands_in_the_documents_are_valid() {
        let commands = documents::of(Runner::Xtask);
        for command in &commands {
            if let Err(error) = Arguments::try_parse_from(command.words().into_iter().skip(1)) {
                panic!("{}: `{}`: {error}", command.place(), command.code);
            }
        }
        documents::ran(commands.len());
    }
}
