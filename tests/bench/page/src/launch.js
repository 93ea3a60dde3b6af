// P8: from a cached app to its first reply.
import { bytesOf, host } from "./hosts.js";
import { Body, compare } from "./rounds.js";

const APP = "bench:launched";
const DATABASE = "bench-floor";

export async function launch() {
  const ours = await host();
  await ours.connected({ timeout: 10_000 });
  const body = new Body(64);
  const floor = await Floor.open();
  await compare("P8", "ms", {
    ours: repeated(async () => {
      const start = performance.now();
      const app = await ours.launch(APP);
      const mark = body.mark();
      const reply = await ours.request(`${APP}:echo`, "echo", body.bytes);
      const took = performance.now() - start;
      body.checkWhole(mark, reply);
      await app.stop();
      return took;
    }),
    floor: repeated(async () => {
      const start = performance.now();
      const mark = body.mark();
      const reply = await floor.launch(body.bytes);
      const took = performance.now() - start;
      body.checkWhole(mark, reply);
      return took;
    }),
  });
  floor.close();
}

/** A block: the mean of the values of `once`. */
function repeated(once) {
  return async (length) => {
    const end = performance.now() + length;
    let [sum, count] = [0, 0];
    while (performance.now() < end) {
      sum += await once();
      count += 1;
    }
    return sum / count;
  };
}

/** IndexedDB, digest, compilation, instance and first call, in a worker that already runs. */
class Floor {
  #worker = new Worker(new URL("./launch-worker.js", import.meta.url), { type: "module" });
  #waiting = [];

  static async open() {
    const floor = new Floor();
    floor.#worker.onmessage = ({ data }) => {
      const { resolve, reject } = floor.#waiting.shift();
      if (data.error) reject(new Error(data.error));
      else resolve(data.reply);
    };
    floor.#worker.onerror = ({ message }) => floor.#waiting.shift()?.reject(new Error(message));
    await floor.#ask({ keep: await bytesOf("speaker"), database: DATABASE });
    return floor;
  }

  launch(bytes) {
    return this.#ask({ bytes });
  }

  close() {
    this.#worker.terminate();
    indexedDB.deleteDatabase(DATABASE);
  }

  #ask(message) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(message);
    });
  }
}
