//! Faults in what people write.

use std::{fmt, path::Path};

/// A fault: file, line, column, what is wrong, and a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthoringError {
    /// The file, relative to where the bundle's folder was named.
    pub file: String,
    /// Its line, from 1; 0 where the fault is no line's.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What to do; may be empty.
    pub hint: String,
}

impl AuthoringError {
    pub(super) fn io(file: &Path, message: impl Into<String>) -> Self {
        let (message, hint) = (message.into(), String::new());
        Self { file: file.display().to_string(), line: 0, column: 0, message, hint }
    }
}

impl fmt::Display for AuthoringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, "\n  hint: {}", self.hint) }
    }
}

impl std::error::Error for AuthoringError {}
