// Values as the bodies of messages, and back. Each value comes back equal, or is refused: none is changed on its way.

import type { RawPayload } from "./wasm/starlane_npm.js";
import { isWhole, reading, shown } from "./check.js";
import { malformed } from "./errors.js";

const encoder = /* @__PURE__ */ new TextEncoder();
// A byte order mark is part of a text, and bytes that are not UTF-8 are not replaced.
const decoder = /* @__PURE__ */ new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const NOTHING = /* @__PURE__ */ new Uint8Array();

/** What to send instead, by the kind of a value. */
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
 * A value as a message carries it: a string as `text/plain`, bytes as `application/octet-stream`, `undefined` as nothing,
 * plain data as `application/json`. Throws `malformed` for anything else, and says where in the value that is.
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

/** The value that a message carried, by its content type: JSON parsed, text as a string, nothing as `undefined`, else bytes. */
export function decode({ contentType, body }: RawPayload): unknown {
  const type = contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type === "" && body.length === 0) return undefined;
  const isJson = type === "application/json" || type.endsWith("+json");
  if (!isJson && !type.startsWith("text/")) return body;
  try {
    const text = decoder.decode(body);
    return isJson ? JSON.parse(text) : text;
  } catch (cause) {
    const message = `the body that came is not ${isJson ? "JSON" : "UTF-8"}, though its type is ${type}: ${(cause as Error).message}`;
    throw malformed(message, cause);
  }
}

function payload(contentType: string, body: Uint8Array): RawPayload {
  return { contentType, headers: [], body };
}

/** The bytes of a buffer or of a view of one, of any realm. Throws for a buffer that was given away. */
function bytesOf(value: unknown): Uint8Array | undefined {
  let view: ArrayBufferView | undefined;
  if (ArrayBuffer.isView(value)) {
    view = value;
    // Throws where a buffer is gone, as reading a DataView does by itself.
    if (kindOf(value) !== "DataView") typedKeys.call(value);
  } else if (kindOf(value).endsWith("Buffer")) {
    // Takes a real buffer and nothing else.
    view = new DataView(value as ArrayBuffer);
  }
  return view && new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}

const typedKeys = /* @__PURE__ */ Object.getPrototypeOf(Uint8Array.prototype).keys as () => unknown;

function whole(text: string, place: () => string): string {
  if (isWhole(text)) return text;
  throw malformed(`${place()} has half of a character (a lone surrogate): send whole characters`);
}

/**
 * JSON that is read as an equal value. `JSON.stringify` would leave out what it has no form for, or put something else there.
 * Each member is read once: a second look at a getter or a proxy may show something else.
 */
function json(root: unknown): string {
  const path: (string | number)[] = [];
  const open = new Set<object>();
  const place = () => path.reduce<string>((at, name) => at + (typeof name === "number" ? `[${name}]` : `.${name.slice(0, 60)}`), "`body") + "`";

  const refuse = (value: unknown, instead = INSTEAD[typeof value === "object" ? kindOf(value) : typeof value]): never => {
    throw malformed(`${place()} is ${shown(value)}, which a message can't carry: ${instead ?? "send plain data, a string, or bytes alone"}`);
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
      // With holes or properties of its own it is more, or less, than a list.
      if (names.length !== value.length || !Array.isArray(Object.getPrototypeOf(value))) return refuse(value, "send a list without holes and other properties");
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

/** Whether an object is made by `{}`, `Object.create(null)` or JSON, in any realm. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  const isOwn = prototype === null || (Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, "isPrototypeOf"));
  return isOwn && kindOf(value) === "Object";
}

/** What kind of object a value says that it is: `Map`. */
function kindOf(value: unknown): string {
  return Object.prototype.toString.call(value).slice(8, -1);
}
