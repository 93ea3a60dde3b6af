// AbortSignals, timeouts and the end of a host, as promises take them.

import { must } from "./check.js";
import { StarlaneError } from "./errors.js";

/** The longest that `setTimeout` waits, in milliseconds: with more it does not wait at all. */
const LONGEST = 2 ** 31 - 1;

/** A promise that also ends, with the signal's reason, when the signal is aborted. */
export function abortable<T>(signal: AbortSignal | undefined, promise: Promise<T>, onAbort?: () => void): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => {
      onAbort?.();
      reject(signal.reason);
    };
    if (signal.aborted) {
      // Its own failure is nobody's any more.
      promise.catch(() => {});
      abort();
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Milliseconds as the host takes them: 0 is its default. */
export function milliseconds(timeout: number | undefined): number {
  if (timeout === undefined) return 0;
  if (typeof timeout === "number" && timeout > 0 && timeout < 2 ** 32) return Math.max(1, Math.round(timeout));
  throw must("timeout", "milliseconds, more than 0 and less than 2^32", timeout);
}

/** Calls back after so many milliseconds, however many: the one timer of this package. Gives the function that ends it. */
export function after(milliseconds: number, call: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const wait = (left: number) => {
    timer = setTimeout(() => (left > LONGEST ? wait(left - LONGEST) : call()), Math.min(left, LONGEST));
  };
  wait(milliseconds);
  return () => clearTimeout(timer);
}

/** The failure of everything on a host that was closed. */
export function closed(): StarlaneError {
  return new StarlaneError("not-running", 503, "this host was closed: open another with Host.open");
}
