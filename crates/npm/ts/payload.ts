// Values as the bodies of messages, and back.

import type { RawPayload } from "./wasm/starlane_npm.js";
import { StarlaneError } from "./errors.js";

const encoder = /* @__PURE__ */ new TextEncoder();
const decoder = /* @__PURE__ */ new TextDecoder();
const NOTHING = /* @__PURE__ */ new Uint8Array();

/**
 * A value as a message carries it: a string as `text/plain`, bytes as `application/octet-stream`, `undefined` as nothing,
 * anything else as `application/json`.
 */
export function encode(value: unknown): RawPayload {
  if (value === undefined) return payload("", NOTHING);
  if (typeof value === "string") return payload("text/plain", encoder.encode(value));
  if (value instanceof Uint8Array) return payload("application/octet-stream", value);
  if (value instanceof ArrayBuffer) return payload("application/octet-stream", new Uint8Array(value));
  let json: string | undefined;
  try {
    json = JSON.stringify(value);
  } catch (cause) {
    throw notJson(cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (json === undefined) throw notJson(`a ${typeof value} has no form in JSON`);
  return payload("application/json", encoder.encode(json));
}

/** The value that a message carried, by its content type: JSON parsed, text as a string, nothing as `undefined`, else bytes. */
export function decode({ contentType, body }: RawPayload): unknown {
  const type = contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type === "" && body.length === 0) return undefined;
  if (type === "application/json" || type.endsWith("+json")) return parse(decoder.decode(body));
  if (type.startsWith("text/")) return decoder.decode(body);
  return body;
}

function payload(contentType: string, body: Uint8Array): RawPayload {
  return { contentType, headers: [], body };
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    const message = `what came is called JSON and is none: ${(cause as Error).message}`;
    throw new StarlaneError("malformed", 400, message, undefined, { cause });
  }
}

function notJson(why: string, cause?: unknown): StarlaneError {
  const message = `the payload can't be written as JSON: ${why}; send a string, a Uint8Array or plain data`;
  return new StarlaneError("malformed", 400, message, undefined, { cause });
}
