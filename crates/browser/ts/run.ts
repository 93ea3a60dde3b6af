// Runs the calls of `starlane_host::batch` in a guest by the canonical ABI, and writes their effects to the output.

import { Batch, CALL_BYTES, CALL_LOG, CALL_MESSAGES, Layout } from "./abi.js";
import { CALLS, type Failure } from "./batch.js";
import { lastKey, pastBytes, pastHeaders, readFailure, readU32, readU64, readU8, report64, sliceAt } from "./buffers.js";
import { GuestFault, NoMemory } from "./fault.js";
import { type Guest, checkWhole } from "./guest.js";
import { liftBytes, liftText } from "./lift.js";
import { lowerBytes, lowerBytesAt, lowerFailure, lowerHeadersAt } from "./lower.js";
import { checkRecord, memoryOf, wordAt } from "./memory.js";

/** Runs a buffer of calls and appends the report to the output. */
export function run(guest: Guest, calls: Uint8Array): void {
  const { buffers } = guest;
  buffers.calls = calls;
  buffers.cursor = 0;
  try {
    runAll(guest);
  } finally {
    // Releases a large buffer.
    buffers.calls = new Uint8Array();
  }
}

function runAll(guest: Guest): void {
  const { buffers, gate, logs } = guest;
  const { output } = buffers;
  let queued = 0;
  let sent = 0;
  for (let count = readU32(buffers); count > 0; count--) {
    passLogs(guest);
    const tag = readU8(buffers);
    const full = queued >= CALL_BYTES || sent >= CALL_MESSAGES;
    if (full && tag !== Batch.START && tag !== Batch.SAVE) break;
    if (tag === Batch.RECEIVE && guest.unfinished.size >= guest.limits.concurrency) break;
    const mark = output.length;
    const behind = tag === Batch.RECEIVE && gate?.refuses(buffers.calls, buffers.cursor, output);
    if (behind) {
      buffers.cursor = behind;
      continue;
    }
    guest.messages = 0;
    guest.room = CALL_BYTES;
    guest.logRoom = CALL_LOG;
    let goesOn = false;
    try {
      if ((tag === Batch.START) === guest.started) throw new GuestFault("`start` must be called once, before other calls");
      goesOn = RUN[tag]!(guest) !== false;
      // Checks the limit of memory in the call that grew it.
      memoryOf(guest);
      checkWhole(guest);
      for (const stream of gate?.check(output, mark, logs) ?? []) guest.streams.end(BigInt(stream));
    } catch (error) {
      // Drops everything that the call queued.
      output.length = mark;
      if (error instanceof NoMemory && (tag === Batch.RECEIVE || tag === Batch.SETTLE)) {
        output.u8(Batch.TOO_LARGE);
        output.text(error.message);
        if (tag === Batch.RECEIVE) gate?.forget();
        buffers.cursor = guest.callEnd;
        continue;
      }
      output.u8(Batch.CRASH);
      output.text(`\`${CALLS[tag]}\`: ${guest.reason(error)}`);
      break;
    }
    if (guest.room < CALL_BYTES) queued += CALL_BYTES - guest.room;
    sent += guest.messages;
    if (!goesOn) break;
  }
  passLogs(guest);
}

/** Appends the log lines of a call to its report. */
function passLogs({ buffers, logs }: Guest): void {
  if (logs.length > 0) {
    buffers.output.raw(logs.bytes.subarray(0, logs.length));
    logs.length = 0;
  }
}

/** Returns false if the guest refused to start. */
function start(guest: Guest): boolean {
  const { buffers } = guest;
  const { output } = buffers;
  guest.started = true;
  const address = lowerBytes(guest), addressLength = guest.size;
  const mechtron = lowerBytes(guest), mechtronLength = guest.size;
  const settings = lowerBytes(guest), settingsLength = guest.size;
  const hasState = readU8(buffers);
  let format = 0, state = 0, stateLength = 0;
  if (hasState === 1) {
    format = readU32(buffers);
    state = lowerBytes(guest);
    stateLength = guest.size;
  }
  guest.open = true;
  const result =
    guest.exports.start(
      address, addressLength, mechtron, mechtronLength, settings, settingsLength, hasState, format, state, stateLength,
    ) >>> 0;
  guest.open = false;
  checkRecord(guest, "the result", result, Layout.RESULT_SIZE);
  const refused = guest.view[result]!;
  if (refused > 1) throw new GuestFault(`a result has no case ${refused}`);
  output.u8(refused === 0 ? Batch.DONE : Batch.REFUSED);
  if (refused === 1) {
    guest.room = CALL_BYTES;
    liftText(guest, "the reason", wordAt(guest, result + Layout.RESULT_ERROR), wordAt(guest, result + Layout.RESULT_ERROR + 4));
  }
  guest.exports.postStart?.(result);
  return refused === 0;
}

function receive(guest: Guest): void {
  const { buffers } = guest;
  const id = readU64(buffers);
  const key = lastKey(buffers);
  const kind = readU8(buffers);
  const from = pastBytes(buffers), by = pastBytes(buffers), what = pastBytes(buffers);
  const as = pastBytes(buffers), behind = pastHeaders(buffers), carries = pastBytes(buffers);
  const stream = readU64(buffers);
  const remaining = readU32(buffers);
  guest.callEnd = buffers.cursor;
  if (refusesStream(guest, stream)) {
    guest.gate?.forget();
    return;
  }
  // Lowers the longest value first: if memory is too small for it, nothing has been allocated yet.
  const body = lowerBytesAt(guest, carries), bodyLength = guest.size;
  const headers = lowerHeadersAt(guest, behind), count = guest.size;
  const sender = lowerBytesAt(guest, from), senderLength = guest.size;
  const caller = lowerBytesAt(guest, by), callerLength = guest.size;
  const operation = lowerBytesAt(guest, what), operationLength = guest.size;
  const type = lowerBytesAt(guest, as), typeLength = guest.size;
  buffers.cursor = guest.callEnd;
  if (stream !== 0n) guest.streams.deliver(stream);
  guest.unfinished.add(key);
  guest.open = true;
  const finished = guest.exports.receive(
    id, kind, sender, senderLength, caller, callerLength, operation, operationLength,
    type, typeLength, headers, count, body, bodyLength, stream, remaining,
  );
  guest.open = false;
  if (finished !== 0) guest.unfinished.delete(key);
  buffers.output.u8(Batch.RECEIVED);
  buffers.output.u8(finished !== 0 ? 1 : 0);
}

function settle(guest: Guest): void {
  const { buffers } = guest;
  const id = readU64(buffers);
  const which = readU8(buffers);
  // The words of an outcome. Their meaning depends on the case.
  let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, stream = 0n;
  if (which === Batch.SUCCESS) {
    const as = pastBytes(buffers), behind = pastHeaders(buffers), carries = pastBytes(buffers);
    stream = readU64(buffers);
    guest.callEnd = buffers.cursor;
    if (refusesStream(guest, stream)) return;
    e = lowerBytesAt(guest, carries);
    f = guest.size;
    c = lowerHeadersAt(guest, behind);
    d = guest.size;
    a = lowerBytesAt(guest, as);
    b = guest.size;
  } else {
    const failure = readFailure(buffers);
    guest.callEnd = buffers.cursor;
    [a, b, c, d, e] = lowerFailure(guest, failure);
  }
  buffers.cursor = guest.callEnd;
  if (stream !== 0n) guest.streams.deliver(stream);
  guest.open = true;
  guest.exports.settle(id, which, a, b, c, d, e, f, stream);
  guest.open = false;
  done(guest);
}

/** Whether a payload has a stream and the guest exports nothing for streams. Then this is the result of the call. */
function refusesStream({ buffers, exports }: Guest, stream: bigint): boolean {
  if (stream === 0n || exports.streams) return false;
  buffers.output.u8(Batch.NO_STREAMS);
  return true;
}

function wake(guest: Guest): void {
  const token = readU64(guest.buffers);
  guest.open = true;
  guest.exports.wake(token);
  guest.open = false;
  done(guest);
}

function save(guest: Guest): void {
  const { buffers } = guest;
  guest.open = true;
  const result = guest.exports.save() >>> 0;
  guest.open = false;
  checkRecord(guest, "the result", result, Layout.SAVED_SIZE);
  buffers.output.u8(Batch.SAVED);
  buffers.output.u32(wordAt(guest, result));
  // Only the guest's memory limits the size of its state.
  guest.room = Infinity;
  liftBytes(guest, "the state", wordAt(guest, result + Layout.SAVED_DATA), wordAt(guest, result + Layout.SAVED_DATA + 4));
  guest.exports.postSave?.(result);
}

function done({ buffers }: Guest): void {
  buffers.output.u8(Batch.DONE);
}

/** Reports that a part does not reach the guest, and why its stream has ended. */
function refusePart({ buffers, streams }: Guest, stream: bigint, failure: Failure): void {
  streams.refuseParts(stream);
  buffers.output.u8(Batch.BAD_LINE);
  report64(buffers, stream);
  buffers.output.failure(failure);
}

function part(guest: Guest): void {
  const { buffers, streams } = guest;
  const stream = readU64(buffers);
  const bytes = pastBytes(buffers);
  guest.callEnd = buffers.cursor;
  // Parts of a stream that the guest has cancelled can be under way.
  if (!guest.exports.streams || !streams.takesParts(stream)) return done(guest);
  const failure = guest.gate?.part(Number(stream), sliceAt(buffers, bytes));
  if (failure) return refusePart(guest, stream, failure);
  let at: number;
  try {
    at = lowerBytesAt(guest, bytes);
  } catch (error) {
    if (!(error instanceof NoMemory)) throw error;
    refusePart(guest, stream, { status: 413, code: "too-large", message: error.message });
    buffers.cursor = guest.callEnd;
    return;
  }
  buffers.cursor = guest.callEnd;
  guest.open = true;
  guest.exports.streams.part(stream, at, guest.size);
  guest.open = false;
  done(guest);
}

function ended(guest: Guest): void {
  const { buffers } = guest;
  const stream = readU64(buffers);
  const which = readU8(buffers);
  const error = which === Batch.SOME ? readFailure(buffers) : undefined;
  guest.callEnd = buffers.cursor;
  if (!guest.streams.isOpen(stream)) return done(guest);
  const failure = guest.gate?.end(Number(stream), error === undefined);
  if (failure) return refusePart(guest, stream, failure);
  guest.streams.end(stream);
  if (!guest.exports.streams) return done(guest);
  const [a, b, c, d, e] = error ? lowerFailure(guest, error) : NO_FAILURE;
  buffers.cursor = guest.callEnd;
  guest.open = true;
  guest.exports.streams.ended(stream, which, a, b, c, d, e);
  guest.open = false;
  done(guest);
}

function ready(guest: Guest): void {
  const { buffers } = guest;
  const stream = readU64(buffers);
  const credit = readU32(buffers);
  if (guest.streams.addCredit(stream, credit) && guest.exports.streams) {
    guest.open = true;
    guest.exports.streams.ready(stream, credit);
    guest.open = false;
  }
  done(guest);
}

/** The words of no failure. */
const NO_FAILURE = [0, 0, 0, 0, 0] as const;

/** The function for each call, by its number. If it returns false, the batch ends after the call. */
const RUN: readonly ((guest: Guest) => boolean | void)[] = [start, receive, settle, wake, save, part, ended, ready];
