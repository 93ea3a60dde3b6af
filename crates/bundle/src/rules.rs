//! The rules for the contents of a bundle. They are the same for the TOML of authors, for a manifest that is published,
//! and for a manifest that a host opens. A rule does not know the file and the line of a fault: the caller adds them.

pub(crate) mod grant;
pub mod route;
mod target;

use std::ops::RangeInclusive;

use starlane_protocol::{Address, Topic};

pub(crate) use self::target::{Names, Target};
use crate::{Durability, MechtronLimits, bind::essence};

/// A placeholder for the app's address, which is not known yet.
pub(crate) const ANY_APP: &str = "space:app";
/// The memory of a mechtron in bytes: from one page of Wasm to the limit of 32-bit addresses.
pub(crate) const MEMORY: RangeInclusive<u64> = 65_536..=4_294_967_296;
/// The compute time of one call, in milliseconds: the maximum is an hour.
pub(crate) const CALL_MS: RangeInclusive<u32> = 1..=3_600_000;
/// The number of unfinished messages.
pub(crate) const CONCURRENCY: RangeInclusive<u32> = 1..=65_536;
/// The number of waiting messages.
pub(crate) const MAILBOX: RangeInclusive<u32> = 1..=1_048_576;
/// The number of crashes before an actor is quarantined.
pub(crate) const INTENSITY: RangeInclusive<u32> = 0..=1_000;
/// The time in which crashes are counted, in milliseconds: the maximum is a day.
pub(crate) const WITHIN_MS: RangeInclusive<u64> = 1..=86_400_000;

/// The content type of a stream with a JSON value in each line.
const LINES: &str = "application/x-ndjson";

/// The rule that a value breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// A name that becomes part of an address.
    Name,
    /// A path of a file in a bundle, or the address of one in another bundle.
    Path,
    /// A text for people: its length and its characters.
    Text,
    /// A content type, and whether it allows a schema.
    ContentType,
    /// A body that cannot be a stream.
    Stream,
    /// A limit of a mechtron.
    Limit,
    /// Settings of a mechtron or of another resource.
    Settings,
    /// A grant in `allow`.
    Grant,
    /// A resource of an app.
    Resource,
    /// A route of an app.
    Route,
    /// A reference to something that does not exist.
    Reference,
    /// A number of parts.
    Count,
}

/// The fault of a value that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
#[non_exhaustive]
pub struct RuleFault {
    /// The rule.
    pub rule: Rule,
    /// The error and the expectation.
    pub text: String,
    /// What to do.
    pub hint: &'static str,
}

impl RuleFault {
    pub(crate) fn new(rule: Rule, text: impl Into<String>, hint: &'static str) -> Self {
        Self { rule, text: text.into(), hint }
    }
}

/// Shortens a value for a quotation in an error, and replaces control characters.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Lists the first names for an error.
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    names.take(20).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Checks a name that becomes a segment of an address. `whole` is the text in the file, and contains `segment`.
pub(crate) fn segment(whole: &str, segment: &str, hint: &'static str) -> Result<(), RuleFault> {
    let valid = Address::parse(ANY_APP).and_then(|app| Topic::new(app, segment));
    valid.map(drop).map_err(|error| {
        let text = format!("`{}` can't be part of an address; expected {}", quoted(whole), error.expected);
        RuleFault::new(Rule::Name, text, hint)
    })
}

/// Checks a content type: a type and a subtype (RFC 9110, 8.3.1), and optional parameters.
pub(crate) fn content_type(written: &str) -> Result<(), RuleFault> {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let essence = essence(written);
    let fits = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    // The content type becomes an HTTP header.
    let printable = written.len() <= 100 && written.bytes().all(|b| matches!(b, b' '..=b'~'));
    if printable && (fits || essence == "*/*") {
        return Ok(());
    }
    let text = format!("`{}` is not a content type; expected a type and a subtype", quoted(written));
    Err(RuleFault::new(
        Rule::ContentType,
        text,
        "such as \"application/json\"; without `content-type` every content type is accepted",
    ))
}

/// Checks that a content type allows a schema. The schema of a stream checks each line, so the content type must have
/// lines.
pub(crate) fn schema_beside(content_type: &str, stream: bool) -> Result<(), RuleFault> {
    let essence = essence(content_type);
    let lower = essence.to_ascii_lowercase();
    let (has_json, has_lines) = (lower == "application/json" || lower.ends_with("+json"), lower == LINES);
    let (text, hint) = match stream {
        false if has_json => return Ok(()),
        true if has_lines => return Ok(()),
        true => (
            format!("a schema for a stream of the content type `{}`; expected `{LINES}`", quoted(essence)),
            "add content-type = \"application/x-ndjson\", whose lines the schema checks, or remove the schema",
        ),
        false => (
            format!("a schema beside the content type `{}`; expected a JSON content type", quoted(essence)),
            match has_lines {
                true => "add stream = true, so that the schema checks each line, or remove the schema",
                false => "add content-type = \"application/json\", or remove the schema",
            },
        ),
    };
    Err(RuleFault::new(Rule::ContentType, text, hint))
}

/// Checks the body of an event, which goes to many subscribers.
pub(crate) fn event(stream: bool) -> Result<(), RuleFault> {
    if !stream {
        return Ok(());
    }
    let text = "an event has `stream = true`; only a request or a response can be a stream";
    let hint = "remove `stream`, or make an operation whose response is the stream";
    Err(RuleFault::new(Rule::Stream, text, hint))
}

/// Checks the limits of a mechtron. A server may have lower maximums.
pub(crate) fn limits(limits: &MechtronLimits) -> Result<(), RuleFault> {
    let MechtronLimits { memory, call_ms, concurrency, mailbox, restart } = limits;
    within("memory", *memory, &MEMORY, "bytes")?;
    within("call", *call_ms, &CALL_MS, "ms")?;
    within("concurrency", *concurrency, &CONCURRENCY, "messages")?;
    within("mailbox", *mailbox, &MAILBOX, "messages")?;
    within("restart.intensity", restart.intensity, &INTENSITY, "crashes")?;
    within("restart.within", restart.within_ms, &WITHIN_MS, "ms")
}

/// Checks that `state` and the limits of a mechtron fit together.
pub(crate) fn state(state: Durability, limits: &MechtronLimits) -> Result<(), RuleFault> {
    if state != Durability::Each || limits.concurrency == 1 {
        return Ok(());
    }
    let text = format!("`state = \"each\"` with a concurrency of {}; expected 1", limits.concurrency);
    let hint = "with \"each\" an actor handles one message at a time: remove `concurrency`, or use state = \"idle\"";
    Err(RuleFault::new(Rule::Limit, text, hint))
}

/// Checks one limit. `name` is its name in a mechtron's config.
pub(crate) fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    range: &RangeInclusive<T>,
    unit: &str,
) -> Result<(), RuleFault> {
    if range.contains(&value) {
        return Ok(());
    }
    let text = format!("the limit `{name}` is {value} {unit}; expected {} to {}", range.start(), range.end());
    Err(RuleFault::new(Rule::Limit, text, "remove it to use the default"))
}
