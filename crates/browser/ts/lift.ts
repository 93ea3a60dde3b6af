// Checks values of a guest and copies them to the output. `what` names a value, for people.

import { Batch, CALL_BYTES, HEADERS, Layout } from "./abi.js";
import { MAX_LOOP_BYTES } from "./batch.js";
import { report64 } from "./buffers.js";
import { GuestFault } from "./fault.js";
import type { Guest } from "./guest.js";
import { checkRecord, within, wordAt } from "./memory.js";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function liftBytes(guest: Guest, what: string, at: number, length: number): void {
  at >>>= 0;
  length >>>= 0;
  within(guest, what, at, length);
  copy(guest, what, at, length);
}

export function liftText(guest: Guest, what: string, at: number, length: number): void {
  at >>>= 0;
  length >>>= 0;
  checkText(what, within(guest, what, at, length), at, at + length);
  copy(guest, what, at, length);
}

export function liftPayload(
  guest: Guest, type: number, typeLength: number, headers: number, count: number, body: number, bodyLength: number, stream: bigint,
): void {
  liftText(guest, "the content type", type, typeLength);
  headers >>>= 0;
  count >>>= 0;
  if (count > HEADERS) throw new GuestFault(`${count} headers; the maximum is ${HEADERS}`);
  checkRecord(guest, "the list of headers", headers, count * Layout.HEADER_SIZE);
  guest.buffers.output.u32(count);
  for (let at = headers; at < headers + count * Layout.HEADER_SIZE; at += Layout.HEADER_SIZE) {
    liftText(guest, "the name of a header", wordAt(guest, at), wordAt(guest, at + 4));
    liftText(guest, "the value of a header", wordAt(guest, at + 8), wordAt(guest, at + 12));
  }
  liftBytes(guest, "the body", body, bodyLength);
  stream = unsigned(stream);
  if (stream !== 0n) {
    bodyLength >>>= 0;
    if (bodyLength > 0) {
      throw new GuestFault(`a payload has stream ${stream} and a body of ${bodyLength} bytes; it can have only one of them`);
    }
    guest.streams.attach(stream);
  }
  report64(guest.buffers, stream);
}

/** Lifts a failure: the status, then code and message. */
export function liftFailure(guest: Guest, status: number, code: number, codeLength: number, text: number, textLength: number): void {
  guest.buffers.output.u8(status);
  guest.buffers.output.u8(status >>> 8);
  liftText(guest, "the code of a failure", code, codeLength);
  liftText(guest, "the message of a failure", text, textLength);
}

/** Lifts the error of a stream: a case, and a failure. */
export function liftError(guest: Guest, which: number, a: number, b: number, c: number, d: number, e: number): void {
  guest.buffers.output.u8(which);
  if (which === Batch.SOME) liftFailure(guest, a, b, c, d, e);
  else if (which !== Batch.NONE) throw new GuestFault(`an option has no case ${which}`);
}

/** A 64-bit number of a guest, which engines pass with a sign. */
export function unsigned(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

/** Checks that bytes of a guest are UTF-8. */
export function checkText(what: string, bytes: Uint8Array, from: number, to: number): void {
  if (to - from <= MAX_LOOP_BYTES) {
    let at = from;
    while (at < to && bytes[at]! < 0x80) at++;
    if (at === to) return;
  }
  try {
    utf8.decode(bytes.subarray(from, to));
  } catch {
    throw new GuestFault(`${what} is not UTF-8`);
  }
}

/** Copies bytes that were checked to be in memory. */
function copy(guest: Guest, what: string, at: number, length: number): void {
  if (length > guest.room) throw new GuestFault(`${what} exceeds the maximum of ${CALL_BYTES} queued bytes for one call`);
  guest.room -= length;
  guest.buffers.output.slice(guest.view, at, at + length);
}
