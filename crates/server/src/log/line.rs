//! One line of the log: the fields of an event, each short and without control characters.

use std::{
    fmt::{self, Write as _},
    time::SystemTime,
};

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// The maximum length of one field's value, in bytes. The line as a whole has another limit.
const FIELD: usize = 512;
/// Marks the place where a text was cut.
const CUT: &str = "…";

/// The contents of a log event.
pub(super) struct Line {
    level: Level,
    message: String,
    /// In the order of the event.
    fields: Vec<(&'static str, String)>,
}

impl Line {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut line = Self { level: *event.metadata().level(), message: String::new(), fields: Vec::new() };
        event.record(&mut line);
        line
    }

    /// A line that the log itself writes.
    pub(super) fn own(message: &str, fields: Vec<(&'static str, String)>) -> Self {
        Self { level: Level::WARN, message: message.to_owned(), fields }
    }

    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// For people: time, level, message, then the fields. A text that looks like a field is quoted.
    pub(super) fn text(&self, most: usize) -> String {
        let quoted = |text: &str, also: &[char]| match text.is_empty() || text.contains(also) {
            true => format!("\"{}\"", text.replace('"', "\\\"")),
            false => text.to_owned(),
        };
        let mut text = format!("{} {:>5} ", now(), self.level);
        text.push_str(&quoted(&self.message, &['=', '"']));
        for (name, value) in &self.fields {
            let _ = write!(text, " {name}={}", quoted(value, &[' ', '=', '"']));
        }
        cut(&mut text, most);
        text
    }

    /// The same for a terminal, with colour.
    pub(super) fn coloured(&self, most: usize) -> String {
        const DIM: &str = "\u{1b}[2m";
        const OFF: &str = "\u{1b}[0m";
        let colour = match self.level {
            Level::ERROR => "\u{1b}[31m",
            Level::WARN => "\u{1b}[33m",
            Level::INFO => "\u{1b}[32m",
            _ => "\u{1b}[34m",
        };
        let text = self.text(most);
        // The time and the level contain no space.
        let mut words = text.splitn(2, ' ');
        let (time, rest) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let level = format!("{:>5}", self.level);
        let rest = rest.strip_prefix(&level).unwrap_or(rest);
        format!("{DIM}{time}{OFF} {colour}{level}{OFF}{rest}")
    }

    /// One JSON object: `timestamp`, `level`, `fields`.
    pub(super) fn json(&self, most: usize) -> String {
        const END: &str = "}}";
        let mut text = format!("{{\"timestamp\":\"{}\",\"level\":\"{}\",\"fields\":{{\"message\":", now(), self.level);
        push_json(&mut text, &self.message, most.saturating_sub(END.len()));
        for (name, value) in &self.fields {
            let mut field = format!(",\"{name}\":");
            push_json(&mut field, value, FIELD * 2);
            if text.len() + field.len() + END.len() <= most {
                text.push_str(&field);
            }
        }
        text.push_str(END);
        text
    }

    fn record(&mut self, field: &Field, value: impl fmt::Display) {
        let mut short = Short(String::new());
        // Writing ends with an error when the text is cut.
        let _ = write!(short, "{value}");
        match field.name() {
            "message" => self.message = short.0,
            name => self.fields.push((name, short.0)),
        }
    }
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field, format_args!("{value:?}"));
    }
}

/// A text of at most [`FIELD`] bytes, in which each character is printable.
struct Short(String);

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let before = self.0.len();
            match c {
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push(' '),
                c if is_obeyed(c) => write!(self.0, "\\u{{{:x}}}", u32::from(c))?,
                c => self.0.push(c),
            }
            if self.0.len() > FIELD {
                self.0.truncate(before);
                self.0.push_str(CUT);
                return Err(fmt::Error);
            }
        }
        Ok(())
    }
}

/// Whether a terminal or an editor acts on a character instead of showing it: control characters (C0, DEL, C1), line
/// separators, direction marks and overrides, and characters without width.
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn now() -> String {
    DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
}

/// Appends a JSON string, cut so that `text` has at most `most` bytes. Control characters are already escaped.
fn push_json(text: &mut String, value: &str, most: usize) {
    let room = most.saturating_sub(text.len() + 2 + CUT.len());
    let mut used = 0;
    text.push('"');
    for c in value.chars() {
        used += c.len_utf8() + usize::from(matches!(c, '"' | '\\'));
        if used > room {
            text.push_str(CUT);
            break;
        }
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Line {
        let mut message = Short(String::new());
        let text = "a\nb\r\u{1b}[31m\u{9b}31m\u{202e}\u{2066}\u{2028}\u{feff}\0\u{7f}é🦀\"\\";
        message.write_str(text).unwrap();
        Line {
            level: Level::INFO,
            message: message.0,
            fields: vec![("address", "acme:x".into()), ("n", "1 2=3".into())],
        }
    }

    #[test]
    fn a_line_contains_no_control_characters() {
        let line = hostile();
        for text in [line.text(1_024), line.json(1_024)] {
            assert!(!text.contains(is_obeyed), "{text:?}");
            assert!(text.contains("é🦀"), "{text}");
        }
        let json: serde_json::Value = serde_json::from_str(&line.json(1_024)).unwrap();
        assert_eq!(json["fields"]["address"], "acme:x");
        assert!(json["fields"]["message"].as_str().unwrap().starts_with("a\\nb\\r\\u{1b}[31m"));
    }

    #[test]
    fn a_message_that_looks_like_a_field_is_quoted() {
        let line = Line::own("done principal=admin", vec![("app", "acme:x".into())]);
        assert!(line.text(1_024).ends_with("\"done principal=admin\" app=acme:x"), "{}", line.text(1_024));
    }

    #[test]
    fn every_line_keeps_its_maximum_length() {
        for unit in ["x", "\"", "\\", "é", "\u{1b}", "🦀", "\u{202e}"] {
            let mut short = Short(String::new());
            let _ = short.write_str(&unit.repeat(10_000));
            assert!(short.0.len() <= FIELD + CUT.len());
            let fields = (0..10).map(|_| ("field", short.0.clone())).collect();
            let line = Line { level: Level::INFO, message: short.0.clone(), fields };
            for most in [256, 300, 1_024, 4_096] {
                assert!(line.text(most).len() <= most, "{unit:?}");
                let json = line.json(most);
                assert!(json.len() <= most, "{unit:?} {most}: {}", json.len());
                assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
            }
        }
    }
}
