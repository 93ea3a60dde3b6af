//! The output: text for people, with colour on a terminal, or JSON for scripts. Results go to standard output,
//! everything else to standard error.

use std::{
    io::{self, Write},
    time::{Duration, UNIX_EPOCH},
};

use clap::{
    ValueEnum,
    builder::styling::{AnsiColor, Style},
};
use serde_json::{Value, json};
use starlane_bundle::authoring::AuthoringError;

use crate::error::{Refused, code, find};

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default();

/// The format of results and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Human,
    /// One JSON value, for scripts
    Json,
    /// Only errors: another command prints the result
    #[value(skip)]
    Quiet,
}

impl Output {
    /// Prints the result: what was done, facts about it, and the next command.
    pub(crate) fn done(self, what: &str, facts: &[(&str, String)], next: Option<&str>, json: &Value) {
        let mut out = anstream::stdout().lock();
        // A closed pipe, such as `| head`, is not an error.
        let _ = match self {
            Self::Json => writeln!(out, "{json}"),
            Self::Human => human(&mut out, what, facts, next),
            Self::Quiet => Ok(()),
        };
    }

    /// Prints a table with a heading.
    pub(crate) fn table<const N: usize>(self, heading: [&str; N], rows: &[[String; N]], json: &Value) {
        let mut out = anstream::stdout().lock();
        let _ = match self {
            Self::Json => writeln!(out, "{json}"),
            Self::Human => table(&mut out, heading, rows),
            Self::Quiet => Ok(()),
        };
    }

    /// Prints an empty line between two results, for people.
    pub(crate) fn gap(self) {
        if self == Self::Human {
            let _ = writeln!(anstream::stdout());
        }
    }

    /// Prints a text, which is the result itself.
    pub(crate) fn text(self, text: &str) {
        let _ = write!(anstream::stdout(), "{text}");
    }

    /// Prints a remark beside the result.
    pub(crate) fn remark(self, text: &str) {
        if self == Self::Human {
            let _ = writeln!(anstream::stderr(), "{DIM}{text}{DIM:#}");
        }
    }

    /// Prints why the command failed.
    pub(crate) fn failed(self, error: &anyhow::Error) {
        let mut err = anstream::stderr().lock();
        let _ = match self {
            Self::Json => writeln!(err, "{}", json!({ "error": json_error(error) })),
            Self::Human | Self::Quiet => human_error(&mut err, error, find(error)),
        };
    }
}

fn json_error(error: &anyhow::Error) -> Value {
    let code = code(error);
    if let Some(AuthoringError { file, line, column, message, hint, .. }) = find(error) {
        // A fault without a line has `null`.
        let at = |number: usize| (number > 0).then_some(number);
        let (line, column) = (at(*line), at(*column));
        return json!({ "code": code, "message": message, "file": file, "line": line, "column": column, "hint": hint });
    }
    let refused: Option<&Refused> = find(error);
    let (status, address) =
        (refused.map(|refused| refused.status), refused.and_then(|refused| refused.address.as_deref()));
    json!({ "code": code, "status": status, "message": format!("{error:#}"), "address": address })
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
    // A line break in a cell would break the table.
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| cell.replace('\n', " "))).collect();
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
    rows.iter().try_for_each(|row| writeln!(out, "{}", printable(&line(row))))
}

fn human_error(err: &mut impl Write, error: &anyhow::Error, refused: Option<&Refused>) -> io::Result<()> {
    writeln!(err, "{RED}error{RED:#}: {}", printable(&format!("{error:#}")))?;
    let Some(refused) = refused else { return Ok(()) };
    let address = refused.address.as_ref().map(|address| format!(", {address}")).unwrap_or_default();
    writeln!(err, "  {DIM}{} {}{address}{DIM:#}", refused.status, refused.code)
}

/// Escapes control characters, which could be commands for the terminal: a text may contain names that others chose.
fn printable(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\n' { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect()
}

/// Formats a number of bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Formats a time for people. `seconds` is since the Unix epoch.
pub(crate) fn time(seconds: u64) -> String {
    // The last second of the year 9999: later years have more digits.
    const LAST: u64 = 253_402_300_799;
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds.min(LAST))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_of_an_authoring_fault_has_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let fault = |folder: &std::path::Path| {
            let error = starlane_bundle::authoring::Draft::read(folder).unwrap_err();
            json_error(&anyhow::Error::new(error).context("publishing"))
        };
        std::fs::write(folder.path().join("bundle.toml"), "[bundle]\nname = 1\n").unwrap();
        let told = fault(folder.path());
        assert_eq!((&told["code"], &told["line"], &told["column"]), (&json!("authoring"), &json!(2), &json!(8)));
        assert!(told["file"].as_str().unwrap().ends_with("bundle.toml"), "{told}");
        assert_eq!(told["hint"], "write it in quotes");
        let told = fault(&folder.path().join("none"));
        assert_eq!((&told["line"], &told["message"]), (&Value::Null, &json!("the folder does not exist")));
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(printable("a\u{1b}[31mred\tü\nb"), "a\\u{1b}[31mred\\tü\nb");
    }

    #[test]
    fn every_time_can_be_formatted() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
