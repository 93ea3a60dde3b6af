// AbortSignals, timeouts and the end of a host.

import { must } from "./check.js";
import { StarlaneError } from "./errors.js";

/** The maximum delay of `setTimeout`: with a longer one it does not wait at all. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Rejects with the signal's reason if the signal is aborted before the promise settles. */
export function abortable<T>(signal: AbortSignal | undefined, promise: Promise<T>, onAbort?: () => void): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => {
      onAbort?.();
      reject(signal.reason);
    };
    if (signal.aborted) {
      // Nobody handles the promise's own failure any more.
      promise.catch(() => {});
      abort();
      return;
    }
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/** Checks a timeout. Returns milliseconds for the host; 0 is its default. */
export function milliseconds(timeout: number | undefined): number {
  if (timeout === undefined) return 0;
  if (typeof timeout === "number" && timeout > 0 && timeout < 2 ** 32) return Math.max(1, Math.round(timeout));
  throw must("timeout", "milliseconds, more than 0 and less than 2^32", timeout);
}

/** Calls back after any number of milliseconds. Returns a function that stops the timer. The package's only use of `setTimeout`. */
export function after(milliseconds: number, call: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const wait = (left: number) => {
    timer = setTimeout(() => (left > MAX_TIMER_MS ? wait(left - MAX_TIMER_MS) : call()), Math.min(left, MAX_TIMER_MS));
  };
  wait(milliseconds);
  return () => clearTimeout(timer);
}

/** The failure of any call on a closed host. */
export function closed(): StarlaneError {
  return new StarlaneError("not-running", 503, "this host is closed: open another with Host.open");
}
