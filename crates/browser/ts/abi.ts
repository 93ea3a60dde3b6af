// Made of the crate `starlane-abi` by tests/pairs/typescript.rs: change it there, and run that test with BLESS=1.
// What a host, its sandbox and a guest agree on, as far as JavaScript needs it.

export const MESH = "starlane:mechtron/mesh@1.0.0";
export const ACTOR = "starlane:mechtron/actor@1.0.0#";

/** Functions that a guest may import. */
export type Import =
  | "request"
  | "notify"
  | "reply"
  | "emit"
  | "subscribe"
  | "unsubscribe"
  | "wake-after"
  | "log"
  | "now-ms"
  | "random";

/** Limits: messages and bytes that a call may queue, bytes that it may log, headers of a payload. */
export const CALL_MESSAGES = 1024;
export const CALL_BYTES = 16777216;
export const CALL_LOG = 65536;
export const HEADERS = 128;

/** Calls into a guest; kinds of messages, outcomes, the highest level of a log line; what comes back of calls. */
export const enum Batch {
  START = 0,
  RECEIVE = 1,
  SETTLE = 2,
  WAKE = 3,
  SAVE = 4,
  KIND_REQUEST = 0,
  KIND_NOTIFY = 1,
  KIND_EVENT = 2,
  SUCCESS = 0,
  FAILURE = 1,
  ERROR = 4,
  REQUEST = 1,
  NOTIFY = 2,
  REPLY = 3,
  EMIT = 4,
  SUBSCRIBE = 5,
  UNSUBSCRIBE = 6,
  WAKE_AFTER = 7,
  DONE = 16,
  REFUSED = 17,
  RECEIVED = 18,
  SAVED = 19,
  MISFIT = 20,
  TOO_LARGE = 21,
  CRASH = 24,
  LOG = 25,
}

/** Sizes, alignments and offsets of records in a guest's memory, in bytes. */
export const enum Layout {
  BYTES_ALIGN = 1,
  HEADER_SIZE = 16,
  HEADER_ALIGN = 4,
  RESULT_SIZE = 12,
  RESULT_ERROR = 4,
  SAVED_SIZE = 12,
  SAVED_DATA = 4,
}

/** Limits of checking bodies: steps, more for each byte, at most; characters that a reason quotes. */
export const enum Checking {
  STEPS = 2000000,
  STEPS_PER_BYTE = 4,
  MAX_STEPS = 20000000,
  QUOTED_CHARS = 120,
}
