// Reads values from the calls and writes them to memory that the guest allocates. Each function returns the address of the value,
// and stores its length in the guest's `size`.

import { Layout } from "./abi.js";
import { MAX_LOOP_BYTES } from "./batch.js";
import { type FailurePlace, readU32 } from "./buffers.js";
import { GuestFault, NoMemory, describe, isUnreachable } from "./fault.js";
import type { Guest } from "./guest.js";
import { memoryOf } from "./memory.js";

/** Lowers the next string or list of bytes. */
export function lowerBytes(guest: Guest): number {
  const { buffers } = guest;
  const size = readU32(buffers);
  guest.size = size;
  if (size === 0) return Layout.BYTES_ALIGN;
  const at = allocate(guest, Layout.BYTES_ALIGN, size);
  const { calls, cursor: from } = buffers;
  buffers.cursor = from + size;
  const bytes = guest.view;
  if (size > MAX_LOOP_BYTES) bytes.set(calls.subarray(from, from + size), at);
  else for (let i = 0; i < size; i++) bytes[at + i] = calls[from + i]!;
  return at;
}

/** Lowers the string or list of bytes that begins at `from`. */
export function lowerBytesAt(guest: Guest, from: number): number {
  guest.buffers.cursor = from;
  return lowerBytes(guest);
}

/** Lowers the list of headers that begins at `from`. */
export function lowerHeadersAt(guest: Guest, from: number): number {
  guest.buffers.cursor = from;
  const count = readU32(guest.buffers);
  guest.size = count;
  if (count === 0) return Layout.HEADER_ALIGN;
  const list = allocate(guest, Layout.HEADER_ALIGN, count * Layout.HEADER_SIZE);
  for (let at = list; at < list + count * Layout.HEADER_SIZE; at += 8) {
    const text = lowerBytes(guest);
    // The allocation may have grown the memory, which needs a new view.
    const words = new DataView(memoryOf(guest).buffer);
    words.setUint32(at, text, true);
    words.setUint32(at + 4, guest.size, true);
  }
  guest.size = count;
  return list;
}

/** Lowers a failure. Returns its words: the status, then addresses and lengths of code and message. */
export function lowerFailure(
  guest: Guest, { status, code, message }: FailurePlace,
): readonly [status: number, code: number, codeLength: number, message: number, messageLength: number] {
  const text = lowerBytesAt(guest, message), textLength = guest.size;
  const name = lowerBytesAt(guest, code), nameLength = guest.size;
  return [status, name, nameLength, text, textLength];
}

function allocate(guest: Guest, align: number, size: number): number {
  let at: number;
  try {
    at = guest.exports.realloc(0, 0, align, size) >>> 0;
  } catch (error) {
    // Allocators trap like this when they find no memory.
    if (guest.importing === undefined && isUnreachable(error)) {
      throw new NoMemory(`it has no memory for ${size} bytes more: \`cabi_realloc\`: ${describe(error)}`);
    }
    throw error;
  }
  const bytes = memoryOf(guest);
  const gave = () => `\`cabi_realloc\` gave ${at} for ${size} bytes aligned to ${align}, and memory has ${bytes.length}`;
  if (at % align !== 0) throw new GuestFault(gave());
  if (at + size > bytes.length) throw new NoMemory(gave());
  return at;
}
