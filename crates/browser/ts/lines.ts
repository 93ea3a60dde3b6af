// Divides the parts of a stream into lines, which a schema checks one by one.

import { LINE_BYTES } from "./abi.js";
import { type Failure, Output } from "./batch.js";

/** The byte that ends a line, and one that may precede it. */
const LINE_FEED = 10, CARRIAGE_RETURN = 13;
/** After this time in one check, the page is told that this thread is still busy. */
const SILENT_MS = 200;

/** The checks of a stream's lines. */
export interface LineChecks {
  /** Checks a line, without its end. Returns the fault, if any, for people. */
  check(number: number, line: Uint8Array): string | undefined;
  /** Names a line, for people. */
  describe(number: number): string;
  /** Called now and then in a long check. */
  busy(): void;
}

/** A stream whose lines are checked. The result does not depend on how the stream is divided into parts. */
export class CheckedLines {
  readonly #checks: LineChecks;
  /** The beginning of the line that has not ended. */
  readonly #begun = new Output(0);
  /** The number of ended lines. */
  #ended = 0;

  constructor(checks: LineChecks) {
    this.#checks = checks;
  }

  /** Takes the next part. Returns the failure of the first line that is too long or does not match. */
  push(part: Uint8Array): Failure | undefined {
    let from = 0;
    let told = performance.now();
    for (let end = part.indexOf(LINE_FEED); end >= 0; end = part.indexOf(LINE_FEED, from)) {
      const failure = this.#end(part.subarray(from, end));
      if (failure) return failure;
      from = end + 1;
      if (performance.now() - told > SILENT_MS) {
        this.#checks.busy();
        told = performance.now();
      }
    }
    if (this.#begun.length + part.length - from > LINE_BYTES) return this.#tooLong(this.#ended + 1);
    this.#begun.raw(part.subarray(from));
    return undefined;
  }

  /** Checks the last line, if the stream does not end with the end of a line. */
  finish(): Failure | undefined {
    return this.#begun.length > 0 ? this.#end(new Uint8Array()) : undefined;
  }

  /** Takes the last bytes of a line. */
  #end(rest: Uint8Array): Failure | undefined {
    const begun = this.#begun;
    const number = ++this.#ended;
    if (begun.length + rest.length > LINE_BYTES) return this.#tooLong(number);
    let line = rest;
    if (begun.length > 0) {
      begun.raw(rest);
      line = begun.bytes.subarray(0, begun.length);
      begun.length = 0;
    }
    if (line.length === 0 || (line.length === 1 && line[0] === CARRIAGE_RETURN)) return undefined;
    const message = this.#checks.check(number, line);
    return message === undefined ? undefined : { status: 422, code: "schema-mismatch", message };
  }

  #tooLong(number: number): Failure {
    const message = `${this.#checks.describe(number)} is too long; the maximum is ${LINE_BYTES} bytes`;
    return { status: 413, code: "too-large", message };
  }
}

/** Checks the lines of a whole body. Returns the first fault, for people. */
export function checkLines(body: Uint8Array, checks: LineChecks): string | undefined {
  const lines = new CheckedLines(checks);
  return (lines.push(body) ?? lines.finish())?.message;
}
