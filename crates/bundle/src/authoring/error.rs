//! Faults in the files of authors.

use std::{fmt, path::Path};

/// A fault: its place, the error, the expectation and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthoringError {
    /// The file. Its path begins with the folder as the caller gave it.
    pub file: String,
    /// The line, from 1; 0 if the fault has no line.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The error and the expectation.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl AuthoringError {
    /// A fault of a whole file or folder.
    pub(super) fn whole(file: &Path, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { file: file.display().to_string(), line: 0, column: 0, message: message.into(), hint: hint.into() }
    }
}

impl fmt::Display for AuthoringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}. Hint: {}", self.message, self.hint)
    }
}

impl std::error::Error for AuthoringError {}
