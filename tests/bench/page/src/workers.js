// The same guest in workers of peers: behind plain postMessage, and behind Comlink.
import { wrap } from "comlink";
import { speaker } from "./hosts.js";

/** A worker with plain postMessage. */
export class RawWorker {
  #worker = new Worker(new URL("./raw-worker.js", import.meta.url), { type: "module" });
  #pending = new Map();
  #id = 0;

  static async create() {
    const raw = new RawWorker();
    await raw.start(await speaker());
    return raw;
  }

  /** Makes an instance, which answers from now on. Earlier ones are kept. */
  async start(module) {
    const ready = new Promise((resolve, reject) => {
      this.#worker.onmessage = resolve;
      this.#worker.onerror = ({ message }) => reject(new Error(`the raw worker: ${message}`));
    });
    this.#worker.postMessage(module);
    await ready;
    this.#worker.onmessage = ({ data: [id, reply] }) => {
      const resolve = this.#pending.get(id);
      this.#pending.delete(id);
      resolve(reply);
    };
  }

  /** Sends a structured clone. The reply is one too. */
  echo(bytes) {
    return this.#send(bytes, false, []);
  }

  /** Transfers a copy, because the caller keeps its own bytes. The reply is transferred too. */
  transfer(bytes) {
    const copy = bytes.slice();
    return this.#send(copy, true, [copy.buffer]);
  }

  end() {
    this.#worker.terminate();
  }

  #send(bytes, transfer, list) {
    return new Promise((resolve) => {
      const id = (this.#id += 1);
      this.#pending.set(id, resolve);
      this.#worker.postMessage([id, bytes, transfer], list);
    });
  }
}

/** A worker with Comlink. */
export class ComlinkWorker {
  #worker = new Worker(new URL("./comlink-worker.js", import.meta.url), { type: "module" });
  #remote = wrap(this.#worker);

  static async create() {
    const comlink = new ComlinkWorker();
    await comlink.#remote.start(await speaker());
    return comlink;
  }

  echo(bytes) {
    return this.#remote.echo(bytes);
  }

  end() {
    this.#worker.terminate();
  }
}
