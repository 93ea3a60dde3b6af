// Measures contenders block by block, in turn. Each block counts and checks its replies; a wrong one fails the part.
import { block, engine, rounds, tell } from "./settings.js";

/** The time between two reads of the clock. */
const STRETCH_MS = 5;

/**
 * Measures contenders: an object of functions that run a block of this many milliseconds and resolve to its value. Every second
 * round goes backwards, so that a drift affects all contenders equally.
 */
export async function compare(id, unit, contenders) {
  const names = Object.keys(contenders);
  // Warms up: code is compiled, caches fill. A wrong reply throws.
  for (const name of names) await named(id, name, () => contenders[name](block));
  const results = [];
  for (let round = 0; round < rounds; round += 1) {
    const result = {};
    for (const name of round % 2 ? [...names].reverse() : names) result[name] = await named(id, name, () => contenders[name](block));
    results.push(result);
  }
  await report(id, unit, results);
}

/** Reports a measure: an object of values for each round. */
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

/** A body with a mark of its call. */
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

  /** Marks the body for the next call. Returns the mark. */
  mark() {
    this.#at = (this.#at + 1) % 65_536;
    this.bytes[0] = this.#at & 0xff;
    this.bytes[1] = this.#at >> 8;
    return this.#at;
  }

  /** Throws if a reply belongs to another call than the one with this mark, by its length and both ends. */
  check(mark, reply) {
    const last = this.bytes.length - 1;
    const fits = reply.length === last + 1 && (reply[0] | (reply[1] << 8)) === mark && reply[last] === this.bytes[last];
    if (!fits) throw new Error(`call ${mark} of ${last + 1} bytes got the reply of another call, of ${reply?.length} bytes`);
  }

  /** Throws if a reply differs anywhere. */
  checkWhole(mark, reply) {
    this.check(mark, reply);
    for (let at = 2; at < reply.length; at += 1) {
      if (reply[at] !== this.bytes[at]) throw new Error(`call ${mark} got a reply that differs at byte ${at}`);
    }
  }
}

/** Runs a block of calls one at a time. Resolves to microseconds per call. `call` takes bytes and resolves to their echo. */
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

/** The same for a call that returns its reply at once. */
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

/** Counts a stretch of calls, and makes the next one about `STRETCH_MS` long. */
function next(calls, stretch, before) {
  const now = performance.now();
  const took = Math.max(now - before, 0.1);
  return [calls + stretch, Math.max(1, Math.min(stretch * 2, Math.round((stretch * STRETCH_MS) / took))), now];
}

/** Runs a block of calls with this many in flight. Resolves to calls per second. */
export function inFlight(many, body, call) {
  return async (length) => {
    body.checkWhole(body.mark(), await call(body.bytes));
    const start = performance.now();
    const end = start + length;
    let calls = 0;
    const lane = async () => {
      while (performance.now() < end) {
        // A call copies its bytes before it returns, so one buffer is enough for all lanes.
        const mark = body.mark();
        body.check(mark, await call(body.bytes));
        calls += 1;
      }
    };
    await Promise.all(Array.from({ length: many }, lane));
    return (1_000 * calls) / (performance.now() - start);
  };
}
