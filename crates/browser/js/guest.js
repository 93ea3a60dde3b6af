// A guest, as JavaScript sees it: the canonical ABI between the call buffer of `starlane_host::batch` and a guest's memory.
//
// It runs in a worker, and in the page's own thread for inline guests; both drive it the same way. What it may rely on is
// little: a guest is hostile, may use up the stack at any instruction, and may call an import from its allocator. So an
// import only reads the guest's memory and appends to `output`; it never calls the guest, nor anything that waits.

import * as batch from "./batch.js";

// The bounds of `starlane_abi::limits`.
const CALL_MESSAGES = 1024;
const CALL_BYTES = 16 * 1024 * 1024;
const CALL_LOG = 64 * 1024;
const HEADERS = 128;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A 64-bit number and its halves, in memory order: the way between BigInt and two words without arithmetic on BigInts. */
const wide = new BigUint64Array(1);
const halves = new Uint32Array(wide.buffer);
const random = new BigUint64Array(64);
let randomLeft = 0;

/** What a guest did wrong. Its message is for people. */
export class Fault extends Error {}

/** It has no memory for what it was to be given. */
class NoMemory extends Fault {}

/** Where reports go. A batch is never entered twice, so one is enough for all instances of a thread. */
let output = new batch.Output(64 * 1024);

/** The calls that are being run, and how far they have been read. */
let calls = new Uint8Array(0);
let cursor = 0;

function readU32() {
  const at = cursor;
  cursor = at + 4;
  return (calls[at] | (calls[at + 1] << 8) | (calls[at + 2] << 16) | (calls[at + 3] << 24)) >>> 0;
}

function readU64() {
  halves[0] = readU32();
  halves[1] = readU32();
  return wide[0];
}

/** Goes past a string or list of bytes; gives where it begins. */
function pastBytes() {
  const at = cursor;
  const size = readU32();
  cursor += size;
  return at;
}

/** Goes past a list of headers; gives where it begins. */
function pastHeaders() {
  const at = cursor;
  for (let texts = readU32() * 2; texts > 0; texts--) pastBytes();
  return at;
}

/** One instance of a guest. */
export class Guest {
  /**
   * @param {{ memory: number, concurrency: number }} limits bytes, and unfinished messages at a time
   */
  constructor(limits) {
    this.limits = limits;
    /** The gate of `contract.js` that its messages pass, if there are schemas. */
    this.gate = undefined;
    this.exports = null;
    this.memory = null;
    /** A view of the whole memory; its length is 0 once the memory has grown. */
    this.view = new Uint8Array(0);
    this.started = false;
    /** Whether the mesh may be used now: not before `start`, and not in the allocator. */
    this.open = false;
    /** The import that runs now, or that never came to its end: then the call is broken, whatever the guest caught. */
    this.importing = null;
    this.lastRequest = 0;
    /** Messages that wait for their `reply`. */
    this.unfinished = new Set();
    this.messages = 0;
    this.room = 0;
    this.logs = new batch.Output(0);
    this.logRoom = CALL_LOG;
    /** The two words of the last value that was lowered. */
    this.at = 0;
    this.size = 0;
    /** Where the present call ends among the calls. */
    this.callEnd = 0;
  }

  /** A view that is valid now. */
  bytes() {
    return this.view.length === 0 ? this.renew() : this.view;
  }

  renew() {
    if (!this.memory) throw new Fault("called while the instance was being made");
    this.view = new Uint8Array(this.memory.buffer);
    if (this.view.length > this.limits.memory) {
      throw new Fault(`it has ${this.view.length} bytes of memory, and ${this.limits.memory} are the most`);
    }
    return this.view;
  }

  // --- Out of the guest: values are checked and go to the output ---

  /** Checks that `length` bytes at `at` lie in memory. */
  within(what, at, length) {
    const bytes = this.bytes();
    if (at + length > bytes.length) {
      throw new Fault(`${what} lies outside of memory: ${length} bytes at ${at}, and it has ${bytes.length}`);
    }
    return bytes;
  }

  liftBytes(what, at, length) {
    at >>>= 0;
    length >>>= 0;
    this.within(what, at, length);
    this.copy(what, at, length);
  }

  /** Copies what was checked to lie in memory. */
  copy(what, at, length) {
    if (length > this.room) throw new Fault(`${what} is too much: one call may queue ${CALL_BYTES} bytes`);
    this.room -= length;
    output.slice(this.view, at, at + length);
  }

  liftText(what, at, length) {
    at >>>= 0;
    length >>>= 0;
    checkText(what, this.within(what, at, length), at, at + length);
    this.copy(what, at, length);
  }

  /** A number in memory, at a place that was checked. */
  word(at) {
    const bytes = this.view;
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
  }

  /** Checks a record of words. */
  record(what, at, size) {
    if (at % 4 !== 0) throw new Fault(`${what} is at ${at}, which is no multiple of 4`);
    this.within(what, at, size);
  }

  liftPayload(type, typeLength, headers, count, body, bodyLength) {
    this.liftText("the content type", type, typeLength);
    headers >>>= 0;
    count >>>= 0;
    if (count > HEADERS) throw new Fault(`${count} headers, and ${HEADERS} are the most`);
    this.record("the list of headers", headers, count * 16);
    output.u32(count);
    for (let at = headers; at < headers + count * 16; at += 16) {
      this.liftText("the name of a header", this.word(at), this.word(at + 4));
      this.liftText("the value of a header", this.word(at + 8), this.word(at + 12));
    }
    this.liftBytes("the body", body, bodyLength);
  }

  /** Begins what an import does. Until `end` the call counts as broken, should the stack end on the way. */
  begin(name) {
    if (this.importing !== null) throw new Fault("was cut short");
    this.importing = name;
  }

  /** Begins an import that queues. */
  queue(name, tag) {
    this.begin(name);
    if (!this.open) {
      throw new Fault("called before `start` or in the allocator: then only `log`, `now-ms` and `random` may be");
    }
    if (++this.messages > CALL_MESSAGES) throw new Fault(`one call may queue ${CALL_MESSAGES} messages`);
    output.u8(tag);
  }

  end() {
    this.importing = null;
  }

  /** Makes the functions that the guest imports. */
  imports() {
    return {
      request: (t, tn, o, on, a, an, h, hn, b, bn, timeout) => {
        this.queue("request", batch.REQUEST);
        const id = ++this.lastRequest;
        output.u32(id % 4294967296);
        output.u32(id / 4294967296);
        this.liftText("the target", t, tn);
        this.liftText("the operation", o, on);
        this.liftPayload(a, an, h, hn, b, bn);
        output.u32(timeout);
        this.end();
        return BigInt(id);
      },
      notify: (t, tn, o, on, a, an, h, hn, b, bn) => {
        this.queue("notify", batch.NOTIFY);
        this.liftText("the target", t, tn);
        this.liftText("the operation", o, on);
        this.liftPayload(a, an, h, hn, b, bn);
        this.end();
      },
      reply: (id, which, a, b, c, d, e, f) => {
        this.queue("reply", batch.REPLY);
        wide[0] = id;
        output.u32(halves[0]);
        output.u32(halves[1]);
        const finished = messageKey();
        if (which === batch.SUCCESS) {
          output.u8(batch.SUCCESS);
          this.liftPayload(a, b, c, d, e, f);
        } else if (which === batch.FAILURE) {
          output.u8(batch.FAILURE);
          output.u8(a);
          output.u8(a >>> 8);
          this.liftText("the code of a failure", b, c);
          this.liftText("the message of a failure", d, e);
        } else {
          throw new Fault(`an outcome has no case ${which}`);
        }
        this.unfinished.delete(finished);
        this.end();
      },
      emit: (e, en, a, an, h, hn, b, bn) => {
        this.queue("emit", batch.EMIT);
        this.liftText("the event", e, en);
        this.liftPayload(a, an, h, hn, b, bn);
        this.end();
      },
      subscribe: (t, tn) => {
        this.queue("subscribe", batch.SUBSCRIBE);
        this.liftText("the topic", t, tn);
        this.end();
      },
      unsubscribe: (t, tn) => {
        this.queue("unsubscribe", batch.UNSUBSCRIBE);
        this.liftText("the topic", t, tn);
        this.end();
      },
      "wake-after": (delay, token) => {
        this.queue("wake-after", batch.WAKE_AFTER);
        wide[0] = token;
        output.u32(delay);
        output.u32(halves[0]);
        output.u32(halves[1]);
        this.end();
      },
      log: (level, at, length) => this.log(level, at >>> 0, length >>> 0),
      "now-ms": () => BigInt(Date.now()),
      random: () => {
        if (randomLeft === 0) {
          crypto.getRandomValues(random);
          randomLeft = random.length;
        }
        return random[--randomLeft];
      },
    };
  }

  /** Keeps as much of a line as the call may still log. */
  log(level, at, length) {
    this.begin("log");
    const bytes = this.within("the text", at, length);
    if (level >>> 0 > 4) throw new Fault(`a level has no case ${level}`);
    let end = at + length;
    if (length > this.logRoom) {
      end = at + this.logRoom;
      // Not through a character.
      while (end > at && (bytes[end] & 0xc0) === 0x80) end--;
    }
    checkText("the text", bytes, at, end);
    if (this.logRoom > 0) {
      // An empty line counts too: else a loop could fill the memory with them.
      this.logRoom = Math.max(0, this.logRoom - (end - at) - 1);
      this.logs.u8(batch.LOG);
      this.logs.u8(level);
      this.logs.slice(bytes, at, end);
    }
    this.end();
  }

  /** One line for people, of what ended the present call. */
  reason(error) {
    return (this.importing === null ? "" : `\`mesh.${this.importing}\`: `) + describe(error);
  }

  // --- Into the guest: values are read from the calls and written to memory that the guest allocates ---

  allocate(align, size) {
    let at;
    try {
      at = this.exports.realloc(0, 0, align, size) >>> 0;
    } catch (error) {
      // Allocators that find no memory end so.
      if (this.importing === null && isUnreachable(error)) {
        throw new NoMemory(`it has no memory for ${size} bytes more: \`cabi_realloc\`: ${describe(error)}`);
      }
      throw error;
    }
    const bytes = this.bytes();
    const gave = () => `\`cabi_realloc\` gave ${at} for ${size} bytes aligned to ${align}, and memory has ${bytes.length}`;
    if (at % align !== 0) throw new Fault(gave());
    if (at + size > bytes.length) throw new NoMemory(gave());
    return at;
  }

  /** Lowers the string or list of bytes that begins there. */
  lowerBytesAt(from) {
    cursor = from;
    this.lowerBytes();
  }

  /** The next string or list of bytes, to `at` and `size`. */
  lowerBytes() {
    const size = readU32();
    this.size = size;
    if (size === 0) {
      this.at = 1;
      return;
    }
    const at = this.allocate(1, size);
    this.at = at;
    const from = cursor;
    cursor = from + size;
    if (size > batch.SHORT) {
      this.view.set(calls.subarray(from, from + size), at);
    } else {
      const bytes = this.view;
      for (let i = 0; i < size; i++) bytes[at + i] = calls[from + i];
    }
  }

  /** The next list of headers, to `at` and `size`. */
  lowerHeaders() {
    const count = readU32();
    if (count === 0) {
      this.at = 4;
      this.size = 0;
      return;
    }
    const list = this.allocate(4, count * 16);
    for (let at = list; at < list + count * 16; at += 8) {
      this.lowerBytes();
      // Through a view that is new if the allocation grew the memory.
      const words = new DataView(this.bytes().buffer);
      words.setUint32(at, this.at, true);
      words.setUint32(at + 4, this.size, true);
    }
    this.at = list;
    this.size = count;
  }

  // --- Calls ---

  start() {
    this.started = true;
    this.lowerBytes();
    const [address, addressLength] = [this.at, this.size];
    this.lowerBytes();
    const [mechtron, mechtronLength] = [this.at, this.size];
    this.lowerBytes();
    const [settings, settingsLength] = [this.at, this.size];
    const which = calls[cursor++];
    let format = 0;
    this.at = this.size = 0;
    if (which === 1) {
      format = readU32();
      this.lowerBytes();
    }
    const { start, postStart } = this.exports;
    const flat = [address, addressLength, mechtron, mechtronLength, settings, settingsLength, which, format];
    this.open = true;
    const result = start(...flat, this.at, this.size) >>> 0;
    this.open = false;
    this.record("the result", result, 12);
    const refused = this.view[result];
    if (refused > 1) throw new Fault(`a result has no case ${refused}`);
    output.u8(refused === 0 ? batch.DONE : batch.REFUSED);
    if (refused === 1) {
      this.room = CALL_BYTES;
      this.liftText("the reason", this.word(result + 4), this.word(result + 8));
    }
    if (postStart) postStart(result);
    return refused === 0;
  }

  receive() {
    const id = readU64();
    const key = messageKey();
    const kind = calls[cursor++];
    const from = pastBytes(), by = pastBytes(), what = pastBytes(), as = pastBytes(), behind = pastHeaders(), carries = pastBytes();
    const remaining = readU32();
    this.callEnd = cursor;
    // The longest first: if there is no memory for it, nothing has been allocated.
    this.lowerBytesAt(carries);
    const body = this.at, bodyLength = this.size;
    cursor = behind;
    this.lowerHeaders();
    const headers = this.at, count = this.size;
    this.lowerBytesAt(from);
    const sender = this.at, senderLength = this.size;
    this.lowerBytesAt(by);
    const caller = this.at, callerLength = this.size;
    this.lowerBytesAt(what);
    const operation = this.at, operationLength = this.size;
    this.lowerBytesAt(as);
    const type = this.at, typeLength = this.size;
    cursor = this.callEnd;
    this.unfinished.add(key);
    this.open = true;
    const finished = this.exports.receive(
      id, kind, sender, senderLength, caller, callerLength, operation, operationLength,
      type, typeLength, headers, count, body, bodyLength, remaining,
    );
    this.open = false;
    if (finished !== 0) this.unfinished.delete(key);
    output.u8(batch.RECEIVED);
    output.u8(finished !== 0 ? 1 : 0);
  }

  settle() {
    const id = readU64();
    const which = calls[cursor++];
    let [a, b, c, d, e, f] = [0, 0, 0, 0, 0, 0];
    if (which === 0) {
      const as = pastBytes(), behind = pastHeaders(), carries = pastBytes();
      this.callEnd = cursor;
      this.lowerBytesAt(carries);
      [e, f] = [this.at, this.size];
      cursor = behind;
      this.lowerHeaders();
      [c, d] = [this.at, this.size];
      this.lowerBytesAt(as);
      [a, b] = [this.at, this.size];
    } else {
      a = calls[cursor] | (calls[cursor + 1] << 8);
      cursor += 2;
      const code = pastBytes(), text = pastBytes();
      this.callEnd = cursor;
      this.lowerBytesAt(text);
      [d, e] = [this.at, this.size];
      this.lowerBytesAt(code);
      [b, c] = [this.at, this.size];
    }
    cursor = this.callEnd;
    this.open = true;
    this.exports.settle(id, which, a, b, c, d, e, f);
    this.open = false;
    output.u8(batch.DONE);
  }

  wake() {
    const token = readU64();
    this.open = true;
    this.exports.wake(token);
    this.open = false;
    output.u8(batch.DONE);
  }

  save() {
    this.open = true;
    const result = this.exports.save() >>> 0;
    this.open = false;
    this.record("the result", result, 12);
    output.u8(batch.SAVED);
    output.u32(this.word(result));
    // State may be as large as the guest's memory is.
    this.room = Infinity;
    this.liftBytes("the state", this.word(result + 4), this.word(result + 8));
    if (this.exports.postSave) this.exports.postSave(result);
  }

  /** Runs the next call. False: the batch ends behind it. */
  call(tag) {
    if ((tag === batch.START) === this.started) throw new Fault("`start` comes once, and before all other calls");
    switch (tag) {
      case batch.START:
        return this.start();
      case batch.RECEIVE:
        this.receive();
        return true;
      case batch.SETTLE:
        this.settle();
        return true;
      case batch.WAKE:
        this.wake();
        return true;
      default:
        this.save();
        return true;
    }
  }

  /** Runs the calls; what they did goes to the output. */
  run() {
    let count = readU32();
    let queued = 0, sent = 0;
    for (; count > 0; count--) {
      const tag = calls[cursor++];
      const full = queued >= CALL_BYTES || sent >= CALL_MESSAGES;
      if (full && tag !== batch.START && tag !== batch.SAVE) break;
      if (tag === batch.RECEIVE && this.unfinished.size >= this.limits.concurrency) break;
      const mark = output.length;
      const behind = tag === batch.RECEIVE && this.gate?.refuses(calls, cursor, output);
      if (behind) {
        cursor = behind;
        continue;
      }
      this.messages = 0;
      this.room = CALL_BYTES;
      this.logRoom = CALL_LOG;
      let goesOn = false;
      try {
        goesOn = this.call(tag);
        // What grew in this call is measured in it.
        this.bytes();
        if (this.importing !== null) throw new Fault("was cut short");
        this.gate?.check(output, mark, this.logs);
      } catch (error) {
        // All that the call queued is dropped.
        output.length = mark;
        if (error instanceof NoMemory && (tag === batch.RECEIVE || tag === batch.SETTLE)) {
          output.u8(batch.TOO_LARGE);
          output.text(error.message);
          if (tag === batch.RECEIVE) this.gate?.forget();
          cursor = this.callEnd;
          continue;
        }
        output.u8(batch.CRASH);
        output.text(`\`${batch.CALLS[tag]}\`: ${this.reason(error)}`);
        break;
      }
      if (this.room < CALL_BYTES) queued += CALL_BYTES - this.room;
      sent += this.messages;
      if (!goesOn) break;
    }
    if (this.logs.length > 0) {
      output.raw(this.logs.bytes.subarray(0, this.logs.length));
      this.logs.length = 0;
    }
  }
}

/** The key in `unfinished` of the id in `wide`: a number if it is one without loss, as all of a host's ids are. */
function messageKey() {
  return halves[1] < 0x200000 ? halves[1] * 4294967296 + halves[0] : wide[0];
}

function checkText(what, bytes, from, to) {
  if (to - from <= batch.SHORT) {
    let at = from;
    while (at < to && bytes[at] < 0x80) at++;
    if (at === to) return;
  }
  try {
    utf8.decode(bytes.subarray(from, to));
  } catch {
    throw new Fault(`${what} is not UTF-8`);
  }
}

/** Whether a guest ran an instruction `unreachable`. */
function isUnreachable(error) {
  return error instanceof WebAssembly.RuntimeError && /unreachable/i.test(error.message);
}

/** One line for people, of whatever a guest's call threw. */
function describe(error) {
  if (error instanceof Fault) return error.message;
  // Each engine has its own words.
  if (error instanceof RangeError || error?.name === "InternalError") return "call stack exhausted";
  if (!(error instanceof Error)) return "an exception that nobody caught";
  if (isUnreachable(error)) return "wasm `unreachable` instruction executed";
  return error.message.split("\n", 1)[0].replace(/ \(evaluating .*/, "");
}

/** Runs a buffer of calls and puts the report behind what is in the output. */
export function runBehind(guest, buffer) {
  calls = buffer;
  cursor = 0;
  try {
    guest.run();
  } finally {
    // Keeps no large buffer alive.
    calls = new Uint8Array(0);
  }
}

/** Where reports go now. */
export function reports() {
  return output;
}

/** From now on they go into a buffer of its own: the one before is given away. */
export function renewReports() {
  return (output = new batch.Output(65536));
}
