//! Names of imports and exports.

/// The module name of every import.
pub const MESH: &str = "starlane:mechtron/mesh@1.0.0";

/// The prefix of the names of exports of the interface `actor`.
pub const ACTOR: &str = "starlane:mechtron/actor@1.0.0#";
/// `actor.start`.
pub const START: &str = "starlane:mechtron/actor@1.0.0#start";
/// `actor.receive`.
pub const RECEIVE: &str = "starlane:mechtron/actor@1.0.0#receive";
/// `actor.settle`.
pub const SETTLE: &str = "starlane:mechtron/actor@1.0.0#settle";
/// `actor.wake`.
pub const WAKE: &str = "starlane:mechtron/actor@1.0.0#wake";
/// `actor.save`.
pub const SAVE: &str = "starlane:mechtron/actor@1.0.0#save";
/// An optional export that the host calls after it has read the result of `start`.
pub const POST_START: &str = "cabi_post_starlane:mechtron/actor@1.0.0#start";
/// An optional export that the host calls after it has read the result of `save`.
pub const POST_SAVE: &str = "cabi_post_starlane:mechtron/actor@1.0.0#save";

/// The prefix of the names of exports of the interface `stream-actor`.
pub const STREAM_ACTOR: &str = "starlane:mechtron/stream-actor@1.0.0#";
/// `stream-actor.part`.
pub const PART: &str = "starlane:mechtron/stream-actor@1.0.0#part";
/// `stream-actor.ended`.
pub const ENDED: &str = "starlane:mechtron/stream-actor@1.0.0#ended";
/// `stream-actor.ready`.
pub const READY: &str = "starlane:mechtron/stream-actor@1.0.0#ready";

/// The guest's memory.
pub const MEMORY: &str = "memory";
/// The guest's allocator: `(old, old size, align, new size) -> pointer`.
pub const REALLOC: &str = "cabi_realloc";
/// An optional export that the host calls once, before anything else.
pub const INITIALIZE: &str = "_initialize";

/// The exports that every module must have.
pub const REQUIRED_EXPORTS: [&str; 7] = [START, RECEIVE, SETTLE, WAKE, SAVE, MEMORY, REALLOC];

/// The exports that must be functions, with the core types of their parameters and results (`i` is i32, `I` is i64).
pub const REQUIRED_FUNCTIONS: [(&str, &str, &str); 6] = [
    (START, "iiiiiiiiii", "i"),
    (RECEIVE, "IiiiiiiiiiiiiiIi", "i"),
    (SETTLE, "IiiiiiiiI", ""),
    (WAKE, "I", ""),
    (SAVE, "", "i"),
    (REALLOC, "iiii", "i"),
];

/// The optional exports of a module, which must be functions of these types.
pub const OPTIONAL_FUNCTIONS: [(&str, &str, &str); 3] =
    [(INITIALIZE, "", ""), (POST_START, "i", ""), (POST_SAVE, "i", "")];

/// The exports of a module that reads or writes streams: all of them or none.
pub const STREAM_FUNCTIONS: [(&str, &str, &str); 3] = [(PART, "Iii", ""), (ENDED, "Iiiiiii", ""), (READY, "Ii", "")];

/// The imports that a module may have: functions of [`MESH`], with their core signatures (`i` is i32, `I` is i64).
pub const IMPORTS: [(&str, &str, &str); 16] = [
    ("request", "iiiiiiiiiiIi", "I"),
    ("notify", "iiiiiiiiiiI", ""),
    ("reply", "IiiiiiiiI", ""),
    ("emit", "iiiiiiiiI", ""),
    ("subscribe", "ii", ""),
    ("unsubscribe", "ii", ""),
    ("wake-after", "iI", ""),
    ("wake-at", "II", ""),
    ("open-stream", "", "I"),
    ("write", "Iii", "i"),
    ("finish", "Iiiiiii", ""),
    ("grant", "Ii", ""),
    ("cancel-stream", "I", ""),
    ("log", "iii", ""),
    ("now-ms", "", "I"),
    ("random", "", "I"),
];
