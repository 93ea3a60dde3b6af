// What the page's own thread does with modules: it has them checked in a worker and compiles them, and for guests that run in this
// thread it makes instances by the glue, which is loaded with the first of them. `src/sandbox/glue.rs` calls it.

import type { Glue, InlineGuest } from "./glue.js";
import type { Checked, ContractSource, Limits, ToWorker } from "./messages.js";
import { within } from "./patience.js";

/** How long what checks modules may take to load, in milliseconds: the meter, and a worker's script. */
const LOADING = 30_000;
/** How long checking a module may take, in milliseconds. */
const CHECKING = 20_000;

/** The modules of a sandbox. */
export class Modules {
  #spawn: () => Worker;
  readonly #meter: () => Promise<WebAssembly.Module>;
  /** The check that was asked for last: one runs at a time. */
  #last: Promise<unknown> = Promise.resolve();
  /** Fails the check that runs, if one does. */
  #fail: (reason: string) => void = () => {};
  /** The worker that checks a module now. */
  #checking: Worker | undefined;
  /** A worker that does nothing yet, or nothing any more. */
  #idle: Worker | undefined;

  /** `spawn` makes a worker; `meter` loads what checks modules. */
  constructor(spawn: () => Worker, meter: () => Promise<WebAssembly.Module>) {
    this.#spawn = spawn;
    this.#meter = meter;
  }

  /** Begins to load what checks modules. Whoever needs it asks again, and learns why it can't be loaded. */
  prepare(): void {
    this.#meter().catch(() => {});
    if (this.#checking) return;
    try {
      const worker = (this.#idle = this.worker());
      worker.onerror = () => this.#idle === worker && (this.#idle = undefined);
    } catch {}
  }

  /** Checks and compiles a module, as a guest with so many bytes of memory. Gives the reason if it is refused, as a string. */
  async compile({ buffer }: Uint8Array<ArrayBuffer>, memory: number): Promise<WebAssembly.Module | string> {
    const check = this.#last.then(() => this.#check(buffer, memory));
    this.#last = check.catch(() => {});
    const checked = await check;
    if ("refused" in checked) return checked.refused;
    return WebAssembly.compile(checked.wasm).catch(({ message }: Error) => message);
  }

  /** A worker that does nothing, for the caller alone. */
  worker(): Worker {
    const worker = this.#idle ?? this.#spawn();
    if (!(worker instanceof Worker)) throw new Error("the function that makes workers returned something else");
    this.#idle = undefined;
    return worker;
  }

  /** Ends its workers, and what is checked fails; it makes no others. */
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
      stop = within(LOADING, () => fail(`what checks modules did not load within ${LOADING} ms`));
      const begin = (meter: WebAssembly.Module) => {
        // It came too late.
        if (!stop) return;
        const worker = (this.#checking = this.worker());
        worker.onerror = ({ message }) => fail(`the worker failed: ${message || "its script could not be loaded or run"}`);
        worker.onmessage = ({ data }: MessageEvent<Checked | "begun">) => {
          stop?.();
          if (data === "begun") {
            stop = within(CHECKING, () => resolve({ refused: `checking it takes more than ${CHECKING} ms` }));
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
      // What has not answered never will in time.
      this.#checking?.terminate();
      stop = this.#checking = undefined;
    });
  }
}

/** The guests of a sandbox that run in this thread. */
export class InlineGuests {
  #glue: Glue | undefined;

  /** Makes an instance of a module that `Modules` has compiled. `url` is where the glue is. */
  async create(url: string, module: WebAssembly.Module, limits: Limits, contract: ContractSource | undefined): Promise<InlineGuest> {
    const { Glue } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ url)) as typeof import("./glue.js");
    return (this.#glue ??= new Glue()).create(module, limits, contract);
  }
}
