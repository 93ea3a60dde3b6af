#![doc = include_str!("../README.md")]

mod app;
mod arguments;
mod client;
mod error;
mod key;
mod output;
mod publish;
mod send;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use self::{
    arguments::{AppCommand, Arguments, Command},
    client::Client,
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = arguments.output;
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.failed(&error);
            ExitCode::from(error::exit_code(&error))
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (reach, output) = (&arguments.reach, arguments.output);
    match &arguments.command {
        Command::Serve(given) => serve::run(given, &reach.data, output),
        Command::Publish(given) => publish::run(given, &Client::new(reach)?, output),
        Command::App { command: AppCommand::Create { app, bundle } } => {
            app::create(&Client::new(reach)?, app, bundle, output)
        }
        Command::App { command: AppCommand::List } => app::list(&Client::new(reach)?, output),
        Command::App { command: AppCommand::Delete { app } } => app::delete(&Client::new(reach)?, app, output),
        Command::Send(given) => send::run(given, &Client::new(reach)?, output),
    }
}
