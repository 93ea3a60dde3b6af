// The result of `host.serve`, and the delivery of messages to the handlers of a page.

import type { RawIncoming, RawPayload, RawServed } from "./wasm/starlane_npm.js";
import { must, operation as operationName, reading, text, why } from "./check.js";
import { asyncDispose } from "./dispose.js";
import { StarlaneError, translated } from "./errors.js";
import type { IncomingMessage } from "./incoming.js";
import { loadStreams } from "./load.js";
import { log } from "./log.js";
import { decode, encode, kindOf } from "./payload.js";
import type { Shared } from "./shared.js";
import { closed } from "./signals.js";
import type { Handler, Handlers, Served, StreamHandler } from "./types.js";

/** A page's handler of one operation, with one of the two functions. */
interface Handle {
  whole: Handler | undefined;
  stream: StreamHandler["handle"] | undefined;
}

/** Reads each handler once, by the name of its operation. Throws `malformed` for what is not a handler. */
export function operationsOf(handlers: Handlers): Map<string, Handle> {
  const isObject = handlers !== null && typeof handlers === "object";
  const entries = isObject ? reading("`handlers`", () => (Array.isArray(handlers) ? [] : Object.entries(handlers))) : [];
  if (entries.length === 0) {
    throw must("handlers", "an object with a function for each operation: { confirm: async (body) => … }", handlers);
  }
  return new Map(entries.map(([name, handler]) => [operationName("handlers", name), handle(name, handler)]));
}

function handle(name: string, handler: Handler | StreamHandler): Handle {
  if (typeof handler === "function") return { whole: handler, stream: undefined };
  const { stream, handle } = reading(`\`handlers.${name}\``, () => ({ ...handler }) as Partial<StreamHandler>);
  if (stream === true && typeof handle === "function") return { whole: undefined, stream: handle };
  throw must(`handlers.${name}`, "a function, or { stream: true, handle: a function }", handler);
}

/** The function that the Wasm side calls for each message. */
export function answering(shared: Shared, address: string, operations: Map<string, Handle>): (message: RawIncoming) => Promise<RawPayload> {
  return async (message) => {
    const { operation, signal } = message;
    const handler = operations.get(operation);
    if (!handler) throw new StarlaneError("no-operation", 404, `${address} has no operation \`${operation}\``, address);
    const report = (what: string, error: unknown) => {
      // The page's developer needs the stack.
      if (!signal.aborted) log("error", `${what} of ${address} ${operation} failed: ${stack(error)}`);
    };
    const failure = (error: unknown, code: string) => {
      report("the handler", error);
      return new StarlaneError(code, 500, `the handler of \`${operation}\` failed: ${why(error)}`, address);
    };
    const encoded = async (reply: unknown) => {
      if (kindOf(reply) !== "Response") return encode(reply);
      const { payloadOf } = await loadStreams();
      return payloadOf(reply as Response, shared, signal, (error) => report("the body of the Response", error));
    };
    const { handle, request } = await prepared(handler, message, address);
    try {
      const reply = await handle().catch((error: unknown) => {
        // A handler answers with a failure by throwing one.
        throw error instanceof StarlaneError ? error : failure(error, "internal");
      });
      const payload = await encoded(reply).catch((error: unknown) => {
        throw error instanceof StarlaneError && error.code !== "malformed" ? error : failure(error, "malformed");
      });
      request?.replied();
      return payload;
    } catch (error) {
      request?.failed(error);
      throw error;
    }
  };
}

/** Reads a message for its handler, and refuses a stream that the handler does not take. */
async function prepared({ whole, stream }: Handle, message: RawIncoming, address: string): Promise<{ handle: () => Promise<unknown>; request?: IncomingMessage }> {
  const { operation, payload, from, caller, signal } = message;
  const context = { from, caller, signal };
  if (stream) {
    const { IncomingMessage } = await loadStreams();
    const request = new IncomingMessage(operation, payload, address);
    return { handle: async () => stream(request, context), request };
  }
  if (payload.stream) {
    const text = `\`${operation}\` takes whole bodies. To take streams, serve it as { stream: true, handle: async (request) => … }`;
    const refusal = new StarlaneError("no-streams", 415, text, address);
    payload.stream.stop(refusal);
    payload.stream.free();
    throw refusal;
  }
  const body = decode(payload);
  return { handle: async () => whole?.(body, context) };
}

/** The stack of an error, with its message, which some browsers leave out. */
function stack(error: unknown): string {
  const [message, stack] = [why(error), (error instanceof Error && error.stack) || ""];
  return stack.includes(message) ? stack : `${message}\n${stack}`;
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
