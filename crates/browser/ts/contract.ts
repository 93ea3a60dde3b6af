// Checks messages against the schemas of a mechtron's bind. The worker (or the page, for inline guests) loads this file when the
// first mechtron with schemas starts.

import { Checking } from "./abi.js";
import { type Begin, Gate } from "./gate.js";
import { type Schema, type Validator, compile } from "./schema.js";
import type { Members } from "./values.js";

/** The maximum depth of JSON, as in the server's reader. */
const MAX_JSON_DEPTH = 127;
/**
 * The time limit for the patterns of a schema, for one body. One text may take a hundredth of it. It must stay below `GRACE_MS` of
 * `sandbox/worker.rs`: the page terminates a worker that is silent for longer.
 */
const MAX_PATTERNS_MS = 1000;

// Keeps a byte order mark, which is not JSON.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** A lone surrogate: JSON's escapes can express it, UTF-8 cannot. */
const HALF = /\p{Surrogate}/u;

/** The part of a contract that a schema belongs to. */
export type BodyRole = "request" | "response" | "event";

type Schemas = Readonly<Record<string, Schema>>;

/** The compiled contracts in use, by their texts. */
export type Contracts = Map<string, WeakRef<Contract>>;

/**
 * Makes a gate for the messages of one instance. Calls and reports are those of `starlane_host::batch`.
 *
 * `text` is the contract: `{ requests, responses, events }`, schemas in normal form by the names of operations and events. `most`
 * is the maximum size of a body in bytes: checking a larger one would block this thread.
 */
export function gate(known: Contracts, text: string, most: number, begin?: Begin): Gate {
  let contract = known.get(text)?.deref();
  if (!contract) {
    contract = new Contract(JSON.parse(text));
    for (const [text, other] of known) if (!other.deref()) known.delete(text);
    known.set(text, new WeakRef(contract));
  }
  return new Gate(contract, most, begin);
}

/** The schemas of a mechtron's bind. */
export class Contract {
  /** Whether there are schemas for the guest's own messages. */
  readonly looksAtOutput: boolean;
  readonly #tables: Readonly<Record<BodyRole, ReadonlyMap<string, Validator>>>;

  constructor({ requests, responses, events }: { requests: Schemas; responses: Schemas; events: Schemas }) {
    this.#tables = { request: compiled(requests), response: compiled(responses), event: compiled(events) };
    this.looksAtOutput = this.#tables.response.size + this.#tables.event.size > 0;
  }

  /** Whether there is a schema for a body. `name` is the operation or event. */
  has(part: BodyRole, name: string): boolean {
    return this.#tables[part].has(name);
  }

  /**
   * Checks a body of at most `most` bytes, or a line of a stream with its number. Returns the fault, if any, with its place as a JSON
   * pointer.
   */
  check(part: BodyRole, name: string, body: Uint8Array, most: number, line?: number): string | undefined {
    const schema = this.#tables[part].get(name);
    if (!schema) return undefined;
    if (body.length > most) {
      const limit = `the maximum in the page's own thread is ${most}: launch the app without \`inline\``;
      const what = line === undefined ? "" : `line ${line} of `;
      return `${what}the ${part} \`${name}\` has ${body.length} bytes; ${limit}`;
    }
    const wrong = fault(schema, body);
    return wrong && `the ${part} \`${name}\` does not fit its schema: ${line === undefined ? "" : `line ${line}: `}${wrong}`;
  }
}

function compiled(schemas: Schemas): ReadonlyMap<string, Validator> {
  return new Map(Object.entries(schemas).map(([name, schema]) => [name, compile(schema)]));
}

/** The fault of a body, for people. */
function fault(check: Validator, body: Uint8Array): string | undefined {
  let text: string;
  let value: unknown;
  try {
    text = utf8.decode(body);
    value = JSON.parse(text);
  } catch (error) {
    return `it is not valid JSON: ${(error as Error).message}`;
  }
  const names = namesIn(value, MAX_JSON_DEPTH);
  if (Number.isNaN(names)) return "it is not JSON that all readers read alike: too deep, or an unrepresentable number or text";
  // Some readers take the first member of a name, others the last.
  if (names !== namesWritten(text)) return "it has an object with a name twice";
  try {
    const found = check(value, Math.min(Checking.STEPS + Checking.STEPS_PER_BYTE * body.length, Checking.MAX_STEPS), MAX_PATTERNS_MS);
    return found && `at ${found.at.slice(0, Checking.QUOTED_CHARS) || "its root"}: ${found.reason.slice(0, Checking.QUOTED_CHARS)}`;
  } catch (error) {
    // The browser's stack was too small, or the check took too long.
    return `it cannot be checked here: ${(error as Error).message}`;
  }
}

/**
 * Counts the names of all objects in a value. Returns NaN if the server's reader would refuse the value: a number that is not
 * finite, a text that is not UTF-8, or too much depth.
 */
function namesIn(value: unknown, depth: number): number {
  if (typeof value === "number") return Number.isFinite(value) ? 0 : NaN;
  if (typeof value === "string") return HALF.test(value) ? NaN : 0;
  if (typeof value !== "object" || value === null) return 0;
  if (depth === 0) return NaN;
  let count = 0;
  if (Array.isArray(value)) {
    for (const item of value) count += namesIn(item, depth - 1);
  } else {
    for (const name of Object.keys(value)) count += 1 + namesIn(name, 0) + namesIn((value as Members)[name], depth - 1);
  }
  return count;
}

/** Counts the names in a JSON text: the strings that a colon follows. */
function namesWritten(text: string): number {
  let count = 0;
  for (let begin = text.indexOf('"'); begin >= 0; ) {
    let end = text.indexOf('"', begin + 1);
    while (isEscaped(text, end)) end = text.indexOf('"', end + 1);
    do end++;
    while (text.charCodeAt(end) <= 32);
    if (text[end] === ":") count++;
    begin = text.indexOf('"', end);
  }
  return count;
}

/** Whether an odd number of backslashes precedes a place. */
function isEscaped(text: string, at: number): boolean {
  let before = at;
  while (text[before - 1] === "\\") before--;
  return (at - before) % 2 === 1;
}
