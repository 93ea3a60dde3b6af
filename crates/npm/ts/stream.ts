// Streams that the page reads.

import type { RawReader } from "./wasm/starlane_npm.js";
import { why } from "./check.js";
import { StarlaneError, fromRaw } from "./errors.js";

/** Streams that became unreachable before their end, as happens to an answer that nobody reads. */
const abandoned = new FinalizationRegistry<() => void>((end) => end());

/**
 * The parts of a stream as a stream of bytes. Each read takes one part, and nothing is read ahead, so a slow reader slows the writer.
 * Aborting `signal` makes reads fail with its reason. Cancelling and abandoning the stream stop the writer.
 */
export function readable(reader: RawReader, signal: AbortSignal | undefined): ReadableStream<Uint8Array> {
  const reading = new Reading(reader, signal);
  const stream = new ReadableStream(source(reading), { highWaterMark: 0 });
  abandoned.register(stream, () => reading.stop(undefined), reading);
  return iterable(stream);
}

/** The failure with which a reader stops the writer: its reason, if that is a StarlaneError, or else `cancelled`. */
export function stopping(reason: unknown): StarlaneError {
  if (reason instanceof StarlaneError) return reason;
  return new StarlaneError("cancelled", 499, `the reader went away${reason === undefined ? "" : `: ${why(reason)}`}`);
}

type Source = UnderlyingByteSource | UnderlyingDefaultSource<Uint8Array>;

/** A function of its own: what it captures must not hold the stream. */
function source(reading: Reading): UnderlyingDefaultSource<Uint8Array> {
  const given: Source = {
    type: "ReadableByteStreamController" in globalThis ? "bytes" : undefined,
    start: (controller: ReadableStreamController<Uint8Array>) => {
      reading.controller = new WeakRef(controller);
    },
    pull: (controller: ReadableStreamController<Uint8Array>) => reading.pull(controller),
    cancel: (reason: unknown) => reading.stop(stopping(reason)),
  } as Source;
  return given as UnderlyingDefaultSource<Uint8Array>;
}

/** A stream that is being read. It must not hold the `ReadableStream`, so that an abandoned one can be collected. */
class Reading {
  controller: WeakRef<ReadableStreamController<Uint8Array>> | undefined;
  /** Undefined when the stream has ended for this side. */
  #reader: RawReader | undefined;
  readonly #signal: AbortSignal | undefined;

  constructor(reader: RawReader, signal: AbortSignal | undefined) {
    this.#reader = reader;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
  }

  readonly #abort = (): void => {
    const { reason } = this.#signal as AbortSignal;
    this.controller?.deref()?.error(reason);
    this.stop(stopping(reason));
  };

  async pull(controller: ReadableStreamController<Uint8Array>): Promise<void> {
    const reader = this.#reader;
    if (!reader) return;
    let part: Uint8Array | undefined;
    try {
      part = await reader.next();
    } catch (failure) {
      this.stop(undefined);
      throw fromRaw(failure);
    }
    // It was stopped meanwhile.
    if (this.#reader !== reader) return;
    if (part) return controller.enqueue(part as Uint8Array<ArrayBuffer>);
    this.stop(undefined);
    controller.close();
    // A reader with a buffer of its own waits for this.
    (controller as Partial<ReadableByteStreamController>).byobRequest?.respond(0);
  }

  /** Ends the stream for this side. The writer is stopped if it has not ended, for the reason or with `cancelled`. */
  stop(reason: StarlaneError | undefined): void {
    const reader = this.#reader;
    if (!reader) return;
    this.#reader = undefined;
    abandoned.unregister(this);
    this.#signal?.removeEventListener("abort", this.#abort);
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
