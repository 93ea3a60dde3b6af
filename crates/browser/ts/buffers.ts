// The buffers that all guests of a thread share, and functions that read calls from them.

import { Output, u32At } from "./batch.js";
import type { Contracts } from "./contract.js";

/** The size of a new buffer for reports. */
export const REPORT_BUFFER_BYTES = 65_536;

/**
 * The running calls and their reports. Batches do not nest, so one object is enough for all guests of a thread.
 */
export class Buffers {
  /** The running calls, and the position of the next read. */
  calls: Uint8Array = new Uint8Array();
  cursor = 0;
  /** The reports. */
  output = new Output(REPORT_BUFFER_BYTES);
  /** A 64-bit number and its halves, lower first. Converts between a BigInt and two words without arithmetic on BigInts. */
  readonly wide = new BigUint64Array(1);
  readonly halves = new Uint32Array(this.wide.buffer);
  /** Random numbers, and the count of unused ones. */
  readonly random = new BigUint64Array(64);
  left = 0;
  /** The contracts of its guests. */
  readonly contracts: Contracts = new Map();
}

export function readU8(buffers: Buffers): number {
  return buffers.calls[buffers.cursor++]!;
}

export function readU32(buffers: Buffers): number {
  const at = buffers.cursor;
  buffers.cursor = at + 4;
  return u32At(buffers.calls, at);
}

export function readU64(buffers: Buffers): bigint {
  buffers.halves[0] = readU32(buffers);
  buffers.halves[1] = readU32(buffers);
  return buffers.wide[0]!;
}

/** Skips a string or list of bytes. Returns where it begins. */
export function pastBytes(buffers: Buffers): number {
  const at = buffers.cursor;
  const size = readU32(buffers);
  buffers.cursor += size;
  return at;
}

/** A string or list of bytes of the calls, which begins at `from`. */
export function sliceAt({ calls }: Buffers, from: number): Uint8Array {
  return calls.subarray(from + 4, from + 4 + u32At(calls, from));
}

/** Skips a list of headers. Returns where it begins. */
export function pastHeaders(buffers: Buffers): number {
  const at = buffers.cursor;
  for (let texts = readU32(buffers) * 2; texts > 0; texts--) pastBytes(buffers);
  return at;
}

/** Where a failure is in the calls: its status, and where its code and its message begin. */
export interface FailurePlace {
  readonly status: number;
  readonly code: number;
  readonly message: number;
}

/** Reads where a failure is. */
export function readFailure(buffers: Buffers): FailurePlace {
  const status = readU8(buffers) | (readU8(buffers) << 8);
  return { status, code: pastBytes(buffers), message: pastBytes(buffers) };
}

/** Reports a 64-bit number. */
export function report64({ wide, halves, output }: Buffers, value: bigint): void {
  wide[0] = value;
  output.u32(halves[0]!);
  output.u32(halves[1]!);
}

/** The key of the id that was last read or reported: a number if that is exact, as for all ids of hosts. */
export function lastKey({ wide, halves }: Buffers): number | bigint {
  return halves[1]! < 0x200000 ? halves[1]! * 4294967296 + halves[0]! : wide[0]!;
}

export function takeRandom(buffers: Buffers): bigint {
  const { random } = buffers;
  if (buffers.left === 0) {
    crypto.getRandomValues(random);
    buffers.left = random.length;
  }
  return random[--buffers.left]!;
}
