//! What people and scripts read.

use std::{fmt, io::Write};

use clap::ValueEnum;
use serde_json::json;

use crate::client::Refused;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Human,
    /// For scripts: one JSON document on stdout.
    Json,
}

/// A line of what was done. Colours show on a terminal alone. Fails if nobody reads.
pub(crate) fn done(text: impl fmt::Display) {
    line(format_args!("{GREEN}✓{PLAIN} {text}"));
}

/// What to do next.
pub(crate) fn next(command: impl fmt::Display) {
    line(format_args!("{DIM}next:{PLAIN} {BOLD}{command}{PLAIN}"));
}

pub(crate) fn line(text: impl fmt::Display) {
    let _ = writeln!(anstream::stdout(), "{text}");
}

pub(crate) fn json(value: &serde_json::Value) {
    line(format_args!("{value:#}"));
}

/// An error, with its causes.
pub(crate) fn error(error: &anyhow::Error, output: Output) {
    let mut stderr = anstream::stderr();
    if output == Output::Json {
        let refused = error.downcast_ref::<Refused>();
        let value = json!({
            "error": format!("{error:#}"),
            "code": refused.map(|refused| refused.code.clone()),
            "status": refused.map(|refused| refused.status),
            "address": refused.and_then(|refused| refused.address.clone()),
        });
        let _ = writeln!(stderr, "{value}");
    } else {
        let _ = writeln!(stderr, "{RED}error:{PLAIN} {error:#}");
    }
}
