//! Sizes, alignments and offsets of records in a guest's memory, in bytes, and the numbers of enum cases.

/// The alignment of strings, and of the bytes of a list of bytes.
pub const BYTES_ALIGN: u32 = 1;

/// `record header { name: string, value: string }`: name pointer, name length, value pointer, value length.
pub const HEADER_SIZE: u32 = 16;
/// Alignment of a header.
pub const HEADER_ALIGN: u32 = 4;

/// `result<_, string>` as `start` returns it: the case, then a string at [`RESULT_ERROR`].
pub const RESULT_SIZE: u32 = 12;
/// Offset of the error's string.
pub const RESULT_ERROR: u32 = 4;

/// `record saved { format: u32, data: list<u8> }` as `save` returns it.
pub const SAVED_SIZE: u32 = 12;
/// Offset of the data's pointer and length.
pub const SAVED_DATA: u32 = 4;

/// Cases of `kind`.
pub mod kind {
    /// A request.
    pub const REQUEST: i32 = 0;
    /// A one-way message.
    pub const NOTIFY: i32 = 1;
    /// An event.
    pub const EVENT: i32 = 2;
}

/// Cases of `outcome`. Flattened: the case, then six `i32`, of which a failure uses five
/// (status, code pointer and length, message pointer and length), then the `i64` of a payload's stream.
pub mod outcome {
    /// A payload.
    pub const SUCCESS: i32 = 0;
    /// A failure.
    pub const FAILURE: i32 = 1;
}

/// Cases of `option<failure>`. Flattened: the case, then the five `i32` of a failure.
pub mod option {
    /// Without a failure.
    pub const NONE: i32 = 0;
    /// A failure.
    pub const SOME: i32 = 1;
}

/// Cases of `level`.
pub mod level {
    /// Details for debugging step by step.
    pub const TRACE: i32 = 0;
    /// Details for debugging.
    pub const DEBUG: i32 = 1;
    /// A normal event.
    pub const INFO: i32 = 2;
    /// A possible fault.
    pub const WARN: i32 = 3;
    /// A fault.
    pub const ERROR: i32 = 4;
}
