//! Limits of checking bodies by schemas: hosts have the same, so that they judge alike.

/// How many steps checking a body may take.
pub const STEPS: u64 = 2_000_000;
/// How many more it may take for each byte of the body.
pub const STEPS_PER_BYTE: u64 = 4;
/// The maximum number of steps, however long the body is.
pub const MAX_STEPS: u64 = 20_000_000;
/// The maximum length of a place, and of a body's own text, that a reason quotes, in characters.
pub const QUOTED_CHARS: usize = 120;
