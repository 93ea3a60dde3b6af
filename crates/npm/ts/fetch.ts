// `host.fetch`: requests and answers with the types of the Fetch standard.

import type { RawFailure, RawPayload } from "./wasm/starlane_npm.js";
import { bodyOf, type Body } from "./body.js";
import { abortSignal, operation as operationName, options as optionsOf, reading, text } from "./check.js";
import { malformed } from "./errors.js";
import { Feed } from "./feed.js";
import { OWN, problemOf, responseOf } from "./response.js";
import type { Shared } from "./shared.js";
import { abortable, milliseconds } from "./signals.js";
import type { FetchOptions } from "./types.js";

/** Sends a request, and resolves with its answer when the head of that is there. */
export async function fetch(shared: Shared, to: string, operation: string, options: FetchOptions | undefined): Promise<Response> {
  text("to", to);
  operationName("operation", operation);
  const given = optionsOf("host.fetch", options, ["body", "headers", "contentType", "signal", "timeout"]);
  const [signal, patience] = [abortSignal(given.signal), milliseconds(given.timeout)];
  const headers = headersOf(given.headers);
  const named = given.contentType === undefined ? headers.get("content-type") : text("contentType", given.contentType);
  headers.delete("content-type");
  signal?.throwIfAborted();

  const body = await abortable(signal, bodyOf(given.body));
  // The request ends by the signal, or when the source of its body fails.
  const request = new AbortController();
  const abort = () => request.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  const source = body.parts && new Feed(shared, body.parts, signal, (error) => request.abort(error));
  const payload: RawPayload = { contentType: typeOf(named, body), headers: [...headers].flat(), body: body.whole, source };
  try {
    const answer = await shared.call(request.signal, (ticket) => send(shared, to, operation, payload, patience, ticket));
    return answer instanceof Response ? answer : responseOf(answer, to, signal);
  } catch (error) {
    source?.cancel(error);
    throw error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

/** Sends the request. A failure that is the resource's own answer becomes a `Response`. */
async function send(shared: Shared, to: string, operation: string, payload: RawPayload, timeout: number, ticket: number): Promise<RawPayload | Response> {
  try {
    return await shared.raw.fetch(to, operation, payload, timeout, ticket);
  } catch (thrown) {
    if ((thrown as Partial<RawFailure> | undefined)?.answer !== true) throw thrown;
    return problemOf(thrown as RawFailure);
  }
}

function headersOf(given: HeadersInit | undefined): Headers {
  const headers = reading("`headers`", () => new Headers(given));
  const own = [...headers.keys()].find((name) => name.startsWith(OWN));
  if (own !== undefined) throw malformed(`\`headers\` has \`${own}\`: the hosts own the names that begin with \`${OWN}\``);
  return headers;
}

/** The content type of a request: what the caller named, or what the body implies. An empty body has none. */
function typeOf(named: string | null, { contentType, whole, parts }: Body): string {
  return parts || whole.length > 0 || contentType ? (named ?? contentType) : "";
}
