// Runs guests in the page's own thread. A separate file, which the first of these guests loads.

import { Buffers } from "./buffers.js";
import { createInstance } from "./instance.js";
import type { ContractSource, GuestLimits } from "./messages.js";
import { run } from "./run.js";

/** An instance in the page's own thread. */
export interface InlineGuest {
  /** Runs calls of `starlane_host::batch`. Returns the report, which is valid until the next run of the same glue. */
  run(calls: Uint8Array): Uint8Array;
}

/** Makes instances that share their buffers. */
export class Glue {
  readonly #buffers = new Buffers();

  /** Makes an instance of a checked module. Rejects with the reason, for people. */
  async create(module: WebAssembly.Module, limits: GuestLimits, contract: ContractSource | undefined): Promise<InlineGuest> {
    const guest = await createInstance(this.#buffers, { module, limits, contract }, {});
    return {
      run: (calls) => {
        const { output } = this.#buffers;
        output.length = 0;
        run(guest, calls);
        return output.bytes.subarray(0, output.length);
      },
    };
  }
}
