// P12 in a tab: what actors cost that sleep and that are awake, and how long a wake takes.
import { host, speaker } from "./hosts.js";
import { Body, compare, report } from "./rounds.js";
import { tell } from "./settings.js";
import { RawWorker } from "./workers.js";

const APP = "bench:worker";
/** So many may be awake in a tab, and so many there are. */
const AWAKE = 64;
const ACTORS = 1_000;
/** Memory is looked at after so many more. */
const STEPS = 4;
/** Until garbage is collected, in milliseconds; and so often it is tried. */
const SETTLE = 400;
const TRIES = 6;

export async function actors() {
  const ours = await host();
  const app = await ours.launch(APP);
  const body = new Body(64);
  const ask = async (key) => {
    const mark = body.mark();
    body.checkWhole(mark, await ours.request(`${APP}:actor:k${key}`, "echo", body.bytes));
  };
  // The worker, its code, and what the page allocates once are no actor's.
  await ask("first");
  const raw = await RawWorker.create();
  const module = await speaker();
  const awake = await growth(AWAKE / 2, async (at) => ask(at));
  const bare = await growth(AWAKE / 2, async () => raw.start(module));
  await report("P12/tab/awake", "bytes", awake.map((value, round) => ({ ours: value, floor: bare[round] })));
  raw.end();

  for (let key = AWAKE / 2; key < AWAKE; key += 1) await ask(key);
  const asleep = await growth(ACTORS - AWAKE, async (at) => ask(AWAKE + at));
  await report("P12/tab/asleep", "bytes", asleep.map((value) => ({ ours: value })));

  let next = 0;
  await compare("P12/tab/wake", "ms", {
    // Each is the one that slept longest.
    ours: async (length) => {
      const start = performance.now();
      let count = 0;
      while (performance.now() - start < length) {
        await ask(next);
        next = (next + 1) % ACTORS;
        count += 1;
      }
      return (performance.now() - start) / count;
    },
  });
  await app.stop();
}

/** Does something so often, in steps; gives for each step by how many bytes each time the page's process has grown. */
async function growth(count, once) {
  const results = [];
  let at = 0;
  for (let step = 1; step <= STEPS; step += 1) {
    const [before, first] = [await memory(), at];
    while (at < (count * step) / STEPS) await once(at++);
    results.push(Math.max(0, (await memory()) - before) / (at - first));
  }
  return results;
}

/** Bytes of memory of the page's process: the least that is found, since garbage of workers goes when it likes. */
async function memory() {
  let least = Infinity;
  for (let left = TRIES; left > 0; left -= 1) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, SETTLE));
    least = Math.min(least, await tell("memory"));
  }
  return least;
}
