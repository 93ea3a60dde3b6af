// The source of a stream that the page writes.

import type { RawFailure, RawSource } from "./wasm/starlane_npm.js";
import type { Parts } from "./body.js";
import { isWhole, shown } from "./check.js";
import { fromRaw, malformed } from "./errors.js";
import { bytesOf, encoder } from "./payload.js";
import type { Shared } from "./shared.js";

/** The maximum size of what is passed to the Wasm side at once, where it is copied. */
const MAX_PIECE_BYTES = 65_536;
/** The first half of a character that ends in the next text. */
const OPEN = /[\ud800-\udbff]$/;

/**
 * Feeds a stream from the parts of a body. The Wasm side asks for a piece when the stream has taken the one before, so a slow reader
 * slows the source.
 */
export class Feed implements RawSource {
  readonly ticket: number;
  readonly #shared: Shared;
  readonly #failed: (error: unknown) => void;
  /** Undefined when no more is read from it. */
  #parts: Parts | undefined;
  #rest = new Uint8Array();
  #half = "";
  #off: () => void;

  /** Aborting `signal` ends the stream and cancels the source. `failed` is called when the source fails. */
  constructor(shared: Shared, parts: Parts, signal: AbortSignal | undefined, failed: (error: unknown) => void) {
    this.ticket = shared.ticket();
    this.#shared = shared;
    this.#parts = parts;
    this.#failed = failed;
    const abort = () => this.cancel(signal?.reason);
    signal?.addEventListener("abort", abort);
    this.#off = () => signal?.removeEventListener("abort", abort);
  }

  async next(): Promise<Uint8Array | undefined> {
    try {
      while (this.#rest.length === 0) {
        const { done, value } = (await this.#parts?.next()) ?? { done: true };
        if (done) {
          if (this.#half) throw malformed("the body ends with a lone surrogate: send well-formed Unicode");
          return undefined;
        }
        this.#rest = this.#bytes(value);
      }
    } catch (error) {
      // It hears the failure through this rejection.
      this.#end()?.cancel(error);
      this.#failed(error);
      throw error;
    }
    const piece = this.#rest.subarray(0, MAX_PIECE_BYTES);
    this.#rest = this.#rest.subarray(piece.length);
    return piece;
  }

  ended(failure: RawFailure | undefined): void {
    const parts = this.#end();
    if (failure) parts?.cancel(fromRaw(failure));
  }

  /** Ends the stream with `cancelled`, and the source with a reason. */
  cancel(reason: unknown): void {
    const parts = this.#end();
    if (!parts) return;
    this.#shared.cancel(this.ticket);
    parts.cancel(reason);
  }

  /** Nothing more is read. Returns the parts the first time. */
  #end(): Parts | undefined {
    const parts = this.#parts;
    this.#parts = undefined;
    this.#off();
    return parts;
  }

  #bytes(part: unknown): Uint8Array<ArrayBuffer> {
    if (typeof part !== "string") {
      const bytes = this.#half ? undefined : bytesOf(part);
      if (bytes) return bytes as Uint8Array<ArrayBuffer>;
      throw malformed(this.#half ? "a text of the body ends with half a character" : `a part of the body is ${shown(part)}: send bytes or strings`);
    }
    const text = this.#half + part;
    this.#half = OPEN.exec(text)?.[0] ?? "";
    const whole = text.slice(0, text.length - this.#half.length);
    if (!isWhole(whole)) throw malformed("a text of the body has a lone surrogate: send well-formed Unicode");
    return encoder.encode(whole);
  }
}
