//! Bounds of every guest, whatever its config says.

/// The most messages that one call may queue.
pub const CALL_MESSAGES: usize = 1024;
/// The most bytes that one call may queue.
pub const CALL_BYTES: usize = 16 * 1024 * 1024;
/// The most bytes that one call may log; what is over is cut off.
pub const CALL_LOG: usize = 64 * 1024;
/// The longest module, in bytes.
pub const MODULE_BYTES: usize = 8 * 1024 * 1024;
/// The most entries of a table.
pub const TABLE_ENTRIES: u32 = 10_000;
/// The most headers of a payload.
pub const HEADERS: usize = 128;
