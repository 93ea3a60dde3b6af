// P5 to P7: the page and the server.
import { wsconnect } from "@nats-io/nats-core";
import { host } from "./hosts.js";
import { Body, compare, inFlight, oneAtATime } from "./rounds.js";
import { nats, raw } from "./settings.js";
import { RawSocket } from "./sockets.js";

/** The mechtron on the server. */
const SPEAKER = "bench:mesh:speaker";
/** The subject that the responder behind NATS answers, and one that nobody answers. */
const ECHO = "bench.echo";
const SAID = "bench.said";
/** The number of messages in flight. */
const IN_FLIGHT = 256;

export async function link() {
  const ours = await host();
  await ours.connected({ timeout: 10_000 });
  const socket = await RawSocket.open(raw);
  const connection = await wsconnect({ servers: `ws://${nats}` });
  const ask = {
    ours: (bytes) => ours.request(SPEAKER, "echo", bytes),
    floor: (bytes) => socket.echo(bytes),
    // NATS keeps the buffer until it sends.
    nats: async (bytes) => (await connection.request(ECHO, bytes.slice(), { timeout: 30_000 })).data,
  };
  const each = (measure) => Object.fromEntries(Object.entries(ask).map(([name, call]) => [name, measure(call)]));
  for (const [name, size] of [["64B", 64], ["4KiB", 4 << 10]]) {
    const body = new Body(size);
    await compare(`P5/${name}`, "µs", each((call) => oneAtATime(body, call)));
    await compare(`P6/${name}`, "requests/s", each((call) => inFlight(IN_FLIGHT, body, call)));
  }
  const body = new Body(64);
  await compare("P7/64B", "events/s", {
    ours: (length) => ourEvents(ours, body, length),
    floor: (length) => rawEvents(socket, body, length),
    nats: (length) => natsEvents(connection, body, length),
  });
  socket.close();
  await connection.close();
}

/**
 * Keeps `IN_FLIGHT` messages on their way until the time is up, and waits for the rest. Call `arrived` with each received message, in
 * order and once.
 */
class Flight {
  #send;
  #body;
  #end;
  #start = performance.now();
  /** The marks of messages on their way, in order. */
  #marks = [];
  #first = 0;
  #count = 0;
  #landed;

  constructor(body, length, send) {
    [this.#body, this.#send, this.#end] = [body, send, this.#start + length];
    /** Resolves to the events per second. */
    this.landed = new Promise((resolve, reject) => (this.#landed = { resolve, reject }));
  }

  /** Sends the first. */
  start() {
    for (let left = IN_FLIGHT; left > 0; left -= 1) this.#next();
  }

  fail(error) {
    this.#landed.reject(error);
  }

  arrived(bytes) {
    try {
      this.#body.check(this.#marks[this.#first], bytes);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#first += 1;
    this.#count += 1;
    const now = performance.now();
    if (now < this.#end) this.#next();
    else if (this.#first === this.#marks.length) this.#landed.resolve((1_000 * this.#count) / (now - this.#start));
  }

  #next() {
    this.#marks.push(this.#body.mark());
    this.#send(this.#body.bytes);
  }
}

/** Page, mechtron on the server, page: a one-way message that the mechtron emits as an event. */
async function ourEvents(ours, body, length) {
  const events = ours.subscribe(`${SPEAKER}#said`, { buffer: 4 * IN_FLIGHT });
  // The link keeps the order, so the subscription exists when this is answered.
  await ours.request(SPEAKER, "echo", body.bytes);
  const flight = new Flight(body, length, (bytes) => {
    ours.notify(SPEAKER, "shout", bytes).catch((error) => flight.fail(error));
  });
  const reading = (async () => {
    for await (const { payload, lagged, gap } of events) {
      if (lagged || gap) throw new Error(`events were lost: ${lagged ?? "a gap"}`);
      flight.arrived(payload);
    }
  })();
  reading.catch((error) => flight.fail(error));
  flight.start();
  const rate = await flight.landed;
  await events.return();
  return rate;
}

async function natsEvents(connection, body, length) {
  const flight = new Flight(body, length, (bytes) => connection.publish(SAID, bytes.slice()));
  // A loop over the subscription would be slower, because it would send each message separately.
  const callback = (error, message) => (error ? flight.fail(error) : flight.arrived(message.data));
  const subscription = connection.subscribe(SAID, { callback });
  await connection.flush();
  flight.start();
  const rate = await flight.landed;
  subscription.unsubscribe();
  return rate;
}

async function rawEvents(socket, body, length) {
  const flight = new Flight(body, length, (bytes) => socket.send(bytes));
  socket.onMessage = (bytes) => flight.arrived(bytes);
  flight.start();
  const rate = await flight.landed;
  socket.onMessage = undefined;
  return rate;
}
