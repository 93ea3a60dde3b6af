// Runs the calls of `starlane_host::batch` in a guest by the canonical ABI, and writes their effects to the output.

import { Batch, CALL_BYTES, CALL_LOG, CALL_MESSAGES, Layout } from "./abi.js";
import { CALLS } from "./batch.js";
import { lastKey, pastBytes, pastHeaders, readU32, readU64, readU8 } from "./buffers.js";
import { GuestFault, NoMemory } from "./fault.js";
import { type Guest, checkWhole } from "./guest.js";
import { liftBytes, liftText } from "./lift.js";
import { lowerBytes, lowerBytesAt, lowerHeadersAt } from "./lower.js";
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
      gate?.check(output, mark, logs);
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
  const remaining = readU32(buffers);
  guest.callEnd = buffers.cursor;
  // Lowers the longest value first: if memory is too small for it, nothing has been allocated yet.
  const body = lowerBytesAt(guest, carries), bodyLength = guest.size;
  const headers = lowerHeadersAt(guest, behind), count = guest.size;
  const sender = lowerBytesAt(guest, from), senderLength = guest.size;
  const caller = lowerBytesAt(guest, by), callerLength = guest.size;
  const operation = lowerBytesAt(guest, what), operationLength = guest.size;
  const type = lowerBytesAt(guest, as), typeLength = guest.size;
  buffers.cursor = guest.callEnd;
  guest.unfinished.add(key);
  guest.open = true;
  const finished = guest.exports.receive(
    id, kind, sender, senderLength, caller, callerLength, operation, operationLength,
    type, typeLength, headers, count, body, bodyLength, remaining,
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
  let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0;
  if (which === Batch.SUCCESS) {
    const as = pastBytes(buffers), behind = pastHeaders(buffers), carries = pastBytes(buffers);
    guest.callEnd = buffers.cursor;
    e = lowerBytesAt(guest, carries);
    f = guest.size;
    c = lowerHeadersAt(guest, behind);
    d = guest.size;
    a = lowerBytesAt(guest, as);
    b = guest.size;
  } else {
    a = readU8(buffers) | (readU8(buffers) << 8);
    const code = pastBytes(buffers), text = pastBytes(buffers);
    guest.callEnd = buffers.cursor;
    d = lowerBytesAt(guest, text);
    e = guest.size;
    b = lowerBytesAt(guest, code);
    c = guest.size;
  }
  buffers.cursor = guest.callEnd;
  guest.open = true;
  guest.exports.settle(id, which, a, b, c, d, e, f);
  guest.open = false;
  buffers.output.u8(Batch.DONE);
}

function wake(guest: Guest): void {
  const token = readU64(guest.buffers);
  guest.open = true;
  guest.exports.wake(token);
  guest.open = false;
  guest.buffers.output.u8(Batch.DONE);
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

/** The function for each call, by its number. If it returns false, the batch ends after the call. */
const RUN: readonly ((guest: Guest) => boolean | void)[] = [start, receive, settle, wake, save];
