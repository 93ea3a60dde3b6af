// P1 to P4: calls of a guest in this page.
import createPlugin from "@extism/extism";
import { Guest } from "./guest.js";
import { bytesOf, host, speaker } from "./hosts.js";
import { Body, atOnce, compare, inFlight, oneAtATime } from "./rounds.js";
import { ComlinkWorker, RawWorker } from "./workers.js";

/** Apps of one bundle: the guest of one runs in the page's own thread, that of the other in a worker. */
const INLINE = "bench:inline";
const WORKER = "bench:worker";
/** The number of calls in flight. */
const IN_FLIGHT = 256;
/** After this number of calls a worker should still be as fast as at first. */
const WEAR = 100_000;

export async function calls() {
  await inline();
  await inWorker();
}

/** P1: in the page's own thread. */
async function inline() {
  const ours = await host();
  const app = await ours.launch(INLINE, { inline: true });
  const guest = await Guest.create(await speaker());
  const plugin = await createPlugin({ wasm: [{ data: new Uint8Array(await bytesOf("extism_echo")) }] }, { useWasi: false });
  for (const [name, size] of [["64B", 64], ["4KiB", 4 << 10], ["64KiB", 64 << 10]]) {
    const body = new Body(size);
    await compare(`P1/${name}`, "µs", {
      ours: oneAtATime(body, (bytes) => ours.request(`${INLINE}:echo`, "echo", bytes)),
      floor: atOnce(body, (bytes) => guest.echo(bytes)),
      extism: oneAtATime(body, async (bytes) => (await plugin.call("echo", bytes)).bytes()),
    });
  }
  await plugin.close();
  await app.stop();
}

/** P2 to P4: in a worker. */
async function inWorker() {
  const ours = await host();
  const app = await ours.launch(WORKER);
  const request = (bytes) => ours.request(`${WORKER}:echo`, "echo", bytes);
  const raw = await RawWorker.create();
  const comlink = await ComlinkWorker.create();
  const one = (body) => ({
    ours: oneAtATime(body, request),
    floor: oneAtATime(body, (bytes) => raw.echo(bytes)),
    comlink: oneAtATime(body, (bytes) => comlink.echo(bytes)),
  });
  const small = new Body(1 << 10);
  await compare("P2/1KiB", "µs", one(small));

  const body = new Body(64);
  await compare("P3/64B", "calls/s", {
    ours: inFlight(IN_FLIGHT, body, request),
    floor: inFlight(IN_FLIGHT, body, (bytes) => raw.echo(bytes)),
    comlink: inFlight(IN_FLIGHT, body, (bytes) => comlink.echo(bytes)),
  });

  const large = new Body(1 << 20);
  const { ours: our, floor: clone } = one(large);
  const milliseconds = (block) => async (length) => (await block(length)) / 1_000;
  await compare("P4/1MiB", "ms", {
    ours: milliseconds(our),
    floor: milliseconds(oneAtATime(large, (bytes) => raw.transfer(bytes))),
    clone: milliseconds(clone),
  });

  for (let left = WEAR; left > 0; left -= 1) small.check(small.mark(), await request(small.bytes));
  await compare("P2/1KiB/worn", "µs", one(small));
  raw.end();
  comlink.end();
  await app.stop();
}
