//! The text of one file, and faults at places in it.

use std::{fs, ops::Range};

use serde::de::DeserializeOwned;

use super::{
    AuthoringError,
    folder::{Folder, FolderFault},
};

/// The text of a file, TOML or JSON.
pub(super) struct Source {
    file: String,
    text: String,
}

impl Source {
    /// Reads a file of the bundle's folder.
    pub(super) fn read(folder: &Folder, relative: &str) -> Result<Self, AuthoringError> {
        let path = folder.path(relative);
        let whole = |message: &str, hint: &str| AuthoringError::whole(&path, message, hint);
        let readable = folder.file(relative).map_err(|fault| match fault {
            FolderFault::Missing => {
                whole("there is no such file", "a bundle is a folder with a bundle.toml; check the path")
            }
            _ => whole("it is a symbolic link, or inside one", "replace the link with the file itself"),
        })?;
        let text = fs::read_to_string(readable)
            .map_err(|e| whole(&format!("it can't be read: {e}"), "the file must be readable, and UTF-8 text"))?;
        Ok(Self { file: path.display().to_string(), text })
    }

    /// A text that is built into the program.
    pub(super) fn of(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned() }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, AuthoringError> {
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            // An error without a span is about a missing table of the whole file.
            let (message, hint) = told(error.message(), span.is_empty());
            self.error(span, message, &hint)
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// A fault at a line and column of this file, both from 1.
    pub(super) fn error_at(&self, line: usize, column: usize, message: String, hint: &str) -> AuthoringError {
        AuthoringError { line, column: column.max(1), ..self.error(0..0, message, hint) }
    }

    /// A fault at a place of this file.
    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>, hint: &str) -> AuthoringError {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        AuthoringError {
            file: self.file.clone(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            message: message.into(),
            hint: hint.to_owned(),
        }
    }
}

/// Translates an error of serde or of the TOML parser into the words of these files, and adds a hint. `of_file` is true
/// if the error has no place in the file.
fn told(message: &str, of_file: bool) -> (String, String) {
    let message = message.trim_end().replace('\n', ", ");
    let (wrong, expected) = match message.split_once(", expected ") {
        Some((wrong, expected)) => (wrong, Some(expected)),
        None => (message.as_str(), None),
    };
    let (kind, hint) = if let Some(key) = wrong.strip_prefix("unknown field ") {
        (
            format!("unknown key {key}"),
            suggestion(key, expected)
                .unwrap_or_else(|| "remove it, or move it into the table that it belongs to".into()),
        )
    } else if let Some(value) = wrong.strip_prefix("unknown variant ") {
        (
            format!("unknown value {value}"),
            suggestion(value, expected).unwrap_or_else(|| "use one of these values".into()),
        )
    } else if let Some(key) = wrong.strip_prefix("missing field ") {
        let name = key.trim_matches('`');
        match of_file {
            true => (format!("missing table {key}"), format!("add it: [{name}]")),
            false => (format!("missing key {key}"), format!("add it: {name} = …")),
        }
    } else if wrong.starts_with("invalid type") || wrong.starts_with("invalid value") {
        let hint = match expected {
            Some("a boolean") => "true or false, without quotes",
            Some("u32") => "a whole number, without quotes",
            Some("a sequence") => "a list: [\"…\"]",
            Some(expected) if expected.starts_with("struct") || expected == "a map" => "a table: { key = value }",
            _ => "write it in quotes",
        };
        (wrong.to_owned(), hint.to_owned())
    } else if wrong == "wanted string or table" {
        ("invalid type; expected a string".to_owned(), "write one of the values of this key, in quotes".to_owned())
    } else if wrong == "duplicate key" {
        (wrong.to_owned(), "the table has this key twice: remove one".to_owned())
    } else {
        (wrong.to_owned(), "correct the TOML (see https://toml.io); strings need quotes".to_owned())
    };
    // Names of Rust types mean nothing to an author.
    let expected = expected.map(|expected| match expected.split_whitespace().collect::<Vec<_>>().as_slice() {
        ["struct", _] | ["a", "map"] => "a table",
        ["a", "sequence"] => "a list",
        ["u32"] => "a whole number from 0 to 4294967295",
        _ => expected,
    });
    (expected.map_or(kind.clone(), |expected| format!("{kind}; expected {expected}")), hint)
}

/// Returns a hint with the most similar expected name, if one is similar enough.
pub(super) fn suggestion(given: &str, expected: Option<&str>) -> Option<String> {
    let given = given.trim_matches('`');
    let known = expected?.split('`').skip(1).step_by(2);
    let nearest = known.map(|name| (strsim::jaro_winkler(given, name), name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (nearest.0 > 0.8).then(|| format!("did you mean `{}`?", nearest.1))
}
