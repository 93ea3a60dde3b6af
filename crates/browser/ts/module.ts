// Modules in the page's own thread: has them checked in a worker, and compiles them. For inline guests it makes instances by the
// glue, which the first of them loads. `src/sandbox/glue.rs` calls this file.

import type { Glue, InlineGuest } from "./glue.js";
import type { Checked, ContractSource, GuestLimits, ToWorker } from "./messages.js";
import { within } from "./patience.js";

/** The time limit for loading the meter and a worker's script. */
const LOAD_TIMEOUT_MS = 30_000;
/** The time limit for checking a module. */
const CHECK_TIMEOUT_MS = 20_000;

/** The modules of a sandbox. */
export class Modules {
  #spawn: () => Worker;
  readonly #meter: () => Promise<WebAssembly.Module>;
  /** The last requested check: one runs at a time. */
  #last: Promise<unknown> = Promise.resolve();
  /** Fails the running check, if any. */
  #fail: (reason: string) => void = () => {};
  /** The worker that is checking a module. */
  #checking: Worker | undefined;
  /** A worker without work. */
  #idle: Worker | undefined;

  /** `spawn` makes a worker; `meter` loads the checker of modules. */
  constructor(spawn: () => Worker, meter: () => Promise<WebAssembly.Module>) {
    this.#spawn = spawn;
    this.#meter = meter;
  }

  /** Begins to load the checker of modules. `compile` reports why that failed. */
  prepare(): void {
    this.#meter().catch(() => {});
    if (this.#checking) return;
    try {
      const worker = (this.#idle = this.worker());
      worker.onerror = () => this.#idle === worker && (this.#idle = undefined);
    } catch {}
  }

  /** Checks and compiles a module, for guests with a maximum of `memory` bytes. Resolves with a string, the reason, if it is refused. */
  async compile({ buffer }: Uint8Array<ArrayBuffer>, memory: number): Promise<WebAssembly.Module | string> {
    const check = this.#last.then(() => this.#check(buffer, memory));
    this.#last = check.catch(() => {});
    const checked = await check;
    if ("refused" in checked) return checked.refused;
    return WebAssembly.compile(checked.wasm).catch(({ message }: Error) => message);
  }

  /** Hands a worker without work to the caller. */
  worker(): Worker {
    const worker = this.#idle ?? this.#spawn();
    if (!(worker instanceof Worker)) throw new Error("the function that makes workers must return a Worker");
    this.#idle = undefined;
    return worker;
  }

  /** Terminates its workers, fails the running check, and starts no more workers. */
  end(): void {
    const reason = "the host was closed";
    this.#spawn = () => {
      throw new Error(reason);
    };
    this.#fail(reason);
    this.#idle?.terminate();
    this.#idle = undefined;
  }

  #check(wasm: ArrayBuffer, memory: number): Promise<Checked> {
    let stop: (() => void) | undefined;
    const checked = new Promise<Checked>((resolve, reject) => {
      const fail = (this.#fail = (reason: string) => reject(new Error(reason)));
      stop = within(LOAD_TIMEOUT_MS, () => fail(`the checker of modules did not load within ${LOAD_TIMEOUT_MS} ms`));
      const begin = (meter: WebAssembly.Module) => {
        // The time limit has passed.
        if (!stop) return;
        const worker = (this.#checking = this.worker());
        worker.onerror = ({ message }) => fail(`the worker failed: ${message || "its script could not be loaded or run"}`);
        worker.onmessage = ({ data }: MessageEvent<Checked | "begun">) => {
          stop?.();
          if (data === "begun") {
            stop = within(CHECK_TIMEOUT_MS, () => resolve({ refused: `checking it takes more than ${CHECK_TIMEOUT_MS} ms` }));
          } else {
            [this.#checking, this.#idle] = [undefined, worker];
            resolve(data);
          }
        };
        worker.postMessage({ check: { meter, wasm, memory } } satisfies ToWorker, [wasm]);
      };
      this.#meter().then(begin).catch(reject);
    });
    return checked.finally(() => {
      stop?.();
      // Without an answer, the worker may still be busy.
      this.#checking?.terminate();
      stop = this.#checking = undefined;
    });
  }
}

/** The guests of a sandbox that run in this thread. */
export class InlineGuests {
  #glue: Glue | undefined;

  /** Makes an instance of a module that `Modules` has compiled. `url` is the URL of the glue. */
  async create(url: string, module: WebAssembly.Module, limits: GuestLimits, contract: ContractSource | undefined): Promise<InlineGuest> {
    const { Glue } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ url)) as typeof import("./glue.js");
    return (this.#glue ??= new Glue()).create(module, limits, contract);
  }
}
