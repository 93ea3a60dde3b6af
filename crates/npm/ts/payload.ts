// Encodes values as bodies of messages, and decodes them. A value arrives equal to what was sent, or is refused.

import type { RawPayload } from "./wasm/starlane_npm.js";
import { isWhole, reading, shown } from "./check.js";
import { malformed } from "./errors.js";

export const encoder = /* @__PURE__ */ new TextEncoder();
// Keeps a byte order mark, and refuses bytes that are not UTF-8 instead of replacing them.
const decoder = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
export const NOTHING = /* @__PURE__ */ new Uint8Array();

/** The advice for a value that cannot be sent, by its kind. */
const INSTEAD: Record<string, string> = {
  Blob: "send `await blob.arrayBuffer()`",
  File: "send `await file.arrayBuffer()`",
  Date: "send `date.toISOString()`",
  FormData: "send `Object.fromEntries(formData)`",
  Map: "send `[...map]` or `Object.fromEntries(map)`",
  Promise: "await it first",
  Set: "send `[...set]`",
  URL: "send `url.href`",
  bigint: "send it as a string",
  undefined: "leave it out, or send null",
};

/**
 * Encodes a value: a string as `text/plain`, bytes as `application/octet-stream`, `undefined` as an empty body, plain data as
 * `application/json`. Throws `malformed` for anything else, with the place in the value.
 */
export function encode(value: unknown): RawPayload {
  return reading("the body", () => {
    if (value === undefined) return payload("", NOTHING);
    if (typeof value === "string") return payload("text/plain", encoder.encode(whole(value, () => "the body")));
    const bytes = bytesOf(value);
    if (bytes) return payload("application/octet-stream", bytes);
    return payload("application/json", encoder.encode(json(value)));
  });
}

/** Decodes a body by its content type: JSON as data, text as a string, an empty body as `undefined`, anything else as bytes. */
export function decode({ contentType, body }: RawPayload): unknown {
  const type = contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type === "" && body.length === 0) return undefined;
  const isJson = type === "application/json" || type.endsWith("+json");
  if (!isJson && !type.startsWith("text/")) return body;
  try {
    const text = decoder.decode(body);
    return isJson ? JSON.parse(text) : text;
  } catch (cause) {
    const message = `the received body of type ${type} is not ${isJson ? "JSON" : "UTF-8"}: ${(cause as Error).message}`;
    throw malformed(message, cause);
  }
}

export function payload(contentType: string, body: Uint8Array): RawPayload {
  return { contentType, headers: [], body };
}

/** The bytes of a buffer, or of a view of one, of any realm. Throws for a transferred buffer. */
export function bytesOf(value: unknown): Uint8Array | undefined {
  let view: ArrayBufferView | undefined;
  if (ArrayBuffer.isView(value)) {
    view = value;
    // Throws for a transferred buffer; a DataView throws by itself when it is read.
    if (kindOf(value) !== "DataView") typedKeys.call(value);
  } else if (kindOf(value).endsWith("Buffer")) {
    // The constructor throws for anything but a real buffer.
    view = new DataView(value as ArrayBuffer);
  }
  return view && new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

const typedKeys = /* @__PURE__ */ Object.getPrototypeOf(Uint8Array.prototype).keys as () => unknown;

function whole(text: string, place: () => string): string {
  if (isWhole(text)) return text;
  throw malformed(`${place()} has a lone surrogate: send well-formed Unicode`);
}

/**
 * Writes JSON that is read back as an equal value. `JSON.stringify` would drop or replace values that JSON cannot express.
 * Reads each member once: a getter or a proxy may return another value the second time.
 */
function json(root: unknown): string {
  const path: (string | number)[] = [];
  const open = new Set<object>();
  const place = () => path.reduce<string>((at, name) => at + (typeof name === "number" ? `[${name}]` : `.${name.slice(0, 60)}`), "`body") + "`";

  const refuse = (value: unknown, instead = INSTEAD[typeof value === "object" ? kindOf(value) : typeof value]): never => {
    throw malformed(`${place()} is ${shown(value)}, which cannot be sent: ${instead ?? "send plain data, a string, or bytes alone"}`);
  };
  const member = (name: string | number, value: unknown): string => {
    path.push(name);
    const text = write(value);
    path.pop();
    return text;
  };
  const write = (value: unknown): string => {
    if (typeof value === "string") return JSON.stringify(whole(value, place));
    if (typeof value === "number" && Number.isFinite(value)) return Object.is(value, -0) ? "-0" : String(value);
    if (typeof value === "boolean" || value === null) return String(value);
    if (typeof value !== "object") return refuse(value);
    if (open.has(value)) throw malformed(`${place()} contains itself: send data without cycles`);
    open.add(value);
    const names = Object.keys(value);
    const named = Object.getOwnPropertySymbols(value).some((symbol) => Object.prototype.propertyIsEnumerable.call(value, symbol));
    if (named) return refuse(value);
    let text: string;
    if (Array.isArray(value)) {
      // JSON cannot express holes and extra properties of a list.
      if (names.length !== value.length || !Array.isArray(Object.getPrototypeOf(value))) return refuse(value, "send a list without holes and extra properties");
      text = `[${names.map((_, at) => member(at, value[at])).join()}]`;
    } else {
      if (!isPlain(value)) return refuse(value);
      const members = names.map((name) => `${JSON.stringify(whole(name, place))}:${member(name, (value as Record<string, unknown>)[name])}`);
      text = `{${members.join()}}`;
    }
    open.delete(value);
    return text;
  };
  return write(root);
}

/** Whether an object was made by `{}`, `Object.create(null)` or JSON, in any realm. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  const isOwn = prototype === null || (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "isPrototypeOf"));
  return isOwn && kindOf(value) === "Object";
}

/** The kind of object that a value claims to be: `Map`. */
export function kindOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}
