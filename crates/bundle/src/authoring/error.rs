//! Faults in what people write.

use std::{fmt, path::Path};

/// A fault: file, line, column, what is wrong, what was expected, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuthoringError {
    /// The file, behind the folder as it was named.
    pub file: String,
    /// Its line, from 1; 0 where the fault is no line's.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl AuthoringError {
    /// A fault of a file or folder as a whole.
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
