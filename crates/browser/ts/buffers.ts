// The buffers that all guests of a thread share, and how calls are read from them.

import { Output, u32At } from "./batch.js";
import type { Contracts } from "./contract.js";

/** How many bytes a new buffer for reports has. */
export const REPORTS = 65_536;

/**
 * The calls that run and the reports of them. A batch is never entered twice, so one object is enough for all guests of a thread.
 */
export class Buffers {
  /** The calls that run, and how far they have been read. */
  calls: Uint8Array = new Uint8Array();
  cursor = 0;
  /** Where reports go. */
  output = new Output(REPORTS);
  /** A 64-bit number and its halves, lower first: between BigInt and two words without arithmetic on BigInts. */
  readonly wide = new BigUint64Array(1);
  readonly halves = new Uint32Array(this.wide.buffer);
  /** Random numbers, and how many of them are left. */
  readonly random = new BigUint64Array(64);
  left = 0;
  /** What its guests' messages must fit. */
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

/** Goes past a string or list of bytes; gives where it begins. */
export function pastBytes(buffers: Buffers): number {
  const at = buffers.cursor;
  const size = readU32(buffers);
  buffers.cursor += size;
  return at;
}

/** Goes past a list of headers; gives where it begins. */
export function pastHeaders(buffers: Buffers): number {
  const at = buffers.cursor;
  for (let texts = readU32(buffers) * 2; texts > 0; texts--) pastBytes(buffers);
  return at;
}

/** Reports a 64-bit number. */
export function report64({ wide, halves, output }: Buffers, value: bigint): void {
  wide[0] = value;
  output.u32(halves[0]!);
  output.u32(halves[1]!);
}

/** The key of the id that was read or reported last: a number if it is one without loss, as all of a host's ids are. */
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
