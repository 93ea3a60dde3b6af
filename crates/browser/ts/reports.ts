// The reports of many instances in one buffer: the number of bytes in use, itself included, as u32; then, for each run, the
// instance as u64, the length as u32, the report.

import { Batch } from "./abi.js";
import { Output } from "./batch.js";
import { type Buffers, REPORTS } from "./buffers.js";
import type { Guest } from "./guest.js";
import { run } from "./run.js";

/** From now on the output is such a buffer. */
export function beginReports({ output }: Buffers): void {
  output.length = 4;
}

/** Runs a buffer of calls in the instance of the id with these halves. Undefined: there is none such. */
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

/** Hands out all reports since the last time, as a buffer that may be transferred. */
export function takeReports(buffers: Buffers): ArrayBuffer {
  const { output } = buffers;
  output.put(0, output.length);
  let { buffer } = output.bytes;
  // Large ones are given away, small ones copied: the next run needs no new buffer then.
  if (output.length > REPORTS) buffers.output = new Output(REPORTS);
  else buffer = buffer.slice(0, output.length);
  beginReports(buffers);
  return buffer;
}
