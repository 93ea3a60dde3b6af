// Checks the messages and streams into and out of one instance. Calls and reports are those of `starlane_host::batch`.

import { Batch } from "./abi.js";
import { type Failure, Output, type PayloadView, Reader, utf8Text } from "./batch.js";
import type { BodyRole, Contract } from "./contract.js";
import { CheckedLines, type LineChecks, checkLines } from "./lines.js";

/** Checking a longer body takes so long that the page is notified before. */
const MAX_UNANNOUNCED_BYTES = 65_536;
/** The content type of a body with a JSON value in each line. A bind that has a schema for it means each line. */
const LINES = "application/x-ndjson";

/** Called with the number of bytes before a long check, and with 0 in its middle and after it. */
export type Begin = (bytes: number) => void;

/** Checks the messages and streams of one instance. */
export class Gate {
  readonly contract: Contract;
  readonly #most: number;
  readonly #begin: Begin | undefined;
  /** The operations of unanswered requests whose response has a schema, by id. */
  readonly #answering = new Map<number, string>();
  /** The streams whose lines a schema checks, by number. */
  readonly #lines = new Map<number, CheckedLines>();
  /** What the guest wrote to streams that are in no payload yet. Only their payload says whether lines are checked. */
  readonly #unattached = new Map<number, Uint8Array[]>();
  /** The message of the present call, and its stream. */
  #message = 0;
  #stream = 0;

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
    this.#stream = 0;
    const kind = reader.u8();
    // The bind of the emitter has the schema of an event, and the emitter's host has checked it.
    if (kind === Batch.KIND_EVENT) return undefined;
    reader.slice();
    reader.slice();
    const name = reader.text();
    const payload = reader.payload();
    this.#stream = payload.stream;
    this.#announce(payload.body.length);
    const wrong = this.#check("request", name, payload);
    if (!wrong) {
      this.#beginLines("request", name, payload.stream);
      if (kind === Batch.KIND_REQUEST && this.contract.has("response", name)) this.#answering.set(this.#message, name);
      return undefined;
    }
    this.#begin?.(0);
    output.u8(Batch.MISFIT);
    output.text(wrong);
    return reader.at + 4;
  }

  /** Notes that the guest did not get the last checked message. */
  forget(): void {
    this.#answering.delete(this.#message);
    this.#lines.delete(this.#stream);
  }

  /** Checks the next part of a stream that the guest reads. */
  part(stream: number, bytes: Uint8Array): Failure | undefined {
    const lines = this.#lines.get(stream);
    if (!lines) return undefined;
    this.#announce(bytes.length);
    const failure = lines.push(bytes);
    if (failure) this.#lines.delete(stream);
    if (bytes.length > MAX_UNANNOUNCED_BYTES) this.#begin?.(0);
    return failure;
  }

  /** Ends a stream in either direction. If it is complete, checks its last line. */
  end(stream: number, isComplete: boolean): Failure | undefined {
    this.#unattached.delete(stream);
    const lines = this.#lines.get(stream);
    this.#lines.delete(stream);
    return isComplete ? lines?.finish() : undefined;
  }

  /**
   * Checks the records of a call, from `mark` on in `output`. Replaces a response that does not match by a failure, drops an event
   * that does not match, and ends a stream with a failure at a line that does not match. Logs each to `logs`. Returns the streams
   * that ended like that.
   */
  check(output: Output, mark: number, logs: Output): ReadonlySet<number> {
    // A guest without schemas for what it sends can still cancel a stream that it reads.
    if (!this.contract.looksAtOutput && this.#lines.size === 0) return new Set();
    this.#announce(output.length - mark);
    const records = new Records(output, mark, logs);
    for (const { reader } = records; records.next(); ) this.#record(reader, records);
    return records.ended;
  }

  /** Reads a record, and writes what is kept of it. */
  #record(reader: Reader, records: Records): void {
    switch (reader.u8()) {
      case Batch.REQUEST: {
        reader.id();
        reader.slice();
        reader.slice();
        const { stream } = reader.payload();
        reader.u32();
        records.keep();
        return this.#attach(stream, records);
      }
      case Batch.NOTIFY: {
        reader.slice();
        reader.slice();
        const { stream } = reader.payload();
        records.keep();
        return this.#attach(stream, records);
      }
      case Batch.REPLY:
        return this.#reply(reader, records);
      case Batch.EMIT: {
        const wrong = this.#check("event", reader.text(), reader.payload());
        return wrong ? records.log(wrong) : records.keep();
      }
      case Batch.WRITE:
        return this.#write(reader.id(), reader.slice(), records);
      case Batch.FINISH:
        return this.#finish(reader, records);
      case Batch.OPEN_STREAM: {
        const stream = reader.id();
        if (this.contract.looksAtOutput) this.#unattached.set(stream, []);
        break;
      }
      case Batch.CANCEL_STREAM:
        this.#lines.delete(reader.id());
        break;
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
      case Batch.RECEIVED:
        if (reader.u8() !== 0) this.#answering.delete(this.#message);
        break;
      case Batch.SAVED:
        reader.u32();
        reader.slice();
        break;
      case Batch.BAD_LINE:
        reader.id();
        reader.failure();
        break;
    }
    records.keep();
  }

  #reply(reader: Reader, records: Records): void {
    const id = reader.id();
    const name = this.#answering.get(id);
    this.#answering.delete(id);
    if (reader.u8() === Batch.FAILURE) {
      reader.failure();
      return records.keep();
    }
    const payload = reader.payload();
    const wrong = name === undefined ? undefined : this.#check("response", name, payload);
    if (wrong) return records.refuse(wrong);
    records.keep();
    if (name !== undefined) this.#beginLines("response", name, payload.stream);
    this.#attach(payload.stream, records);
  }

  /** Lets what was written to a stream follow the payload that it is now in. */
  #attach(stream: number, records: Records): void {
    const held = this.#unattached.get(stream);
    this.#unattached.delete(stream);
    for (const bytes of held ?? []) this.#write(stream, bytes, records);
  }

  #write(stream: number, bytes: Uint8Array, records: Records): void {
    if (records.ended.has(stream)) return;
    const held = this.#unattached.get(stream);
    if (held) {
      // A copy, because the records are of this call alone.
      held.push(bytes.slice());
      return;
    }
    const failure = this.part(stream, bytes);
    if (failure) records.end(stream, failure);
    else records.write(stream, bytes);
  }

  #finish(reader: Reader, records: Records): void {
    const stream = reader.id();
    const isComplete = reader.u8() === Batch.NONE;
    if (!isComplete) reader.failure();
    if (records.ended.has(stream)) return;
    const failure = this.end(stream, isComplete);
    if (failure) records.end(stream, failure);
    else records.keep();
  }

  #beginLines(role: BodyRole, name: string, stream: number): void {
    if (stream !== 0 && this.contract.has(role, name)) this.#lines.set(stream, new CheckedLines(this.#checks(role, name)));
  }

  #checks(role: BodyRole, name: string): LineChecks {
    return {
      check: (number, line) => this.contract.check(role, name, line, this.#most, number),
      describe: (number) => `line ${number} of the ${role} \`${name}\``,
      busy: () => this.#begin?.(0),
    };
  }

  /** Checks the body of a payload, if that has no stream. Returns the fault, if any. */
  #check(role: BodyRole, name: string, { type, body, stream }: PayloadView): string | undefined {
    if (stream !== 0 || !this.contract.has(role, name)) return undefined;
    const isLines = utf8Text(type).split(";", 1)[0]!.trim().toLowerCase() === LINES;
    return isLines ? checkLines(body, this.#checks(role, name)) : this.contract.check(role, name, body, this.#most);
  }

  #announce(bytes: number): void {
    if (bytes > MAX_UNANNOUNCED_BYTES) this.#begin?.(bytes);
  }
}

/** The records of a call, which are written again as far as they are kept. */
class Records {
  readonly reader: Reader;
  /** The streams that ended because of a line. */
  readonly ended = new Set<number>();
  readonly #output: Output;
  readonly #logs: Output;
  #begin = 0;

  constructor(output: Output, mark: number, logs: Output) {
    this.reader = new Reader(output.bytes.slice(mark, output.length), 0);
    output.length = mark;
    this.#output = output;
    this.#logs = logs;
  }

  /** Goes to the next record, if there is one. */
  next(): boolean {
    this.#begin = this.reader.at;
    return this.#begin < this.reader.bytes.length;
  }

  /** Keeps the present record. */
  keep(): void {
    this.#output.raw(this.reader.bytes.subarray(this.#begin, this.reader.at));
  }

  /** Replaces the outcome of a reply by a failure. */
  refuse(wrong: string): void {
    this.log(wrong);
    // Keeps the head: tag and id of the message.
    this.#output.raw(this.reader.bytes.subarray(this.#begin, this.#begin + 9));
    this.#output.u8(Batch.FAILURE);
    this.#output.failure({ status: 422, code: "schema-mismatch", message: wrong });
  }

  write(stream: number, bytes: Uint8Array): void {
    this.#output.u8(Batch.WRITE);
    this.#output.id(stream);
    this.#output.slice(bytes, 0, bytes.length);
  }

  /** Ends a stream because of a line. */
  end(stream: number, failure: Failure): void {
    this.log(failure.message);
    this.ended.add(stream);
    this.#output.u8(Batch.FINISH);
    this.#output.id(stream);
    this.#output.u8(Batch.SOME);
    this.#output.failure(failure);
  }

  /** Logs a fault. */
  log(text: string): void {
    this.#logs.u8(Batch.LOG);
    this.#logs.u8(Batch.ERROR);
    this.#logs.text(text);
  }
}
