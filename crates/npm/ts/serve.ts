// The result of `host.serve`, and the delivery of messages to the handlers of a page.

import type { RawIncoming, RawPayload, RawServed } from "./wasm/starlane_npm.js";
import { must, operation as operationName, reading, text, why } from "./check.js";
import { asyncDispose } from "./dispose.js";
import { StarlaneError, translated } from "./errors.js";
import { decode, encode } from "./payload.js";
import { log } from "./log.js";
import { closed } from "./signals.js";
import type { Handlers, Served } from "./types.js";

/** A page's handler of one operation. */
type Handle = Handlers[string];

/** Reads each handler once, by the name of its operation. Throws `malformed` if one is not a function. */
export function operationsOf(handlers: Handlers): Map<string, Handle> {
  const isObject = handlers !== null && typeof handlers === "object";
  const entries = isObject ? reading("`handlers`", () => (Array.isArray(handlers) ? [] : Object.entries(handlers))) : [];
  if (entries.length === 0) {
    throw must("handlers", "an object with a function for each operation: { confirm: async (body) => … }", handlers);
  }
  for (const [name, handler] of entries) {
    operationName("handlers", name);
    if (typeof handler !== "function") throw must(`handlers.${name}`, "a function", handler);
  }
  return new Map(entries);
}

/** The function that the Wasm side calls for each message. */
export function answering(address: string, operations: Map<string, Handle>): (message: RawIncoming) => Promise<RawPayload> {
  return async ({ operation, payload, from, caller, signal }) => {
    const handler = operations.get(operation);
    if (!handler) throw new StarlaneError("no-operation", 404, `${address} has no operation \`${operation}\``, address);
    const body = decode(payload);
    const failed = (error: unknown, code: string) => {
      // The page's developer needs the stack.
      if (!signal.aborted) log("error", `the handler of ${address} ${operation} failed: ${stack(error)}`);
      throw new StarlaneError(code, 500, `the handler of \`${operation}\` failed: ${why(error)}`, address);
    };
    let reply: unknown;
    try {
      reply = await handler(body, { from, caller, signal });
    } catch (error) {
      // A handler answers with a failure by throwing one.
      if (error instanceof StarlaneError) throw error;
      return failed(error, "internal");
    }
    try {
      return encode(reply);
    } catch (error) {
      return failed(error, "malformed");
    }
  };
}

function stack(error: unknown): string {
  return (error instanceof Error && error.stack) || why(error);
}

/** An address that the page serves. */
export class ServedAddress implements Served {
  readonly address: string;
  readonly #released: () => void;
  #raw: RawServed | undefined;

  /** `released` is called once, when the address is released. */
  constructor(address: string, raw: RawServed, released: () => void) {
    this.address = address;
    this.#raw = raw;
    this.#released = released;
  }

  emit(event: string, body?: unknown): void {
    const raw = this.#raw;
    if (!raw) throw closed();
    text("event", event);
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
