//! Limits of every guest and module. A config cannot change them.

/// The maximum number of messages that one call may queue.
pub const CALL_MESSAGES: usize = 1024;
/// The maximum number of bytes that one call may queue.
pub const CALL_BYTES: usize = 16 * 1024 * 1024;
/// The maximum number of bytes that one call may log; the rest is cut off.
pub const CALL_LOG: usize = 64 * 1024;
/// The maximum number of headers of a payload.
pub const HEADERS: usize = 128;

/// The number of bytes that may be written to a new stream before its reader allows more.
pub const FIRST_CREDIT: u32 = 64 * 1024;
/// The maximum length of a line of a stream that a schema checks, in bytes, without its end.
pub const LINE_BYTES: usize = 1024 * 1024;

/// The maximum size of a module, in bytes.
pub const MODULE_BYTES: usize = 8 * 1024 * 1024;
/// The maximum number of functions that a module defines.
pub const FUNCTIONS: u32 = 50_000;
/// The maximum number of tables of a module.
pub const TABLES: u32 = 4;
/// The maximum number of entries of a table.
pub const TABLE_ENTRIES: u32 = 10_000;
/// The size of a page of memory, in bytes.
pub const PAGE_BYTES: u64 = 65_536;

/// The maximum size of a function's body, in bytes. This and the following limits are defaults that a host can change.
pub const FUNCTION_BYTES: u64 = 256 * 1024;
/// The maximum number of parameters and variables of a function.
pub const FUNCTION_LOCALS: u64 = 10_000;
/// The maximum number of blocks and branch targets of a function.
pub const FUNCTION_BRANCHES: u64 = 16_384;
/// The maximum depth of nested loops in a function.
pub const FUNCTION_LOOP_DEPTH: u64 = 64;
/// The maximum number of values that a function moves at its calls and branches, and variables times loops.
pub const FUNCTION_MOVES: u64 = 1_000_000;
/// The maximum number of such values of all functions of a module. A host that allows one function more than a 50th of
/// this raises this limit too.
pub const MODULE_MOVES: u64 = 50_000_000;
