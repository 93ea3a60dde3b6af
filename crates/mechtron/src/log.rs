//! Lines for the host's log. A host keeps at most 64 KiB of them a call.

use crate::mesh::ambient;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Writes a line at a level. Outside a running actor there is nowhere to write it, and it is dropped.
pub fn write(level: Level, text: impl AsRef<str>) {
    if let Some(mesh) = ambient() {
        mesh.log(level, text.as_ref());
    }
}

/// For who follows every step.
pub fn trace(text: impl AsRef<str>) {
    write(Level::Trace, text);
}

/// For who looks for a fault.
pub fn debug(text: impl AsRef<str>) {
    write(Level::Debug, text);
}

/// What went as it should, and is worth a line.
pub fn info(text: impl AsRef<str>) {
    write(Level::Info, text);
}

/// What should not happen, and was dealt with.
pub fn warn(text: impl AsRef<str>) {
    write(Level::Warn, text);
}

/// What failed.
pub fn error(text: impl AsRef<str>) {
    write(Level::Error, text);
}
