// The messages between the page and a worker that runs guests. The page's side is Rust: `src/sandbox/worker.rs`.
//
// Numbers in buffers are little-endian; calls and reports are those of `starlane_host::batch`. One buffer carries as much as
// waits, in both directions, and is transferred, not copied.

/** What a guest may use at most. */
export interface Limits {
  /** Of memory, in bytes. */
  readonly memory: number;
  /** Messages that it has not finished. */
  readonly concurrency: number;
}

/** What the bodies of a guest's messages must fit. */
export interface ContractSource {
  /** `{ requests, responses, events }` as JSON: schemas in normal form, by the names of operations and events. */
  readonly text: string;
  /** The URL of `contract.js`. */
  readonly checker: string;
  /** The longest body that is checked in this thread, in bytes. */
  readonly most: number;
}

/** An instance to be made. */
export interface Start {
  readonly instance: number;
  /** One that was checked. */
  readonly module: WebAssembly.Module;
  readonly limits: Limits;
  readonly contract: ContractSource | undefined;
}

/** A module to be checked. */
export interface Check {
  /** What checks it: the Wasm of `crates/meter`. */
  readonly meter: WebAssembly.Module;
  readonly wasm: ArrayBuffer;
  /** How much memory its guests may use, in bytes. */
  readonly memory: number;
}

/** What a worker answers when it has checked a module: what is to be compiled, or why it is refused. Before that it says `begun`. */
export type Checked = { readonly wasm: ArrayBuffer } | { readonly refused: string };

/** What the page tells a worker, which does it in order. */
export type ToWorker =
  /** Checks a module. The worker has no guests. */
  | { readonly check: Check }
  | { readonly start: Start }
  /** Drops the instance. */
  | { readonly stop: number }
  /** Runs calls: `(instance:u64 length:u32 calls)*`. */
  | ArrayBuffer;

/** What a worker tells the page. */
export type FromWorker =
  /** The instance's own code runs from here on. */
  | { readonly begun: number }
  | { readonly started: number }
  | { readonly failed: number; readonly reason: string }
  /** So many bytes of bodies are checked now. */
  | { readonly checking: number }
  /** `used:u32 (instance:u64 length:u32 report)*`. */
  | ArrayBuffer;
