// What messages must fit: the schemas of a mechtron's bind, checked where bodies are read. A file of its own, loaded by the
// worker (or the page, for inline guests) when the first mechtron with schemas starts.

import { Batch, Checking } from "./abi.js";
import { Output, Reader } from "./batch.js";
import { type Schema, type Validator, compile } from "./schema.js";
import type { Members } from "./values.js";

/** Deeper JSON is refused, as the server's reader does. */
const DEPTH = 127;
/**
 * How long the patterns of a schema may take for a body, in milliseconds: what one text may cost is a hundredth of it, and a worker
 * that is silent for longer than `GRACE` of `sandbox/worker.rs` is ended.
 */
const PATTERNS = 1000;
/** Longer bodies take so long to check that whoever waits for it is told before, in bytes. */
const LONG = 65_536;

// A byte order mark is no JSON.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** A half of a character that UTF-8 can't say; JSON's escapes can. */
const HALF = /\p{Surrogate}/u;

/** The part of a message that a schema is about. */
type Part = "request" | "response" | "event";
/** Called before so many bytes are checked, and with 0 after what took its time. */
type Begin = (bytes: number) => void;

type Schemas = Readonly<Record<string, Schema>>;

/** The contracts in use, each compiled once, by their texts. */
export type Contracts = Map<string, WeakRef<Contract>>;

/**
 * A gate for the messages of one instance. Calls and reports are those of `starlane_host::batch`.
 *
 * `text` is the contract: `{ requests, responses, events }`, schemas in normal form by the names of operations and events. Bodies
 * of more than `most` bytes are refused: checking them would hold up this thread.
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

/** What the messages of one instance pass. */
class Gate {
  readonly contract: Contract;
  readonly #most: number;
  readonly #begin: Begin | undefined;
  /** The operations of messages that wait for an answer with a schema, by id. */
  readonly #answering = new Map<number, string>();
  /** The message of the present call. */
  #message = 0;

  constructor(contract: Contract, most: number, begin: Begin | undefined) {
    this.contract = contract;
    this.#most = most;
    this.#begin = begin;
  }

  /**
   * Whether the message that begins at `cursor` in `calls` is not for the guest: then `output` says why, and where the next
   * call begins is given.
   */
  refuses(calls: Uint8Array, cursor: number, output: Output): number | undefined {
    const reader = new Reader(calls, cursor);
    this.#message = reader.id();
    const kind = reader.u8();
    // Another bind says what an event must fit, and its mechtron's host has checked it.
    if (kind === Batch.KIND_EVENT) return undefined;
    reader.slice();
    reader.slice();
    const name = reader.text();
    const body = reader.body();
    if (body.length > LONG) this.#begin?.(body.length);
    const wrong = this.contract.check("request", name, body, this.#most);
    if (wrong) this.#begin?.(0);
    if (!wrong) {
      if (kind === Batch.KIND_REQUEST && this.contract.has("response", name)) this.#answering.set(this.#message, name);
      return undefined;
    }
    output.u8(Batch.MISFIT);
    output.text(wrong);
    return reader.at + 4;
  }

  /** The guest did not get the message that was checked last. */
  forget(): void {
    this.#answering.delete(this.#message);
  }

  /**
   * Checks what a call said, from `mark` on in `output`: a response that does not fit becomes a failure, an event that does not
   * fit is dropped, and `logs` say so.
   */
  check(output: Output, mark: number, logs: Output): void {
    if (!this.contract.looksAtOutput) return;
    if (output.length - mark > LONG) this.#begin?.(output.length - mark);
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
        // The reply to the same message, but a failure.
        output.raw(bytes.subarray(begin, begin + 9));
        output.u8(Batch.FAILURE);
        output.u8(422 & 255);
        output.u8(422 >>> 8);
        output.text("schema-mismatch");
        output.text(wrong);
      }
    }
  }

  /** Reads a record; what is wrong with it, and whether it is a response. */
  #record(reader: Reader): { wrong?: string | undefined; responds?: boolean } {
    switch (reader.u8()) {
      case Batch.REQUEST:
        reader.id();
        reader.slice();
        reader.slice();
        reader.body();
        reader.u32();
        break;
      case Batch.NOTIFY:
        reader.slice();
        reader.slice();
        reader.body();
        break;
      case Batch.REPLY:
        return { wrong: this.#response(reader), responds: true };
      case Batch.EMIT: {
        const name = reader.text();
        return { wrong: this.contract.check("event", name, reader.body(), this.#most), responds: false };
      }
      case Batch.SUBSCRIBE:
      case Batch.UNSUBSCRIBE:
      case Batch.REFUSED:
        reader.slice();
        break;
      case Batch.WAKE_AFTER:
        reader.at += 12;
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
      const body = reader.body();
      return name === undefined ? undefined : this.contract.check("response", name, body, this.#most);
    }
    reader.at += 2;
    reader.slice();
    reader.slice();
    return undefined;
  }
}

/** The schemas of a mechtron's bind. */
class Contract {
  /** Whether what guests say is read at all. */
  readonly looksAtOutput: boolean;
  readonly #tables: Readonly<Record<Part, ReadonlyMap<string, Validator>>>;

  constructor({ requests, responses, events }: { requests: Schemas; responses: Schemas; events: Schemas }) {
    this.#tables = { request: compiled(requests), response: compiled(responses), event: compiled(events) };
    this.looksAtOutput = this.#tables.response.size + this.#tables.event.size > 0;
  }

  /** Whether there is a schema for a body. `name` is that of the operation or event. */
  has(part: Part, name: string): boolean {
    return this.#tables[part].has(name);
  }

  /** Checks a body, if it has at most `most` bytes. Gives what does not fit and where, as a JSON pointer. */
  check(part: Part, name: string, body: Uint8Array, most: number): string | undefined {
    const schema = this.#tables[part].get(name);
    if (!schema) return undefined;
    if (body.length > most) {
      const told = `in the page's own thread, at most ${most} bytes are: launch the app without \`inline\``;
      return `the ${part} \`${name}\` has ${body.length} bytes, which are too many to check ${told}`;
    }
    const wrong = fault(schema, body);
    return wrong && `the ${part} \`${name}\` does not fit its schema: ${wrong}`;
  }
}

function compiled(schemas: Schemas): ReadonlyMap<string, Validator> {
  return new Map(Object.entries(schemas).map(([name, schema]) => [name, compile(schema)]));
}

/** What does not fit in a body, for people. */
function fault(check: Validator, body: Uint8Array): string | undefined {
  let text: string;
  let value: unknown;
  try {
    text = utf8.decode(body);
    value = JSON.parse(text);
  } catch (error) {
    return `it is no JSON: ${(error as Error).message}`;
  }
  const names = namesIn(value, DEPTH);
  if (Number.isNaN(names)) return "it is no JSON that all readers take alike: too deep, or a number or text that can't be kept";
  // Of two readers one may take the first and the other the last.
  if (names !== namesWritten(text)) return "it has an object with a name twice";
  try {
    const found = check(value, Math.min(Checking.STEPS + Checking.STEPS_PER_BYTE * body.length, Checking.MAX_STEPS), PATTERNS);
    return found && `at ${found.at.slice(0, Checking.QUOTED_CHARS) || "its root"}: ${found.reason.slice(0, Checking.QUOTED_CHARS)}`;
  } catch (error) {
    // The stack of this browser was too small, or it took too long.
    return `it can't be checked here: ${(error as Error).message}`;
  }
}

/**
 * How many names the objects of a value have; NaN if the server's reader would not give the same value: its numbers are finite,
 * its texts UTF-8, its depth is bounded.
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

/** How many names stand in a JSON text: texts that a colon follows. */
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

/** Whether an odd number of backslashes stands before a place. */
function isEscaped(text: string, at: number): boolean {
  let before = at;
  while (text[before - 1] === "\\") before--;
  return (at - before) % 2 === 1;
}
