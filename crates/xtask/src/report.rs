//! The output of commands: each step, and how long it took.

use std::fmt::Display;
use std::io::{IsTerminal, stderr, stdout};
use std::time::{Duration, Instant};

use anyhow::Result;

/// Prints `what`, does `work`, and prints how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    println!("{} {what}", strong("→"));
    let start = Instant::now();
    let result = work();
    let took = seconds(start.elapsed());
    match &result {
        Ok(_) => println!("{} {what} ({took})", good("✓")),
        Err(_) => println!("{} {what} ({took})", bad("✗")),
    }
    result
}

/// Prints a line about something that needed no work.
pub(crate) fn note(what: impl Display) {
    println!("{} {what}", good("✓"));
}

/// Prints a line that the reader should know.
pub(crate) fn remark(what: impl Display) {
    println!("  {what}");
}

/// A duration for people: `0.4 s`, `73 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 10.0 { format!("{seconds:.1} s") } else { format!("{seconds:.0} s") }
}

/// `text` in green on a terminal.
pub(crate) fn good(text: &str) -> String {
    paint(text, "32", stdout().is_terminal())
}

/// `text` in red on a terminal.
pub(crate) fn bad(text: &str) -> String {
    paint(text, "31", stdout().is_terminal() && stderr().is_terminal())
}

/// `text` in bold on a terminal.
pub(crate) fn strong(text: &str) -> String {
    paint(text, "1", stdout().is_terminal())
}

fn paint(text: &str, code: &str, terminal: bool) -> String {
    if terminal && std::env::var_os("NO_COLOR").is_none() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}
