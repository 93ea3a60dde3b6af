//! Limits for checking bodies against schemas. All hosts have the same limits, so that they give the same results.

/// The number of steps that are allowed for every body.
pub const STEPS: u64 = 2_000_000;
/// The number of additional steps for each byte of the body.
pub const STEPS_PER_BYTE: u64 = 4;
/// The maximum number of steps for a body of any length.
pub const MAX_STEPS: u64 = 20_000_000;
/// The maximum length of a quotation from a body, or of a place in it, in an error, in characters.
pub const QUOTED_CHARS: usize = 120;
