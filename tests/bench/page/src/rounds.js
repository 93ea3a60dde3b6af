// Contenders, measured block by block in turn. Each block counts its replies and checks them; a wrong one fails the part.
import { block, engine, rounds, tell } from "./settings.js";

/** How long calls go on between two looks at the clock, in milliseconds. */
const STRETCH = 5;

/**
 * Measures contenders: an object of functions that run a block of so many milliseconds and give its value. Every second round
 * goes backwards: what drifts is as much with one as with the other.
 */
export async function compare(id, unit, contenders) {
  const names = Object.keys(contenders);
  // Code is compiled, caches fill; whoever replies wrongly throws.
  for (const name of names) await named(id, name, () => contenders[name](block));
  const results = [];
  for (let round = 0; round < rounds; round += 1) {
    const result = {};
    for (const name of round % 2 ? [...names].reverse() : names) result[name] = await named(id, name, () => contenders[name](block));
    results.push(result);
  }
  await report(id, unit, results);
}

/** Tells what was measured: of each round, an object of values. */
export function report(id, unit, results) {
  return tell("measure", { id, unit, engine, rounds: results });
}

async function named(id, name, work) {
  try {
    return await work();
  } catch (error) {
    throw new Error(`${id}, ${name}: ${error.code ?? error.name}: ${error.message}`, { cause: error });
  }
}

/** A body that says which call it belongs to. */
export class Body {
  #at = 0;

  constructor(size) {
    this.bytes = crypto.getRandomValues(new Uint8Array(Math.min(size, 65_536)));
    if (size > this.bytes.length) {
      const long = new Uint8Array(size);
      for (let at = 0; at < size; at += this.bytes.length) long.set(this.bytes.subarray(0, size - at), at);
      this.bytes = long;
    }
  }

  /** Marks the body for the next call; gives the mark. */
  mark() {
    this.#at = (this.#at + 1) % 65_536;
    this.bytes[0] = this.#at & 0xff;
    this.bytes[1] = this.#at >> 8;
    return this.#at;
  }

  /** Throws if a reply is not that of the call with this mark: by its length and its ends. */
  check(mark, reply) {
    const last = this.bytes.length - 1;
    const fits = reply.length === last + 1 && (reply[0] | (reply[1] << 8)) === mark && reply[last] === this.bytes[last];
    if (!fits) throw new Error(`call ${mark} of ${last + 1} bytes got a reply of ${reply?.length} bytes that is not its own`);
  }

  /** Throws if a reply differs anywhere. */
  checkWhole(mark, reply) {
    this.check(mark, reply);
    for (let at = 2; at < reply.length; at += 1) {
      if (reply[at] !== this.bytes[at]) throw new Error(`call ${mark} got a reply that differs at byte ${at}`);
    }
  }
}

/** A block of calls one at a time; gives microseconds a call. `call` takes bytes and promises their echo. */
export function oneAtATime(body, call) {
  return async (length) => {
    body.checkWhole(body.mark(), await call(body.bytes));
    const start = performance.now();
    let [calls, stretch, now] = [0, 1, start];
    while (now - start < length) {
      for (let left = stretch; left > 0; left -= 1) body.check(body.mark(), await call(body.bytes));
      [calls, stretch, now] = next(calls, stretch, now);
    }
    body.checkWhole(body.mark(), await call(body.bytes));
    return (1_000 * (now - start)) / calls;
  };
}

/** The same for a call that gives its reply at once. */
export function atOnce(body, call) {
  return async (length) => {
    body.checkWhole(body.mark(), call(body.bytes));
    const start = performance.now();
    let [calls, stretch, now] = [0, 1, start];
    while (now - start < length) {
      for (let left = stretch; left > 0; left -= 1) body.check(body.mark(), call(body.bytes));
      [calls, stretch, now] = next(calls, stretch, now);
    }
    body.checkWhole(body.mark(), call(body.bytes));
    return (1_000 * (now - start)) / calls;
  };
}

/** Counts a stretch, and makes the next about as long as `STRETCH`. */
function next(calls, stretch, before) {
  const now = performance.now();
  const took = Math.max(now - before, 0.1);
  return [calls + stretch, Math.max(1, Math.min(stretch * 2, Math.round((stretch * STRETCH) / took))), now];
}

/** A block of calls, so many in flight at a time; gives calls a second. */
export function inFlight(many, body, call) {
  return async (length) => {
    body.checkWhole(body.mark(), await call(body.bytes));
    const start = performance.now();
    const end = start + length;
    let calls = 0;
    const lane = async () => {
      while (performance.now() < end) {
        // What is sent is taken before the call returns, so one buffer is enough for all lanes.
        const mark = body.mark();
        body.check(mark, await call(body.bytes));
        calls += 1;
      }
    };
    await Promise.all(Array.from({ length: many }, lane));
    return (1_000 * calls) / (performance.now() - start);
  };
}
