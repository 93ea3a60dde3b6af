//! `starlane compile-module`: `serve` starts this command for each module that it compiles. It is not for people, so
//! the help does not show it.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use starlane_meter::FunctionLimits;
use starlane_server::{COMPILE_COMMAND, CompileBounds, compile_module};

#[derive(Parser)]
struct Arguments {
    /// The maximum address space, in bytes
    #[arg(long)]
    memory: u64,
    /// The maximum processor time, in seconds
    #[arg(long)]
    seconds: u64,
    /// For an engine that reserves no address space
    #[arg(long)]
    sparing: bool,
    /// Only check the module, with these maximums for a function: bytes, locals, branches, nested loops, moves
    #[arg(long, value_delimiter = ',')]
    check: Vec<u64>,
}

/// Runs this command if the arguments name it: compiles the module from standard input.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let words: Vec<_> = env::args_os().skip(1).collect();
    words.first().filter(|word| *word == COMPILE_COMMAND)?;
    let Arguments { memory, seconds, sparing, check } = Arguments::parse_from(words);
    let check = match check.as_slice() {
        [bytes, locals, branches, loop_depth, moves] => Some(FunctionLimits {
            bytes: *bytes,
            locals: *locals,
            branches: *branches,
            loop_depth: *loop_depth,
            moves: *moves,
        }),
        _ => None,
    };
    let bounds = CompileBounds { memory, seconds, sparing, check };
    let compiled = compile_module(bounds, io::stdin().lock(), io::stdout().lock());
    Some(match compiled {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    })
}
