#![doc = include_str!("../README.md")]

mod app;
mod arguments;
mod bind;
mod build;
mod bundle;
mod check;
mod client;
mod compile_module;
mod config;
mod dev;
mod error;
mod files;
mod key;
mod log_filter;
mod new;
mod operator;
mod output;
mod principal;
mod publish;
mod reach;
mod send;
mod serve;
mod settings;
mod watch;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::{ArgMatches, CommandFactory, FromArgMatches, parser::ValueSource};
use starlane_bundle::authoring::FileKind;

use self::{
    arguments::{
        AppCommand, Arguments, BindCommand, BundleCommand, Command, ConfigCommand, KeysCommand, Language, NewCommand,
        ResourceCommand, TokenCommand,
    },
    client::Client,
    reach::Reached,
    settings::Settings,
};

/// In a server, one thread often frees memory that another allocated. The system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = compile_module::run_if_asked() {
        return code;
    }
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let output = arguments.output;
    // A closed pipe, such as `| head`, ends a command silently. A server continues without its output.
    if !matches!(arguments.command, Command::Serve(_) | Command::Dev(_)) {
        sigpipe::reset();
    }
    match run(&arguments, leaf(&matches)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.failed(&error);
            ExitCode::from(error::exit_code(&error))
        }
    }
}

/// The arguments of the innermost command.
fn leaf(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, below)| leaf(below))
}

fn run(arguments: &Arguments, matches: &ArgMatches) -> anyhow::Result<()> {
    let (reach, output) = (&arguments.reach, arguments.output);
    match &arguments.command {
        Command::Serve(given) => serve::run(Settings::read(given, reach.data.as_deref(), matches)?, output),
        Command::Config { command: ConfigCommand::Check(given) } => {
            let settings = Settings::read(given, reach.data.as_deref(), matches)?;
            config::check(&settings, given.config.as_deref(), output)
        }
        Command::Config { command: ConfigCommand::Show(given) } => {
            config::show(&Settings::read(given, reach.data.as_deref(), matches)?, output);
            Ok(())
        }
        Command::Check => {
            let typed = matches.value_source("data") == Some(ValueSource::CommandLine);
            check::run(typed.then_some(reach.data.as_deref()).flatten(), reach, output)
        }
        Command::Audit { last } => operator::audit(*last, &Client::new(reach)?, output),
        Command::Backup { file } => operator::backup(file, &Client::new(reach)?, output),
        Command::Restore { file, keep_keys } => {
            operator::restore(file, &Reached::read(reach)?.data, *keep_keys, output)
        }
        Command::Status => operator::status(&Client::new(reach)?, output),
        Command::Logs { follow, last } => operator::logs(*last, *follow, &Client::new(reach)?, output),
        Command::New { command: NewCommand::Mechtron { name, lang: Language::Rust } } => new::mechtron(name, output),
        Command::Build { folder } => build::run(folder, output),
        Command::Dev(given) => dev::run(given, output),
        Command::Resource { command: ResourceCommand::List } => app::resources(&Client::new(reach)?, output),
        Command::Ls { address } => files::list(&Client::new(reach)?, address, output),
        Command::Cat { address } => files::cat(&Client::new(reach)?, address),
        Command::Cp { address, to } => files::copy(&Client::new(reach)?, address, to, output),
        Command::Bundle { command: BundleCommand::List } => bundle::list(&Client::new(reach)?, output),
        Command::Publish(given) => publish::run(given, &Client::new(reach)?, output),
        Command::App { command: AppCommand::Create { app, bundle } } => {
            app::create(&Client::new(reach)?, app, bundle, output)
        }
        Command::App { command: AppCommand::List } => app::list(&Client::new(reach)?, output),
        Command::App { command: AppCommand::Restart { address } } => {
            app::restart(&Client::new(reach)?, address, output)
        }
        Command::App { command: AppCommand::Delete { app, with_data } } => {
            app::delete(&Client::new(reach)?, app, *with_data, output)
        }
        Command::Bundle { command: BundleCommand::Show { address } } => {
            bundle::show(&Client::new(reach)?, address, output)
        }
        Command::Bundle { command: BundleCommand::Verify { address } } => {
            bundle::verify(&Client::new(reach)?, address, output)
        }
        Command::Bind { command: BindCommand::Types(given) } => bind::types(given, reach, output),
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
        Command::Schema { kind } => {
            // A closed pipe, such as `| head`, is not an error.
            let _ = writeln!(io::stdout(), "{:#}", FileKind::from(*kind).schema());
            Ok(())
        }
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "starlane", &mut text);
            Ok(io::stdout().write_all(&text)?)
        }
        Command::Send(given) => send::run(given, &Client::new(reach)?, output),
    }
}
