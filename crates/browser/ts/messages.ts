// The messages between the page and a worker that runs guests. The page's side is Rust: `src/sandbox/worker.rs`.
//
// Numbers in buffers are little-endian; calls and reports are those of `starlane_host::batch`. In both directions, one buffer
// carries everything that waits. It is transferred, not copied.

/** The limits of a guest. */
export interface GuestLimits {
  /** The maximum memory, in bytes. */
  readonly memory: number;
  /** The maximum number of unfinished messages. */
  readonly concurrency: number;
}

/** The contract of a guest's messages. */
export interface ContractSource {
  /** `{ requests, responses, events }` as JSON: schemas in normal form, by the names of operations and events. */
  readonly text: string;
  /** The URL of `contract.js`. */
  readonly checker: string;
  /** The maximum size of a body that is checked in this thread, in bytes. */
  readonly most: number;
}

/** Starts an instance. */
export interface Start {
  readonly instance: number;
  /** A checked module. */
  readonly module: WebAssembly.Module;
  readonly limits: GuestLimits;
  readonly contract: ContractSource | undefined;
}

/** Checks a module. */
export interface Check {
  /** The checker: the Wasm of `crates/meter`. */
  readonly meter: WebAssembly.Module;
  readonly wasm: ArrayBuffer;
  /** The maximum memory of its guests, in bytes. */
  readonly memory: number;
}

/** A worker's answer to `Check`: the module to compile, or the reason for the refusal. The message `begun` precedes it. */
export type Checked = { readonly wasm: ArrayBuffer } | { readonly refused: string };

/** Messages from the page to a worker, which handles them in order. */
export type ToWorker =
  /** Only for a worker without guests. */
  | { readonly check: Check }
  | { readonly start: Start }
  /** Drops the instance. */
  | { readonly stop: number }
  /** Runs calls: `(instance:u64 length:u32 calls)*`. */
  | ArrayBuffer;

/** Messages from a worker to the page. */
export type FromWorker =
  /** The instance's own code runs from now on. */
  | { readonly begun: number }
  | { readonly started: number }
  | { readonly failed: number; readonly reason: string }
  /** The worker now checks this many bytes of bodies. */
  | { readonly checking: number }
  /** `used:u32 (instance:u64 length:u32 report)*`. */
  | ArrayBuffer;
