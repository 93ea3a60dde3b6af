// P12 in a tab: the cost of sleeping and awake actors, and the time of a wake.
import { host, speaker } from "./hosts.js";
import { Body, compare, report } from "./rounds.js";
import { tell } from "./settings.js";
import { RawWorker } from "./workers.js";

const APP = "bench:worker";
/** The number of measured awake actors, besides the first ones. A tab has a maximum of 64. */
const AWAKE = 48;
/** The number of measured sleeping actors, besides the first ones, which fill the workers' heaps with garbage. */
const ACTORS = 1_000;
const FIRST_ASLEEP = 300;
const FIRST_AWAKE = 8;
/** The number of steps in which memory is measured. */
const STEPS = 4;
/** The time until garbage is collected, and the number of measurements. */
const SETTLE_MS = 300;
const TRIES = 5;

export async function actors() {
  const ours = await host();
  const app = await ours.launch(APP);
  const body = new Body(64);
  const ask = async (key) => {
    const mark = body.mark();
    body.checkWhole(mark, await ours.request(`${APP}:actor:k${key}`, "echo", body.bytes));
  };
  // Makes the first actors before it measures: workers, their code and one-time allocations do not belong to an actor.
  for (let at = 0; at < FIRST_AWAKE; at += 1) await ask(`first-${at}`);
  const raw = await RawWorker.create();
  const module = await speaker();
  const awake = await growth(AWAKE, ask);
  for (let left = FIRST_AWAKE; left > 0; left -= 1) await raw.start(module);
  const bare = await growth(AWAKE, () => raw.start(module));
  await report("P12/tab/awake", "bytes", awake.map((value, round) => ({ ours: value, floor: bare[round] })));
  raw.end();

  for (let at = 0; at < FIRST_ASLEEP; at += 1) await ask(`second-${at}`);
  const asleep = await growth(ACTORS, (at) => ask(`asleep-${at}`));
  await report("P12/tab/asleep", "bytes", asleep.map((value) => ({ ours: value })));

  let next = 0;
  await compare("P12/tab/wake", "ms", {
    // Each wake is for the actor that has slept longest.
    ours: async (length) => {
      const start = performance.now();
      let count = 0;
      while (performance.now() - start < length) {
        await ask(`asleep-${next}`);
        next = (next + 1) % ACTORS;
        count += 1;
      }
      return (performance.now() - start) / count;
    },
  });
  await app.stop();
}

/** Does something `count` times, in steps. Returns for each step the growth of the page's process per time, in bytes. */
async function growth(count, once) {
  const results = [];
  let [at, before] = [0, await memory()];
  for (let step = 1; step <= STEPS; step += 1) {
    const first = at;
    for (; at < (count * step) / STEPS; at += 1) await once(at);
    const now = await memory();
    results.push(Math.max(0, now - before) / (at - first));
    before = now;
  }
  return results;
}

/** The memory of the page's process, in bytes: the minimum of several measurements, because workers collect garbage at any time. */
async function memory() {
  let least = Infinity;
  for (let left = TRIES; left > 0; left -= 1) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
    least = Math.min(least, await tell("memory"));
  }
  return least;
}
