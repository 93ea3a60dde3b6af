#![doc = include_str!("../README.md")]

mod app;
mod arguments;
mod bundle;
mod client;
mod error;
mod key;
mod output;
mod principal;
mod publish;
mod send;
mod serve;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use self::{
    arguments::{AppCommand, Arguments, BundleCommand, Command, KeysCommand, TokenCommand},
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
        Command::Bundle { command: BundleCommand::Show { address } } => {
            bundle::show(&Client::new(reach)?, address, output)
        }
        Command::Bundle { command: BundleCommand::Verify { address } } => {
            bundle::verify(&Client::new(reach)?, address, output)
        }
        Command::Keys { command: KeysCommand::New { key } } => key::show(key.as_deref(), true, output),
        Command::Keys { command: KeysCommand::Show { key } } => key::show(key.as_deref(), false, output),
        Command::Grant(given) => principal::grant(given, &Client::new(reach)?, output),
        Command::Token { command: TokenCommand::Create(given) } => {
            principal::create(given, &Client::new(reach)?, output)
        }
        Command::Token { command: TokenCommand::Revoke(given) } => {
            principal::revoke(given, &Client::new(reach)?, output)
        }
        Command::Watch { topic } => watch::run(topic, &Client::new(reach)?, output),
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Arguments::command(), "starlane", &mut std::io::stdout());
            Ok(())
        }
        Command::Send(given) => send::run(given, &Client::new(reach)?, output),
    }
}
