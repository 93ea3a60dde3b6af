// Checks modules in a worker, by the Wasm of `crates/meter`.

import type { Check } from "./messages.js";

/** The exports of `crates/meter/src/page.rs`. */
export interface Meter {
  readonly memory: WebAssembly.Memory;
  allocate(length: number): number;
  check(memory: number): number;
  reason(): number;
}

const utf8 = new TextDecoder();

/** Makes an instance of the meter. Each check uses a new one, so that its memory is freed. */
export function instantiate({ meter }: Check): Meter {
  return new WebAssembly.Instance(meter).exports as unknown as Meter;
}

/** Returns why a module cannot be a guest; undefined if it can. */
export function refusal(exports: Meter, { wasm, memory }: Check): string | undefined {
  try {
    const at = exports.allocate(wasm.byteLength);
    new Uint8Array(exports.memory.buffer).set(new Uint8Array(wasm), at);
    const length = exports.check(memory);
    return length === 0 ? undefined : utf8.decode(new Uint8Array(exports.memory.buffer, exports.reason(), length));
  } catch {
    // The meter traps only when it gets no more memory.
    return `checking it takes more than ${exports.memory.buffer.byteLength} bytes of memory`;
  }
}
