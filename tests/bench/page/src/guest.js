// The minimal host in JavaScript: lowers a message by the canonical ABI, calls the guest, and copies the reply. Without checks,
// limits and addresses, it is the floor for measures of the sandbox.

const MESH = "starlane:mechtron/mesh@1.0.0";
const ACTOR = "starlane:mechtron/actor@1.0.0#";

const encoder = new TextEncoder();
const NONE = new Uint8Array();

export class Guest {
  #exports;
  #bytes;
  #reply;
  #id = 0n;
  #texts = ["bench:page", "", "echo", "application/octet-stream"].map((text) => encoder.encode(text));

  /** Makes an instance of a compiled module and starts it. */
  static async create(module) {
    const guest = new Guest();
    const reply = (id, which, type, typeLength, headers, count, body, length) => {
      if (which !== 0) throw new Error("the guest failed");
      body >>>= 0;
      guest.#reply = guest.#memory().slice(body, body + length);
    };
    const refuse = (name) => () => {
      throw new Error(`the guest must not call ${name} here`);
    };
    const messages = ["request", "notify", "emit", "subscribe", "unsubscribe", "wake-after", "wake-at"];
    const others = [...messages, "open-stream", "write", "finish", "grant", "cancel-stream"];
    const imports = {
      reply,
      log() {},
      "now-ms": () => BigInt(Date.now()),
      random: () => crypto.getRandomValues(new BigUint64Array(1))[0],
      ...Object.fromEntries(others.map((name) => [name, refuse(name)])),
    };
    const { exports } = await WebAssembly.instantiate(module, { [MESH]: imports });
    guest.#exports = { memory: exports.memory, realloc: exports.cabi_realloc, receive: exports[`${ACTOR}receive`] };
    exports._initialize?.();
    const start = ["bench:floor", "speaker", "{}"].flatMap((text) => guest.#lower(encoder.encode(text)));
    const result = exports[`${ACTOR}start`](...start, 0, 0, 0, 0);
    if (guest.#memory()[result] !== 0) throw new Error("the guest did not start");
    exports[`cabi_post_${ACTOR}start`]?.(result);
    return guest;
  }

  /** Calls `echo`. Returns the body of the reply. */
  echo(body) {
    const [sender, caller, operation, type] = this.#texts;
    const [s, sn] = this.#lower(sender);
    const [c, cn] = this.#lower(caller);
    const [o, on] = this.#lower(operation);
    const [t, tn] = this.#lower(type);
    const [b, bn] = this.#lower(body);
    this.#reply = undefined;
    this.#exports.receive((this.#id += 1n), 0, s, sn, c, cn, o, on, t, tn, 4, 0, b, bn, 0n, 30_000);
    return this.#reply ?? NONE;
  }

  #lower(bytes) {
    if (bytes.length === 0) return [1, 0];
    const at = this.#exports.realloc(0, 0, 1, bytes.length) >>> 0;
    this.#memory().set(bytes, at);
    return [at, bytes.length];
  }

  /** A view of the whole memory, which is renewed when the memory has grown. */
  #memory() {
    if (!this.#bytes?.length) this.#bytes = new Uint8Array(this.#exports.memory.buffer);
    return this.#bytes;
  }
}
