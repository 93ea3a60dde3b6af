// Answers as `Response`s, and `Response`s of handlers as answers.

import type { RawFailure, RawPayload } from "./wasm/starlane_npm.js";
import { BYTES, partsOf } from "./body.js";
import { why } from "./check.js";
import { StarlaneError, malformed } from "./errors.js";
import { Feed } from "./feed.js";
import { NOTHING } from "./payload.js";
import type { Shared } from "./shared.js";
import { readable, stopping, streamed } from "./stream.js";

/** The header of a payload with the status of an HTTP answer, if that is not 200. */
const STATUS = "starlane-status";
/** The header of a failure with its code. */
const CODE = "starlane-code";
/** Headers with this prefix belong to the hosts. */
export const OWN = "starlane-";
/** Statuses whose answers have no body. */
const WITHOUT_BODY = [204, 205, 304];
/** The maximum length of a failure's message, in UTF-16 units. */
const MAX_MESSAGE = 2_000;
const PROBLEM = "application/problem+json";
const TITLES: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  412: "Precondition Failed",
  413: "Payload Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Entity",
  429: "Too Many Requests",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  507: "Insufficient Storage",
};

/** An answer as a `Response`. Aborting `signal` makes reads of its body fail. Stops the stream and throws if it cannot be one. */
export function responseOf({ contentType, headers, body, stream }: RawPayload, to: string, signal: AbortSignal | undefined): Response {
  try {
    const init = head(headers, contentType, to);
    const isEmpty = WITHOUT_BODY.includes(init.status);
    if (isEmpty && (stream || body.length > 0)) throw guestFailed(`has the status ${init.status} and a body; this status allows none`, to);
    if (stream) return streamed(readable(stream, signal), init);
    return new Response(isEmpty || (body.length === 0 && !contentType) ? null : (body as Uint8Array<ArrayBuffer>), init);
  } catch (error) {
    stream?.stop(stopping(error));
    stream?.free();
    throw error;
  }
}

/** The status and the headers of an answer. */
function head(words: string[], contentType: string, to: string): { status: number; headers: Headers } {
  let status = 200;
  const headers = new Headers();
  for (const [name, value] of pairs(words)) {
    if (name !== STATUS) append(headers, name, value, to);
    else if (/^[23]\d\d$/.test(value)) status = Number(value);
    else throw guestFailed(`has a header \`${STATUS}\` that is not a status from 200 to 399`, to);
  }
  if (contentType) headers.set("content-type", contentType);
  // A browser removes some headers without an error.
  const { headers: kept } = new Response(null, { headers });
  for (const name of headers.keys()) if (!kept.has(name)) throw refused(name, "browsers remove it", to);
  return { status, headers };
}

/** The headers of a received payload: names and values in turn. Throws `malformed` for one that `Headers` refuses. */
export function received(words: string[], to: string): Headers {
  const headers = new Headers();
  for (const [name, value] of pairs(words)) append(headers, name, value, to);
  return headers;
}

function* pairs(words: string[]): Generator<[name: string, value: string]> {
  for (let at = 0; at < words.length; at += 2) yield [words[at] as string, words[at + 1] as string];
}

function append(headers: Headers, name: string, value: string, to: string): void {
  try {
    headers.append(name, value);
  } catch (cause) {
    throw refused(name, why(cause), to);
  }
}

function refused(name: string, reason: string, to: string): StarlaneError {
  const message = `the header \`${name}\` of the message cannot be part of \`Headers\` (${reason}): send it in the body, or percent-encoded`;
  return new StarlaneError("malformed", 400, message, to);
}

function guestFailed(what: string, to: string): StarlaneError {
  return new StarlaneError("guest-failed", 500, `the answer ${what}`, to);
}

/** A failure that is the resource's own answer, as a problem (RFC 9457). */
export function problemOf({ status: given, code, message, address }: RawFailure): Response {
  const status = given >= 400 && given < 600 ? given : 500;
  const problem = { type: "about:blank", title: TITLES[status] ?? "Failure", status, detail: message, code, address };
  return new Response(JSON.stringify(problem), { status, headers: { "content-type": PROBLEM, [CODE]: code } });
}

/** The payload of a handler's `Response`. Its body becomes a stream, also a short one. An error status becomes a failure. */
export async function payloadOf(response: Response, shared: Shared, signal: AbortSignal, failed: (error: unknown) => void): Promise<RawPayload> {
  const { status, body } = response;
  if (response.bodyUsed || body?.locked) throw malformed("the body of the Response was read already: return one that nobody reads");
  if (status >= 400) throw await failureOf(response);
  // Status 0 is that of `Response.error()`, and of what `fetch` got without the right to read it.
  if (status < 200) throw malformed(`the Response has the status ${status}: return one with a status from 200 to 599`);
  const words: string[] = [];
  for (const [name, value] of response.headers) {
    if (name.startsWith(OWN)) throw malformed(`the Response has the header \`${name}\`: the hosts own the names that begin with \`${OWN}\``);
    if (name !== "content-type") words.push(name, value);
  }
  if (status !== 200) words.push(STATUS, String(status));
  const contentType = response.headers.get("content-type") ?? (body ? BYTES : "");
  const parts = body && partsOf(body);
  return { contentType, headers: words, body: NOTHING, source: parts ? new Feed(shared, parts, signal, failed) : undefined };
}

/** The failure that a handler's `Response` with an error status stands for. Its text is the message. */
async function failureOf(response: Response): Promise<StarlaneError> {
  const { status, headers } = response;
  const said = (await response.text().catch(() => "")).slice(0, MAX_MESSAGE);
  let problem: { code?: unknown; detail?: unknown; address?: unknown } = {};
  if (headers.get("content-type")?.startsWith(PROBLEM)) {
    try {
      problem = Object(JSON.parse(said));
    } catch {
      // Then its text is the message.
    }
  }
  const text = (value: unknown) => (typeof value === "string" && value !== "" ? value : undefined);
  const code = text(problem.code) ?? headers.get(CODE) ?? `status-${status}`;
  const message = text(problem.detail) ?? (said || (TITLES[status] ?? `status ${status}`));
  return new StarlaneError(code, status, message, text(problem.address));
}
