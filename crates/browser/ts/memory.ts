// A guest's memory. Checks every address that a guest names.

import { u32At } from "./batch.js";
import { GuestFault } from "./fault.js";
import type { Guest } from "./guest.js";

/** A currently valid view of the whole memory. */
export function memoryOf(guest: Guest): Uint8Array<ArrayBuffer> {
  return guest.view.length === 0 ? renewView(guest) : guest.view;
}

/** Makes a view of the present memory. */
export function renewView(guest: Guest): Uint8Array<ArrayBuffer> {
  if (!guest.memory) throw new GuestFault("called while the instance was being made");
  const view = (guest.view = new Uint8Array(guest.memory.buffer));
  if (view.length > guest.limits.memory) {
    throw new GuestFault(`it has ${view.length} bytes of memory; the maximum is ${guest.limits.memory}`);
  }
  return view;
}

/** Checks that `length` bytes at `at` are in memory. */
export function within(guest: Guest, what: string, at: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = memoryOf(guest);
  if (at + length > bytes.length) {
    throw new GuestFault(`${what} is outside of memory: ${length} bytes at ${at}; the memory has ${bytes.length}`);
  }
  return bytes;
}

/** Checks a record of words. */
export function checkRecord(guest: Guest, what: string, at: number, size: number): void {
  if (at % 4 !== 0) throw new GuestFault(`${what} is at ${at}, which is not a multiple of 4`);
  within(guest, what, at, size);
}

/** Reads a number at an address that was checked. */
export function wordAt(guest: Guest, at: number): number {
  return u32At(guest.view, at);
}
