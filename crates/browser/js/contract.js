// What messages must fit: the schemas of a mechtron's bind, checked where bodies are read. A file of its own, loaded by the
// worker (or the page, for inline guests) when the first mechtron with schemas starts.

import { compile } from "./schema.js";

/** Deeper JSON is refused, as the server's reader does. */
const DEPTH = 127;
/** How long the patterns of a schema may take, in milliseconds, and as much more for each byte of a body. Workers get more. */
const PATTERNS = 100;
const PATTERNS_PER_BYTE = 0.0001;
/** How much of a fault and of its place a reason may quote, in characters. */
const QUOTED = 160;

// A byte order mark is no JSON.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** A half of a character that UTF-8 can't say; JSON's escapes can. */
const HALF = /\p{Surrogate}/u;
const known = new Map();

/**
 * A gate for the messages of one instance. Calls and reports are those of `starlane_host::batch`.
 *
 * @param {string} text the contract: `{ requests, responses, events }`, schemas in normal form by the names of operations and
 *   events
 * @param {number} most longer bodies are refused, in bytes: checking them would hold up this thread
 */
export function gate(text, most) {
  let found = known.get(text);
  if (!found) known.set(text, (found = new Contract(JSON.parse(text), most)));
  return new Gate(found);
}

/** Reads values of a buffer, one after the other. */
class Reader {
  constructor(bytes, at) {
    this.bytes = bytes;
    this.at = at;
  }

  u8() {
    return this.bytes[this.at++];
  }

  u32() {
    this.at += 4;
    return new DataView(this.bytes.buffer, this.bytes.byteOffset).getUint32(this.at - 4, true);
  }

  /** An id, as a key: the number is exact for all ids of hosts. */
  id() {
    return this.u32() + this.u32() * 4294967296;
  }

  /** A text or list of bytes. */
  slice() {
    const length = this.u32();
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  text() {
    return utf8.decode(this.slice());
  }

  /** A payload; gives its body. */
  body() {
    this.slice();
    for (let headers = this.u32(); headers > 0; headers--) {
      this.slice();
      this.slice();
    }
    return this.slice();
  }
}

class Gate {
  constructor(contract) {
    this.contract = contract;
    /** The operations of messages that wait for an answer with a schema, by id. */
    this.answering = new Map();
    /** The message of the present call. */
    this.message = undefined;
  }

  /**
   * Whether the message that begins at `cursor` in `calls` is not for the guest: then `output` says why, and where the next
   * call begins is given.
   */
  refuses(calls, cursor, output) {
    const reader = new Reader(calls, cursor);
    this.message = reader.id();
    const kind = reader.u8();
    // An event was checked where it came from.
    if (kind === 2) return undefined;
    reader.slice();
    reader.slice();
    const name = reader.text();
    const wrong = this.contract.check("request", name, reader.body());
    if (!wrong) {
      if (kind === 0 && this.contract.has("answer", name)) this.answering.set(this.message, name);
      return undefined;
    }
    output.u8(20);
    output.text(wrong);
    return reader.at + 4;
  }

  /**
   * Checks what a call said, from `mark` on in `output`: an answer that does not fit becomes a failure, an event that does not
   * fit is dropped, and `logs` say so.
   */
  check(output, mark, logs) {
    const reader = new Reader(output.bytes.slice(mark, output.length), 0);
    const { bytes } = reader;
    output.length = mark;
    while (reader.at < bytes.length) {
      const begin = reader.at;
      const { wrong, answers } = this.record(reader);
      if (!wrong) {
        output.raw(bytes.subarray(begin, reader.at));
        continue;
      }
      logs.u8(25);
      logs.u8(4);
      logs.text(wrong);
      if (answers) {
        output.raw(bytes.subarray(begin, begin + 9));
        output.u8(1);
        output.u8(422 & 255);
        output.u8(422 >>> 8);
        output.text("schema-mismatch");
        output.text(wrong);
      }
    }
  }

  /** Reads a record; what is wrong with it, and whether it is an answer. */
  record(reader) {
    switch (reader.u8()) {
      case 1:
        reader.id();
        reader.slice();
        reader.slice();
        reader.body();
        reader.u32();
        break;
      case 2:
        reader.slice();
        reader.slice();
        reader.body();
        break;
      case 3:
        return { wrong: this.answer(reader), answers: true };
      case 4: {
        const name = reader.text();
        return { wrong: this.contract.check("event", name, reader.body()), answers: false };
      }
      case 5:
      case 6:
      case 17:
        reader.slice();
        break;
      case 7:
        reader.at += 12;
        break;
      case 18:
        if (reader.u8() !== 0) this.answering.delete(this.message);
        break;
      case 19:
        reader.u32();
        reader.slice();
        break;
    }
    return {};
  }

  answer(reader) {
    const id = reader.id();
    const name = this.answering.get(id);
    this.answering.delete(id);
    if (reader.u8() === 0) {
      const body = reader.body();
      return name === undefined ? undefined : this.contract.check("answer", name, body);
    }
    reader.at += 2;
    reader.slice();
    reader.slice();
    return undefined;
  }
}

class Contract {
  constructor({ requests, responses, events }, most) {
    this.most = most;
    this.tables = { request: compiled(requests), answer: compiled(responses), event: compiled(events) };
  }

  /**
   * Whether there is a schema for a body.
   *
   * @param {"request" | "answer" | "event"} part
   * @param {string} name of the operation or event
   */
  has(part, name) {
    return this.tables[part].has(name);
  }

  /**
   * Checks a body.
   *
   * @param {"request" | "answer" | "event"} part
   * @param {string} name of the operation or event
   * @param {Uint8Array} body
   * @returns {string | undefined} what does not fit and where, as a JSON pointer
   */
  check(part, name, body) {
    const schema = this.tables[part].get(name);
    if (!schema) return undefined;
    const long = `in the page's own thread a body may have ${this.most} bytes: launch the app without \`inline\``;
    const wrong = body.length > this.most ? long : fault(schema, body);
    return wrong && `the ${part} \`${name}\` does not fit its schema: ${wrong}`;
  }
}

function compiled(schemas) {
  return new Map(Object.entries(schemas).map(([name, schema]) => [name, compile(schema)]));
}

/** What does not fit in a body, for people. */
function fault(check, body) {
  let text, value;
  try {
    text = utf8.decode(body);
    value = JSON.parse(text);
  } catch (error) {
    return `it is no JSON: ${error.message}`;
  }
  const names = namesIn(value, DEPTH);
  if (Number.isNaN(names)) return "it is no JSON that all readers take alike: too deep, or a number or text that can't be kept";
  // Of two readers one may take the first and the other the last.
  if (names !== namesWritten(text)) return "it has an object with a name twice";
  try {
    const found = check(value, PATTERNS + PATTERNS_PER_BYTE * body.length);
    return found && `at ${found.at.slice(0, QUOTED) || "its root"}: ${found.reason.slice(0, QUOTED)}`;
  } catch (error) {
    // The stack of this browser was too small, or patterns took too long.
    return `it can't be checked here: ${error.message}`;
  }
}

/**
 * How many names the objects of a value have; NaN if the server's reader would not give the same value: its numbers are finite,
 * its texts UTF-8, its depth is bounded.
 */
function namesIn(value, depth) {
  if (typeof value === "number") return Number.isFinite(value) ? 0 : NaN;
  if (typeof value === "string") return HALF.test(value) ? NaN : 0;
  if (typeof value !== "object" || value === null) return 0;
  if (depth === 0) return NaN;
  if (Array.isArray(value)) return value.reduce((count, item) => count + namesIn(item, depth - 1), 0);
  const below = (count, [name, field]) => count + 1 + namesIn(name, 0) + namesIn(field, depth - 1);
  return Object.entries(value).reduce(below, 0);
}

/** How many names stand in a JSON text: texts that a colon follows. */
function namesWritten(text) {
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
function isEscaped(text, at) {
  let before = at;
  while (text[before - 1] === "\\") before--;
  return (at - before) % 2 === 1;
}
