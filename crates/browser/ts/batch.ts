// Reads and writes the buffers of `starlane_host::batch`. The numbers of calls and records are those of `starlane_abi::batch`.

/** The names of calls by their numbers, for people. */
export const CALLS: readonly string[] = ["start", "receive", "settle", "wake", "save", "part", "ended", "ready"];

/** Up to this many bytes, a loop is faster than the built-in functions that copy or check them. */
export const MAX_LOOP_BYTES = 48;

const encoder = /* @__PURE__ */ new TextEncoder();
// Keeps a byte order mark.
const decoder = /* @__PURE__ */ new TextDecoder("utf-8", { ignoreBOM: true });

/** Decodes bytes that are UTF-8. */
export function utf8Text(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** Reads the little-endian number at `at`, which must lie inside `bytes`. */
export function u32At(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** The reason why a request or a stream failed. */
export interface Failure {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** A buffer that grows at its end. */
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

  /** An id, which hosts keep exact as a number. */
  id(value: number): void {
    this.u32(value % 4294967296);
    this.u32(value / 4294967296);
  }

  /** Overwrites the number at `at`. */
  put(at: number, value: number): void {
    const bytes = this.bytes;
    bytes[at] = value;
    bytes[at + 1] = value >>> 8;
    bytes[at + 2] = value >>> 16;
    bytes[at + 3] = value >>> 24;
  }

  /** Appends the length of the bytes [from, to) of `source`, then the bytes. */
  slice(source: Uint8Array, from: number, to: number): void {
    const length = to - from;
    this.reserve(length + 4);
    this.put(this.length, length);
    let at = this.length + 4;
    this.length = at + length;
    if (length > MAX_LOOP_BYTES) this.bytes.set(source.subarray(from, to), at);
    else for (const bytes = this.bytes; from < to; ) bytes[at++] = source[from++]!;
  }

  /** Appends a text that has no lone surrogates. */
  text(text: string): void {
    const bytes = encoder.encode(text);
    this.slice(bytes, 0, bytes.length);
  }

  /** Appends a failure. */
  failure({ status, code, message }: Failure): void {
    this.u8(status);
    this.u8(status >>> 8);
    this.text(code);
    this.text(message);
  }

  /** Appends bytes without their length. */
  raw(bytes: Uint8Array): void {
    this.reserve(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}

/** The content type and the body of a payload, and the number of its stream, or 0. */
export interface PayloadView {
  readonly type: Uint8Array;
  readonly body: Uint8Array;
  readonly stream: number;
}

/** Reads the values of a buffer in order. */
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

  /** An id, as a key of maps. Hosts use only ids that are exact as a number. */
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
    return utf8Text(this.slice());
  }

  /** Reads a payload. */
  payload(): PayloadView {
    const type = this.slice();
    for (let headers = this.u32(); headers > 0; headers--) {
      this.slice();
      this.slice();
    }
    return { type, body: this.slice(), stream: this.id() };
  }

  /** Moves past a failure. */
  failure(): void {
    this.at += 2;
    this.slice();
    this.slice();
  }
}
