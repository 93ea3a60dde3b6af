// Bodies that a page sends: their content type, and their bytes as a whole or in parts.

import { isWhole, reading, shown } from "./check.js";
import { malformed } from "./errors.js";
import { NOTHING, bytesOf, encoder } from "./payload.js";

/** The maximum size of a Blob that is sent as a whole: a stream of this size would leave at once too. */
const MAX_WHOLE_BLOB_BYTES = 65_536;
/** The maximum size of text and bytes that are sent as a whole. A message has at most 16 MiB, with its headers. */
const MAX_WHOLE_BYTES = 16 * 1024 * 1024 - 128 * 1024;
/** The content type of bytes without one. */
export const BYTES = "application/octet-stream";

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
  if (is(globalThis.FormData, "keys", value)) return multipart(value as FormData);
  if (is(globalThis.ReadableStream, "locked", value)) return streamed(BYTES, partsOf(value as ReadableStream<unknown>));
  const parts = reading("`body`", () => iterated(value));
  if (parts) return streamed(BYTES, parts);
  throw malformed(
    `\`body\` is ${shown(value)}, which fetch cannot send: pass a string, bytes, a Blob, a stream of bytes, FormData or ` +
      "URLSearchParams. For data, pass JSON.stringify(data) with `contentType: \"application/json\"`, or use host.request",
  );
}

function whole(contentType: string, bytes: Uint8Array): Body {
  return { contentType, whole: bytes, parts: undefined };
}

function streamed(contentType: string, parts: Parts): Body {
  return { contentType, whole: NOTHING, parts };
}

function bytes(contentType: string, bytes: Uint8Array): Body {
  if (bytes.length <= MAX_WHOLE_BYTES) return whole(contentType, bytes);
  let given = false;
  const next = async () => (given ? { done: true as const, value: undefined } : ((given = true), { value: bytes }));
  return streamed(contentType, { next, cancel() {} });
}

async function blob(blob: Blob, type = blob.type || BYTES): Promise<Body> {
  if (blob.size > MAX_WHOLE_BLOB_BYTES) return streamed(type, partsOf(blob.stream()));
  return whole(type, new Uint8Array(await blob.arrayBuffer()));
}

/** Encodes a form as the HTML standard does. WebKit cannot read a `Response` of a form with files. */
function multipart(form: FormData): Promise<Body> {
  const boundary = `----starlane${Math.random().toString(36).slice(2)}${Math.random().toString(36).slice(2)}`;
  const lines = (text: string) => text.replace(/\r\n?|\n/g, "\r\n");
  const name = (text: string) => text.replace(/\n/g, "%0A").replace(/\r/g, "%0D").replace(/"/g, "%22");
  const parts: BlobPart[] = [];
  for (const [key, value] of form) {
    parts.push(`--${boundary}\r\nContent-Disposition: form-data; name="${name(lines(key))}"`);
    if (typeof value === "string") parts.push(`\r\n\r\n${lines(value)}\r\n`);
    else parts.push(`; filename="${name(value.name)}"\r\nContent-Type: ${value.type || BYTES}\r\n\r\n`, value, "\r\n");
  }
  // The type of a Blob is in lower case, and so would be the boundary in it.
  return blob(new Blob([...parts, `--${boundary}--\r\n`]), `multipart/form-data; boundary=${boundary}`);
}

/** The parts of a stream. Nobody else can read it from now on. */
export function partsOf(stream: ReadableStream<unknown>): Parts {
  let reader: ReadableStreamDefaultReader<unknown>;
  try {
    reader = stream.getReader();
  } catch (cause) {
    throw malformed("the stream of `body` is being read already: pass one that nobody reads", cause);
  }
  return { next: () => reader.read(), cancel: (reason) => void reader.cancel(reason).catch(() => {}) };
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
