// Checks modules in a worker, by the Wasm of `crates/meter`.

import type { Check } from "./messages.js";

/** What `crates/meter/src/page.rs` exports. */
export interface Meter {
  readonly memory: WebAssembly.Memory;
  allocate(length: number): number;
  check(memory: number): number;
  reason(): number;
}

const utf8 = new TextDecoder();

/** Makes an instance of the meter. Each module is checked by one of its own, so its memory is freed. */
export function instantiate({ meter }: Check): Meter {
  return new WebAssembly.Instance(meter).exports as unknown as Meter;
}

/** Says why a module can't be a guest; nothing if it can. */
export function refusal(exports: Meter, { wasm, memory }: Check): string | undefined {
  try {
    const at = exports.allocate(wasm.byteLength);
    new Uint8Array(exports.memory.buffer).set(new Uint8Array(wasm), at);
    const length = exports.check(memory);
    return length === 0 ? undefined : utf8.decode(new Uint8Array(exports.memory.buffer, exports.reason(), length));
  } catch {
    // The meter ends itself only when it gets no more memory.
    return `checking it takes more than ${exports.memory.buffer.byteLength} bytes of memory`;
  }
}
