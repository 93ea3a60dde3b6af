//! What a bundle may say, whoever wrote it: the same rules for the TOML that authors write, for a manifest that is published, and
//! for a manifest that a host opens. A rule knows no file and no line; who asks says where.

pub(crate) mod grant;
pub mod route;
mod target;

use std::ops::RangeInclusive;

use starlane_protocol::{Address, Topic};

pub(crate) use self::target::{Names, Target};
use crate::{Durability, Limits, bind::essence};

/// Stands for the app while its address is not known.
pub(crate) const ANY_APP: &str = "space:app";
/// A page of Wasm memory, and all that 32 bits can address, in bytes.
pub(crate) const MEMORY: RangeInclusive<u64> = 65_536..=4_294_967_296;
/// The compute time of one call, in milliseconds: at most an hour.
pub(crate) const CALL_MS: RangeInclusive<u32> = 1..=3_600_000;
/// Unfinished messages at a time.
pub(crate) const CONCURRENCY: RangeInclusive<u32> = 1..=65_536;
/// Messages that may wait.
pub(crate) const MAILBOX: RangeInclusive<u32> = 1..=1_048_576;
/// Crashes that are borne.
pub(crate) const INTENSITY: RangeInclusive<u32> = 0..=1_000;
/// The time in which crashes are counted, in milliseconds: at most a day.
pub(crate) const WITHIN_MS: RangeInclusive<u64> = 1..=86_400_000;

/// Which rule a value breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// A name that becomes part of an address.
    Name,
    /// A path of a file in a bundle, or the address of one in another bundle.
    Path,
    /// A text for people: its length and its characters.
    Text,
    /// A content type, and whether a schema may stand beside it.
    ContentType,
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
    /// What is named is not there.
    Reference,
    /// How many there are of something.
    Count,
}

/// What a rule says of a value that it refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
#[non_exhaustive]
pub struct Fault {
    /// The rule.
    pub rule: Rule,
    /// What is wrong, and what was expected.
    pub text: String,
    /// What to do.
    pub hint: &'static str,
}

impl Fault {
    pub(crate) fn new(rule: Rule, text: impl Into<String>, hint: &'static str) -> Self {
        Self { rule, text: text.into(), hint }
    }
}

/// A value as an error quotes it: no more than a line of it, and no control characters.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The first names of many, as an error lists them.
pub(crate) fn listed<'n>(names: impl Iterator<Item = &'n String>) -> String {
    names.take(20).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A name that becomes a segment of an address. `whole` is what was written, of which `segment` is a part.
pub(crate) fn segment(whole: &str, segment: &str, hint: &'static str) -> Result<(), Fault> {
    let valid = Address::parse(ANY_APP).and_then(|app| Topic::new(app, segment));
    valid.map(drop).map_err(|error| {
        let text = format!("`{}` can't be part of an address; expected {}", quoted(whole), error.expected);
        Fault::new(Rule::Name, text, hint)
    })
}

/// A content type: a type and a subtype (RFC 9110, 8.3.1), perhaps with parameters.
pub(crate) fn content_type(written: &str) -> Result<(), Fault> {
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let essence = essence(written);
    let fits = essence.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype));
    // It becomes an HTTP header.
    let printable = written.len() <= 100 && written.bytes().all(|b| matches!(b, b' '..=b'~'));
    if printable && (fits || essence == "*/*") {
        return Ok(());
    }
    let text = format!("`{}` is not a content type; expected a type and a subtype", quoted(written));
    Err(Fault::new(Rule::ContentType, text, "such as \"application/json\"; without `content-type` anything goes"))
}

/// Whether a schema may stand beside a content type.
pub(crate) fn schema_beside(content_type: &str) -> Result<(), Fault> {
    let essence = essence(content_type);
    let lower = essence.to_ascii_lowercase();
    if lower == "application/json" || lower.ends_with("+json") {
        return Ok(());
    }
    let text = format!("a schema for `{}`; expected a JSON content type beside it", quoted(essence));
    let hint = "add content-type = \"application/json\", or remove the schema";
    Err(Fault::new(Rule::ContentType, text, hint))
}

/// The limits of a mechtron. What a server allows at most is its own business, and less.
pub(crate) fn limits(limits: &Limits) -> Result<(), Fault> {
    let Limits { memory, call_ms, concurrency, mailbox, restart } = limits;
    within("memory", *memory, &MEMORY, "bytes")?;
    within("call", *call_ms, &CALL_MS, "ms")?;
    within("concurrency", *concurrency, &CONCURRENCY, "messages")?;
    within("mailbox", *mailbox, &MAILBOX, "messages")?;
    within("restart.intensity", restart.intensity, &INTENSITY, "crashes")?;
    within("restart.within", restart.within_ms, &WITHIN_MS, "ms")
}

/// How the state of actors is kept, beside their limits.
pub(crate) fn state(state: Durability, limits: &Limits) -> Result<(), Fault> {
    if state != Durability::Each || limits.concurrency == 1 {
        return Ok(());
    }
    let text = format!("`state = \"each\"` with a concurrency of {}; expected 1", limits.concurrency);
    let hint = "with \"each\" an actor handles one message at a time: remove `concurrency`, or use state = \"idle\"";
    Err(Fault::new(Rule::Limit, text, hint))
}

/// One limit, by the name that it has in a mechtron's config.
pub(crate) fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    range: &RangeInclusive<T>,
    unit: &str,
) -> Result<(), Fault> {
    if range.contains(&value) {
        return Ok(());
    }
    let text = format!("the limit `{name}` is {value} {unit}; expected {} to {}", range.start(), range.end());
    Err(Fault::new(Rule::Limit, text, "remove it for the default"))
}
