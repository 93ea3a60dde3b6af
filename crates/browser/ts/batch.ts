// The bytes of `starlane_host::batch`, as this side of it reads and writes them: the numbers of calls and records, and buffers.

/** What a call is. */
export const START = 0;
export const RECEIVE = 1;
export const SETTLE = 2;
export const WAKE = 3;
export const SAVE = 4;
/** For people, by these numbers. */
export const CALLS: readonly string[] = ["start", "receive", "settle", "wake", "save"];

/** What a message is. */
export const KIND_REQUEST = 0;
export const KIND_EVENT = 2;

/** What a guest asks for. */
export const REQUEST = 1;
export const NOTIFY = 2;
export const REPLY = 3;
export const EMIT = 4;
export const SUBSCRIBE = 5;
export const UNSUBSCRIBE = 6;
export const WAKE_AFTER = 7;
/** What a call returned: nothing, no start, a message that is dealt with or not, state. */
export const DONE = 16;
export const REFUSED = 17;
export const RECEIVED = 18;
export const SAVED = 19;
/** Instead: a message that does not fit, one that the guest has no memory for, the end of the instance. */
export const MISFIT = 20;
export const TOO_LARGE = 21;
export const CRASH = 24;
export const LOG = 25;

/** How a request ends. */
export const SUCCESS = 0;
export const FAILURE = 1;

/** A level of a log line. */
export const ERROR = 4;

/** Up to this many bytes, a loop beats the calls that copy or check them. */
export const SHORT = 48;

const encoder = /* @__PURE__ */ new TextEncoder();
// A byte order mark is part of a text.
const decoder = /* @__PURE__ */ new TextDecoder("utf-8", { ignoreBOM: true });

/** The little-endian number at a place that is known to lie within. */
export function u32At(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** Bytes that grow at their end. */
export class Output {
  bytes: Uint8Array<ArrayBuffer>;
  length = 0;

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity);
  }

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    const need = this.length + count;
    if (need <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(need, this.bytes.length * 2, 1024));
    grown.set(this.bytes.subarray(0, this.length));
    this.bytes = grown;
  }

  u8(value: number): void {
    this.reserve(1);
    this.bytes[this.length++] = value;
  }

  u32(value: number): void {
    this.reserve(4);
    this.put(this.length, value);
    this.length += 4;
  }

  /** Writes a number over what stands at `at`. */
  put(at: number, value: number): void {
    const bytes = this.bytes;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
  }

  /** Appends bytes [from, to) of `source`, behind their number. */
  slice(source: Uint8Array, from: number, to: number): void {
    const length = to - from;
    this.reserve(length + 4);
    this.put(this.length, length);
    let at = this.length + 4;
    this.length = at + length;
    if (length > SHORT) this.bytes.set(source.subarray(from, to), at);
    else for (const bytes = this.bytes; from < to; ) bytes[at++] = source[from++]!;
  }

  /** Appends a text of ours. */
  text(text: string): void {
    const bytes = encoder.encode(text);
    this.slice(bytes, 0, bytes.length);
  }

  /** Appends bytes as they are. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}

/** Reads values of a buffer, one after the other. */
export class Reader {
  readonly bytes: Uint8Array;
  at: number;

  constructor(bytes: Uint8Array, at: number) {
    this.bytes = bytes;
    this.at = at;
  }

  u8(): number {
    return this.bytes[this.at++]!;
  }

  u32(): number {
    this.at += 4;
    return new DataView(this.bytes.buffer, this.bytes.byteOffset).getUint32(this.at - 4, true);
  }

  /** An id, as a key: the number is exact for all ids of hosts. */
  id(): number {
    return this.u32() + this.u32() * 4294967296;
  }

  /** A text or list of bytes. */
  slice(): Uint8Array {
    const length = this.u32();
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  text(): string {
    return decoder.decode(this.slice());
  }

  /** A payload; gives its body. */
  body(): Uint8Array {
    this.slice();
    for (let headers = this.u32(); headers > 0; headers--) {
      this.slice();
      this.slice();
    }
    return this.slice();
  }
}
