// The reports of many instances in one buffer. It begins with the number of used bytes, itself included, as u32. For each run
// follow the instance as u64, the length as u32, and the report.

import { Batch } from "./abi.js";
import { Output } from "./batch.js";
import { type Buffers, REPORT_BUFFER_BYTES } from "./buffers.js";
import type { Guest } from "./guest.js";
import { run } from "./run.js";

/** Begins such a buffer in the output. */
export function beginReports({ output }: Buffers): void {
  output.length = 4;
}

/** Runs a buffer of calls in an instance, and reports it under the id with these halves. Undefined: the instance does not exist. */
export function report({ output }: Buffers, guest: Guest | undefined, low: number, high: number, calls: Uint8Array): void {
  output.u32(low);
  output.u32(high);
  const length = output.length;
  output.u32(0);
  if (guest) {
    run(guest, calls);
  } else {
    output.u8(Batch.CRASH);
    output.text("no such instance: it was stopped or has crashed");
  }
  output.put(length, output.length - length - 4);
}

/** Takes all reports since the last call, as a buffer that can be transferred. */
export function takeReports(buffers: Buffers): ArrayBuffer {
  const { output } = buffers;
  output.put(0, output.length);
  let { buffer } = output.bytes;
  // Copying a small buffer is cheaper than allocating a new one for the next run.
  if (output.length > REPORT_BUFFER_BYTES) buffers.output = new Output(REPORT_BUFFER_BYTES);
  else buffer = buffer.slice(0, output.length);
  beginReports(buffers);
  return buffer;
}
