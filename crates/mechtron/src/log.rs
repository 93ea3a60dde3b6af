//! Writes lines to the host's log. A host keeps at most 64 KiB per call.

use crate::mesh::ambient;

/// The level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes a line at a level. Outside of a running actor, the line is dropped.
pub fn write(level: Level, text: impl AsRef<str>) {
    if let Some(mesh) = ambient() {
        mesh.log(level, text.as_ref());
    }
}

/// Writes details for debugging step by step.
pub fn trace(text: impl AsRef<str>) {
    write(Level::Trace, text);
}

/// Writes details for debugging.
pub fn debug(text: impl AsRef<str>) {
    write(Level::Debug, text);
}

/// Writes about a normal event.
pub fn info(text: impl AsRef<str>) {
    write(Level::Info, text);
}

/// Writes about an unexpected event that was handled.
pub fn warn(text: impl AsRef<str>) {
    write(Level::Warn, text);
}

/// Writes about a failure.
pub fn error(text: impl AsRef<str>) {
    write(Level::Error, text);
}
