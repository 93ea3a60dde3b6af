// A timer that knows whether the page itself was held up.

/** A timer that comes later by this, in milliseconds, says that the page was held up, and nothing of the storage. */
const HELD_UP = 1_000;

/** How often a page may say so: the timers of a hidden one are all late, for ever. */
const EXCUSES = 2;

/** Calls `late` after so many milliseconds, unless what this returns was called before. */
export function within(patience: number, late: () => void): () => void {
  let timer: ReturnType<typeof setTimeout>;
  const wait = (excuses: number) => {
    const due = performance.now() + patience;
    timer = setTimeout(() => (excuses > 0 && performance.now() - due > HELD_UP ? wait(excuses - 1) : late()), patience);
  };
  wait(EXCUSES);
  return () => clearTimeout(timer);
}
