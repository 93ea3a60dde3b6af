// What `host.serve` gives, and how messages reach the handlers of a page.

import type { RawIncoming, RawPayload, RawServed } from "./wasm/starlane_npm.js";
import { asyncDispose } from "./dispose.js";
import { StarlaneError, malformed, translated } from "./errors.js";
import { decode, encode } from "./payload.js";
import { log } from "./shared.js";
import { closed } from "./signals.js";
import type { Handlers, Served } from "./types.js";

/** The names of the operations; throws `malformed` if one is no function. */
export function operationsOf(handlers: Handlers): string[] {
  const entries = handlers !== null && typeof handlers === "object" ? Object.entries(handlers) : [];
  if (entries.length === 0 || entries.some(([, handler]) => typeof handler !== "function")) {
    throw malformed("host.serve takes an object of functions, one an operation: { confirm: async (body) => … }");
  }
  return entries.map(([name]) => name);
}

/** The function that the Wasm side calls for each message. */
export function answering(address: string, handlers: Handlers): (message: RawIncoming) => Promise<RawPayload> {
  const byName = new Map(Object.entries(handlers));
  return async ({ operation, payload, from, caller, signal }) => {
    const handler = byName.get(operation);
    if (!handler) throw new StarlaneError("no-operation", 404, `${address} has no operation \`${operation}\``, address);
    const body = decode(payload);
    try {
      return encode(await handler(body, { from, caller, signal }));
    } catch (error) {
      // An error of ours is an answer; any other is a fault of the page, which its developer wants to see whole.
      if (error instanceof StarlaneError) throw error;
      if (!signal.aborted) log("error", `the handler of ${address} ${operation} failed: ${stack(error)}`);
      const why = error instanceof Error ? error.message : String(error);
      throw new StarlaneError("internal", 500, `the handler of \`${operation}\` failed: ${why}`, address);
    }
  };
}

function stack(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** An address that the page serves. */
export class ServedAddress implements Served {
  readonly address: string;
  readonly #released: () => void;
  #raw: RawServed | undefined;

  /** `released` is called once, when it is over. */
  constructor(address: string, raw: RawServed, released: () => void) {
    this.address = address;
    this.#raw = raw;
    this.#released = released;
  }

  emit(event: string, body?: unknown): void {
    const raw = this.#raw;
    if (!raw) throw closed();
    translated(() => raw.emit(event, encode(body)));
  }

  release(): void {
    const raw = this.#raw;
    if (!raw) return;
    this.#raw = undefined;
    raw.free();
    this.#released();
  }

  async close(): Promise<void> {
    this.release();
  }

  async [asyncDispose](): Promise<void> {
    this.release();
  }
}
