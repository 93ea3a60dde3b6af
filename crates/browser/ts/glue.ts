// What runs guests in the page's own thread. A file of its own, loaded with the first of them.

import { Buffers } from "./buffers.js";
import { createInstance } from "./instance.js";
import type { ContractSource, Limits } from "./messages.js";
import { run } from "./run.js";

/** An instance in the page's own thread. */
export interface InlineGuest {
  /** Runs calls of `starlane_host::batch`; gives the report, which is valid until the next run of the same glue. */
  run(calls: Uint8Array): Uint8Array;
}

/** Makes instances that share their buffers. */
export class Glue {
  readonly #buffers = new Buffers();

  /** Makes an instance of a module that was checked. Rejects with the reason, for people. */
  async create(module: WebAssembly.Module, limits: Limits, contract: ContractSource | undefined): Promise<InlineGuest> {
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
