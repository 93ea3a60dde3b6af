// A timer that detects whether the page itself was blocked.

/** A timer that fires later than this was delayed by the page itself: its lateness does not count against the storage. */
const BLOCKED_MS = 1_000;

/** The maximum number of extensions: in a hidden page every timer is late. */
const MAX_EXTENSIONS = 2;

/** Calls `late` after `patience` milliseconds. Returns a function that cancels this. */
export function within(patience: number, late: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const wait = (extensions: number) => {
    const due = performance.now() + patience;
    timer = setTimeout(() => (extensions > 0 && performance.now() - due > BLOCKED_MS ? wait(extensions - 1) : late()), patience);
  };
  wait(MAX_EXTENSIONS);
  return () => clearTimeout(timer);
}
