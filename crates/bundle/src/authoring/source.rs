//! One TOML file: its text, and faults at places in it.

use std::{fs, ops::Range, path::Path};

use serde::de::DeserializeOwned;

use super::AuthoringError;

/// The text of a file.
pub(super) struct Source {
    file: String,
    text: String,
}

impl Source {
    /// Reads a file of the bundle's folder.
    pub(super) fn read(folder: &Path, relative: &str) -> Result<Self, AuthoringError> {
        let path = folder.join(relative);
        let text = fs::read_to_string(&path).map_err(|e| {
            let mut error = AuthoringError::io(&path, format!("it can't be read: {e}"));
            if relative == "bundle.toml" {
                error.hint = "a bundle is a folder with a bundle.toml; is this the folder that you mean?".into();
            }
            error
        })?;
        Ok(Self { file: path.display().to_string(), text })
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, AuthoringError> {
        toml::from_str(&self.text).map_err(|error| {
            let message = error.message().trim_end().replace('\n', ", ");
            self.error(error.span().unwrap_or(0..0), message, "")
        })
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
