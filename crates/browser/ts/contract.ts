// Checks messages against the schemas of a mechtron's bind. The worker (or the page, for inline guests) loads this file when the
// first mechtron with schemas starts.

import { Batch, Checking } from "./abi.js";
import { Output, Reader } from "./batch.js";
import { type Schema, type Validator, compile } from "./schema.js";
import type { Members } from "./values.js";

/** The maximum depth of JSON, as in the server's reader. */
const MAX_JSON_DEPTH = 127;
/**
 * The time limit for the patterns of a schema, for one body. One text may take a hundredth of it. It must stay below `GRACE_MS` of
 * `sandbox/worker.rs`: the page terminates a worker that is silent for longer.
 */
const MAX_PATTERNS_MS = 1000;
/** Checking a longer body takes so long that the page is notified before. */
const MAX_UNANNOUNCED_BYTES = 65_536;

// Keeps a byte order mark, which is not JSON.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** A lone surrogate: JSON's escapes can express it, UTF-8 cannot. */
const HALF = /\p{Surrogate}/u;

/** The part of a contract that a schema belongs to. */
type BodyRole = "request" | "response" | "event";
/** Called with the number of bytes before a long check, and with 0 after it. */
type Begin = (bytes: number) => void;

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

export type { Gate };

/** Checks the messages of one instance. */
class Gate {
  readonly contract: Contract;
  readonly #most: number;
  readonly #begin: Begin | undefined;
  /** The operations of unanswered requests whose response has a schema, by id. */
  readonly #answering = new Map<number, string>();
  /** The message of the present call. */
  #message = 0;

  constructor(contract: Contract, most: number, begin: Begin | undefined) {
    this.contract = contract;
    this.#most = most;
    this.#begin = begin;
  }

  /**
   * Checks the message that begins at `cursor` in `calls`. If it does not match, writes the reason to `output` and
   * returns where the next call begins.
   */
  refuses(calls: Uint8Array, cursor: number, output: Output): number | undefined {
    const reader = new Reader(calls, cursor);
    this.#message = reader.id();
    const kind = reader.u8();
    // The bind of the emitter has the schema of an event, and the emitter's host has checked it.
    if (kind === Batch.KIND_EVENT) return undefined;
    reader.slice();
    reader.slice();
    const name = reader.text();
    const { body, stream } = reader.payload();
    if (body.length > MAX_UNANNOUNCED_BYTES) this.#begin?.(body.length);
    const wrong = stream === 0 ? this.contract.check("request", name, body, this.#most) : undefined;
    if (wrong) this.#begin?.(0);
    if (!wrong) {
      if (kind === Batch.KIND_REQUEST && this.contract.has("response", name)) this.#answering.set(this.#message, name);
      return undefined;
    }
    output.u8(Batch.MISFIT);
    output.text(wrong);
    return reader.at + 4;
  }

  /** Notes that the guest did not get the last checked message. */
  forget(): void {
    this.#answering.delete(this.#message);
  }

  /**
   * Checks the records of a call, from `mark` on in `output`. Replaces a response that does not match by a failure,
   * drops an event that does not match, and logs both to `logs`.
   */
  check(output: Output, mark: number, logs: Output): void {
    if (!this.contract.looksAtOutput) return;
    if (output.length - mark > MAX_UNANNOUNCED_BYTES) this.#begin?.(output.length - mark);
    const reader = new Reader(output.bytes.slice(mark, output.length), 0);
    const { bytes } = reader;
    output.length = mark;
    while (reader.at < bytes.length) {
      const begin = reader.at;
      const { wrong, responds } = this.#record(reader);
      if (!wrong) {
        output.raw(bytes.subarray(begin, reader.at));
        continue;
      }
      logs.u8(Batch.LOG);
      logs.u8(Batch.ERROR);
      logs.text(wrong);
      if (responds) {
        // Keeps the record's head: tag and id of the message.
        output.raw(bytes.subarray(begin, begin + 9));
        output.u8(Batch.FAILURE);
        output.failure({ status: 422, code: "schema-mismatch", message: wrong });
      }
    }
  }

  /** Reads a record. Returns its fault, if any, and whether it is a response. */
  #record(reader: Reader): { wrong?: string | undefined; responds?: boolean } {
    switch (reader.u8()) {
      case Batch.REQUEST:
        reader.id();
        reader.slice();
        reader.slice();
        reader.payload();
        reader.u32();
        break;
      case Batch.NOTIFY:
        reader.slice();
        reader.slice();
        reader.payload();
        break;
      case Batch.REPLY:
        return { wrong: this.#response(reader), responds: true };
      case Batch.EMIT: {
        const name = reader.text();
        return { wrong: this.contract.check("event", name, reader.payload().body, this.#most), responds: false };
      }
      case Batch.SUBSCRIBE:
      case Batch.UNSUBSCRIBE:
      case Batch.REFUSED:
        reader.slice();
        break;
      case Batch.WAKE_AFTER:
      case Batch.GRANT:
        reader.at += 12;
        break;
      case Batch.WAKE_AT:
        reader.at += 16;
        break;
      case Batch.OPEN_STREAM:
      case Batch.CANCEL_STREAM:
        reader.at += 8;
        break;
      case Batch.WRITE:
        reader.at += 8;
        reader.slice();
        break;
      case Batch.FINISH:
        reader.at += 8;
        if (reader.u8() === Batch.SOME) reader.failure();
        break;
      case Batch.RECEIVED:
        if (reader.u8() !== 0) this.#answering.delete(this.#message);
        break;
      case Batch.SAVED:
        reader.u32();
        reader.slice();
        break;
    }
    return {};
  }

  #response(reader: Reader): string | undefined {
    const id = reader.id();
    const name = this.#answering.get(id);
    this.#answering.delete(id);
    if (reader.u8() === Batch.SUCCESS) {
      const { body, stream } = reader.payload();
      return name === undefined || stream !== 0 ? undefined : this.contract.check("response", name, body, this.#most);
    }
    reader.failure();
    return undefined;
  }
}

/** The schemas of a mechtron's bind. */
class Contract {
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

  /** Checks a body of at most `most` bytes. Returns the fault, if any, with its place as a JSON pointer. */
  check(part: BodyRole, name: string, body: Uint8Array, most: number): string | undefined {
    const schema = this.#tables[part].get(name);
    if (!schema) return undefined;
    if (body.length > most) {
      const limit = `the maximum in the page's own thread is ${most}: launch the app without \`inline\``;
      return `the ${part} \`${name}\` has ${body.length} bytes; ${limit}`;
    }
    const wrong = fault(schema, body);
    return wrong && `the ${part} \`${name}\` does not fit its schema: ${wrong}`;
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
