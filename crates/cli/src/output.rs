//! What is written: for people with colour on a terminal, or JSON for scripts. Results go to standard output, the rest to
//! standard error.

use std::io::{self, Write};

use clap::{
    ValueEnum,
    builder::styling::{AnsiColor, Style},
};
use serde_json::{Value, json};

use crate::error::Refused;

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// How results and errors are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Human,
    /// One JSON value, for scripts
    Json,
    /// Nothing but errors: another command says what was done
    #[value(skip)]
    Quiet,
}

impl Output {
    /// What was done, with what is worth knowing about it, and what could come next.
    pub(crate) fn done(self, what: &str, facts: &[(&str, String)], next: Option<&str>, json: &Value) {
        let mut out = anstream::stdout().lock();
        // A reader that is gone, such as `| head`, is no fault of ours.
        let _ = match self {
            Self::Json => writeln!(out, "{json}"),
            Self::Human => human(&mut out, what, facts, next),
            Self::Quiet => Ok(()),
        };
    }

    /// A table with a heading.
    pub(crate) fn table<const N: usize>(self, heading: [&str; N], rows: &[[String; N]], json: &Value) {
        let mut out = anstream::stdout().lock();
        let _ = match self {
            Self::Json => writeln!(out, "{json}"),
            Self::Human => table(&mut out, heading, rows),
            Self::Quiet => Ok(()),
        };
    }

    /// An empty line between two results, for people.
    pub(crate) fn gap(self) {
        if self == Self::Human {
            let _ = writeln!(anstream::stdout());
        }
    }

    /// Prints a text as it is: it is what was asked for.
    pub(crate) fn text(self, text: &str) {
        anstream::print!("{text}");
    }

    /// A remark beside the result.
    pub(crate) fn remark(self, text: &str) {
        if self == Self::Human {
            let _ = writeln!(anstream::stderr(), "{DIM}{text}{DIM:#}");
        }
    }

    /// Why the command failed.
    pub(crate) fn failed(self, error: &anyhow::Error) {
        let refused = error.chain().find_map(|cause| cause.downcast_ref::<Refused>());
        let mut err = anstream::stderr().lock();
        let _ = match self {
            Self::Json => {
                let (code, status) = refused.map_or(("failed", Value::Null), |r| (r.code.as_str(), json!(r.status)));
                let address = refused.and_then(|refused| refused.address.as_deref());
                let about =
                    json!({ "code": code, "status": status, "message": format!("{error:#}"), "address": address });
                writeln!(err, "{}", json!({ "error": about }))
            }
            Self::Human | Self::Quiet => human_error(&mut err, error, refused),
        };
    }
}

fn human(out: &mut impl Write, what: &str, facts: &[(&str, String)], next: Option<&str>) -> io::Result<()> {
    writeln!(out, "{GREEN}{what}{GREEN:#}")?;
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in facts {
        writeln!(out, "  {DIM}{name:width$}{DIM:#}  {value}")?;
    }
    match next {
        Some(next) => writeln!(out, "\nNext: {CYAN}{next}{CYAN:#}"),
        None => Ok(()),
    }
}

fn table<const N: usize>(out: &mut impl Write, heading: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|cell| cell.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    writeln!(out, "{STRONG}{}{STRONG:#}", line(&heading.map(str::to_owned)))?;
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row)))
}

fn human_error(err: &mut impl Write, error: &anyhow::Error, refused: Option<&Refused>) -> io::Result<()> {
    writeln!(err, "{RED}error{RED:#}: {error:#}")?;
    let Some(refused) = refused else { return Ok(()) };
    let address = refused.address.as_ref().map(|address| format!(", {address}")).unwrap_or_default();
    writeln!(err, "  {DIM}{} {}{address}{DIM:#}", refused.status, refused.code)
}

/// A number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}
