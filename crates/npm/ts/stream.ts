// Streams that the page reads.

import type { RawReader } from "./wasm/starlane_npm.js";
import { why } from "./check.js";
import { StarlaneError, fromRaw } from "./errors.js";

type Controller = ReadableByteStreamController;

/** The streams that nobody can read any more before their end, as happens to an answer that nobody keeps. */
const abandoned = /* @__PURE__ */ new FinalizationRegistry<Writer>((writer) => writer.stop(undefined));

/**
 * The parts of a stream as a stream of bytes. Each read takes one part, and nothing is read ahead, so a slow reader slows the writer.
 * Aborting `signal` makes reads fail with its reason. Cancelling and abandoning the stream stop the writer.
 */
export function readable(reader: RawReader, signal: AbortSignal | undefined): ReadableStream<Uint8Array> {
  return iterable(new ReadableStream(new Source(reader, signal) as UnderlyingByteSource, { highWaterMark: 0 }));
}

/** A `Response` with a stream of {@link readable} as its body. */
export function streamed(stream: ReadableStream<Uint8Array>, init: ResponseInit): Response {
  const response = new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>, init);
  // What was added to the stream is lost when the browser makes a new object for it.
  return Object.hasOwn(stream, Symbol.asyncIterator) ? Object.defineProperty(response, "body", { value: stream }) : response;
}

/** The failure with which a reader stops the writer: its reason, if that is a StarlaneError, or else `cancelled`. */
export function stopping(reason: unknown): StarlaneError {
  if (reason instanceof StarlaneError) return reason;
  return new StarlaneError("cancelled", 499, `the reader went away${reason === undefined ? "" : `: ${why(reason)}`}`);
}

/** The source of a `ReadableStream`. Only that holds it: browsers may recreate the objects of the stream itself. */
class Source {
  readonly type = "ReadableByteStreamController" in globalThis ? "bytes" : undefined;
  readonly #writer: Writer;
  #controller: Controller | undefined;

  constructor(reader: RawReader, signal: AbortSignal | undefined) {
    this.#writer = new Writer(reader, signal, new WeakRef(this));
    abandoned.register(this, this.#writer, this.#writer);
  }

  start(controller: Controller): void {
    this.#controller = controller;
  }

  async pull(controller: Controller): Promise<void> {
    const part = await this.#writer.next();
    // It was stopped meanwhile.
    if (part === null) return;
    if (part) return controller.enqueue(part as Uint8Array<ArrayBuffer>);
    controller.close();
    // A reader with a buffer of its own waits for this.
    controller.byobRequest?.respond(0);
  }

  cancel(reason: unknown): void {
    this.#writer.stop(stopping(reason));
  }

  error(reason: unknown): void {
    this.#controller?.error(reason);
  }
}

/** The other end of a stream. It does not hold the `Source`, so that an abandoned one can be collected. */
class Writer {
  /** Undefined when the stream has ended for this side. */
  #reader: RawReader | undefined;
  readonly #off: () => void;

  constructor(reader: RawReader, signal: AbortSignal | undefined, source: WeakRef<Source>) {
    this.#reader = reader;
    const abort = () => {
      source.deref()?.error(signal?.reason);
      this.stop(stopping(signal?.reason));
    };
    signal?.addEventListener("abort", abort);
    this.#off = () => signal?.removeEventListener("abort", abort);
  }

  /** The next part; undefined at the end, and null if this side has stopped the stream. */
  async next(): Promise<Uint8Array | undefined | null> {
    const reader = this.#reader;
    if (!reader) return null;
    try {
      const part = await reader.next();
      if (this.#reader !== reader) return null;
      if (!part) this.stop(undefined);
      return part;
    } catch (failure) {
      this.stop(undefined);
      throw fromRaw(failure);
    }
  }

  /** Ends the stream for this side. A writer that has not ended is stopped, for the reason or with `cancelled`. */
  stop(reason: StarlaneError | undefined): void {
    const reader = this.#reader;
    if (!reader) return;
    this.#reader = undefined;
    abandoned.unregister(this);
    this.#off();
    if (reason) reader.stop(reason);
    reader.free();
  }
}

/** Adds `for await` where the browser's streams do not have it. */
function iterable(stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  if (Symbol.asyncIterator in ReadableStream.prototype) return stream;
  const value = async function* () {
    const reader = stream.getReader();
    try {
      for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
    } finally {
      await reader.cancel();
    }
  };
  return Object.defineProperty(stream, Symbol.asyncIterator, { value });
}
