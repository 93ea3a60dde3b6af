// The result of `host.subscribe`: the events of a topic, one by one.

import type { RawFailure, RawItem, RawSubscription } from "./wasm/starlane_npm.js";
import { asyncDispose } from "./dispose.js";
import { fromRaw } from "./errors.js";
import { decode } from "./payload.js";
import type { Subscription, SubscriptionItem } from "./types.js";

const END: IteratorReturnResult<undefined> = { done: true, value: undefined };

/** The events of a topic. Buffered events are read from the Wasm side at once, later ones by a promise. */
export class TopicSubscription<T> implements Subscription<T> {
  #raw: RawSubscription | undefined;
  readonly #ended: () => void;
  readonly #signal: AbortSignal | undefined;
  /** The last read. Reads settle in order. */
  #last: Promise<unknown> = Promise.resolve();
  /** The number of pending reads. */
  #open = 0;
  /** The reason of an aborted signal, which the next read throws, once. */
  #reason: { thrown: unknown } | undefined;

  /** `ended` is called once, when the subscription ends. */
  constructor(raw: RawSubscription, signal: AbortSignal | undefined, ended: () => void) {
    this.#raw = raw;
    this.#signal = signal;
    this.#ended = ended;
    signal?.addEventListener("abort", this.#abort, { once: true });
  }

  readonly #abort = (): void => {
    this.#reason = { thrown: this.#signal?.reason };
    this.close();
  };

  next(): Promise<IteratorResult<SubscriptionItem<T>, undefined>> {
    if (this.#open === 0) {
      // Without a chain of promises, a loop over many buffered events is faster.
      const item = this.#raw?.take();
      if (item !== undefined || !this.#raw) return this.#answer(item);
    }
    this.#open += 1;
    const read = this.#last.then(() => this.#read());
    this.#last = read.catch(() => {});
    return read;
  }

  async #read(): Promise<IteratorResult<SubscriptionItem<T>, undefined>> {
    try {
      const raw = this.#raw;
      return await this.#answer(raw && (raw.take() ?? (await raw.next())));
    } finally {
      this.#open -= 1;
    }
  }

  async #answer(
    item: RawItem | RawFailure | null | undefined,
  ): Promise<IteratorResult<SubscriptionItem<T>, undefined>> {
    if (this.#reason) {
      const { thrown } = this.#reason;
      this.#reason = undefined;
      throw thrown;
    }
    if (item && "code" in item) {
      this.close();
      throw fromRaw(item);
    }
    try {
      if (item && this.#raw) return { done: false, value: decoded<T>(item) };
    } catch (error) {
      // A loop does not close an iterator whose `next` throws.
      this.close();
      throw error;
    }
    this.close();
    return END;
  }

  /** Unsubscribes. Pending reads get the end. */
  close(): void {
    const raw = this.#raw;
    if (!raw) return;
    this.#raw = undefined;
    this.#signal?.removeEventListener("abort", this.#abort);
    raw.close();
    raw.free();
    this.#ended();
  }

  async return(): Promise<IteratorReturnResult<undefined>> {
    this.close();
    return END;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [asyncDispose](): Promise<void> {
    this.close();
  }
}

function decoded<T>(item: RawItem): SubscriptionItem<T> {
  const { from, payload } = item;
  return (payload ? { from, payload: decode(payload) } : item) as SubscriptionItem<T>;
}
