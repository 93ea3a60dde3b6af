// Bodies that a page sends: their content type, and their bytes as a whole or in parts.

import { isWhole, reading, shown } from "./check.js";
import { malformed } from "./errors.js";
import { NOTHING, bytesOf, encoder } from "./payload.js";

/** The maximum size of a Blob that is sent as a whole: a stream of this size would leave at once too. */
const MAX_WHOLE_BLOB_BYTES = 65_536;
/** The maximum size of text and bytes that are sent as a whole. A message has at most 16 MiB, with its headers. */
const MAX_WHOLE_BYTES = 16 * 1024 * 1024 - 128 * 1024;
const BYTES = "application/octet-stream";

/** A body to send. */
export interface Body {
  contentType: string;
  /** Either its bytes … */
  whole: Uint8Array;
  /** … or its parts. */
  parts: Parts | undefined;
}

/** The parts of a body: bytes, or texts. */
export interface Parts {
  next(): Promise<IteratorResult<unknown, unknown>>;
  /** Ends a source that is not read to its end. */
  cancel(reason: unknown): void;
}

/** Converts a value as the Fetch standard extracts a body. Bytes without a type are `application/octet-stream`. */
export async function bodyOf(value: unknown): Promise<Body> {
  if (value === undefined || value === null) return whole("", NOTHING);
  if (typeof value === "string") {
    if (!isWhole(value)) throw malformed("`body` has a lone surrogate: send well-formed Unicode");
    return bytes("text/plain;charset=UTF-8", encoder.encode(value));
  }
  const view = reading("`body`", () => bytesOf(value));
  if (view) return bytes(BYTES, view);
  if (is(globalThis.URLSearchParams, "toString", value)) {
    return bytes("application/x-www-form-urlencoded;charset=UTF-8", encoder.encode(URLSearchParams.prototype.toString.call(value)));
  }
  if (is(globalThis.Blob, "size", value)) return blob(value as Blob);
  if (is(globalThis.FormData, "keys", value)) return blob(await new Response(value as FormData).blob());
  if (is(globalThis.ReadableStream, "locked", value)) return stream(BYTES, value as ReadableStream<unknown>);
  const parts = reading("`body`", () => iterated(value));
  if (parts) return { contentType: BYTES, whole: NOTHING, parts };
  throw malformed(
    `\`body\` is ${shown(value)}, which fetch cannot send: pass a string, bytes, a Blob, a stream of bytes, FormData or ` +
      "URLSearchParams. For data, pass JSON.stringify(data) with `contentType: \"application/json\"`, or use host.request",
  );
}

function whole(contentType: string, bytes: Uint8Array): Body {
  return { contentType, whole: bytes, parts: undefined };
}

function bytes(contentType: string, bytes: Uint8Array): Body {
  if (bytes.length <= MAX_WHOLE_BYTES) return whole(contentType, bytes);
  let given = false;
  const next = async () => (given ? { done: true as const, value: undefined } : ((given = true), { value: bytes }));
  return { contentType, whole: NOTHING, parts: { next, cancel() {} } };
}

async function blob(blob: Blob): Promise<Body> {
  const type = blob.type || BYTES;
  if (blob.size > MAX_WHOLE_BLOB_BYTES) return stream(type, blob.stream());
  return whole(type, new Uint8Array(await blob.arrayBuffer()));
}

/** The parts of a stream, of which this is the only reader from now on. */
export function stream(contentType: string, stream: ReadableStream<unknown>): Body {
  let reader: ReadableStreamDefaultReader<unknown>;
  try {
    reader = stream.getReader();
  } catch (cause) {
    throw malformed("the stream of `body` is being read already: pass one that nobody reads", cause);
  }
  const cancel = (reason: unknown) => void reader.cancel(reason).catch(() => {});
  return { contentType, whole: NOTHING, parts: { next: () => reader.read(), cancel } };
}

function iterated(value: unknown): Parts | undefined {
  const begin = typeof value === "object" ? (value as Partial<AsyncIterable<unknown>>)[Symbol.asyncIterator] : undefined;
  if (typeof begin !== "function") return undefined;
  const iterator = begin.call(value);
  // A generator that waits for something ends when it goes on.
  const cancel = () => void (async () => iterator.return?.())().catch(() => {});
  return { next: async () => iterator.next(), cancel };
}

/** Whether a value is an object of a class of the browser, of any realm: only those have what the getter or method reads. */
function is(kind: { prototype: object } | undefined, name: string, value: unknown): boolean {
  if (kind === undefined || typeof value !== "object") return false;
  const { get, value: method } = Object.getOwnPropertyDescriptor(kind.prototype, name) ?? {};
  try {
    (get ?? (method as () => unknown)).call(value);
    return true;
  } catch {
    return false;
  }
}
