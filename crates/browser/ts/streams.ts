// The streams of one guest: which are open, and the credit of those that it writes.

import { FIRST_CREDIT } from "./abi.js";
import { GuestFault } from "./fault.js";

/** A stream that the guest writes. */
interface Written {
  /** The bytes that may still be written. */
  credit: number;
  attached: boolean;
}

/** The maximum credit: what `write` can return. */
const MAX_CREDIT = 0xffff_ffff;

/** The open streams of a guest. It keeps nothing of a stream that has ended. */
export class Streams {
  /** The number that `open-stream` last returned. A lower odd number that is not in `#written` is of a stream that has ended. */
  #last: bigint | undefined;
  readonly #written = new Map<bigint, Written>();
  /** The streams that the guest reads, and whether it still gets parts of them. */
  readonly #read = new Map<bigint, boolean>();

  /** Opens a stream that the guest writes. Its number is odd. */
  open(): bigint {
    this.#last = this.#last === undefined ? 1n : this.#last + 2n;
    this.#written.set(this.#last, { credit: FIRST_CREDIT, attached: false });
    return this.#last;
  }

  /** Attaches a stream to a payload. */
  attach(id: bigint): void {
    const stream = this.#written.get(id);
    if (!stream) throw new GuestFault(`stream ${id} is not an open stream of this guest`);
    if (stream.attached) throw new GuestFault(`stream ${id} was attached before`);
    stream.attached = true;
  }

  /** Takes credit for a write, and returns the credit left; undefined if the stream has ended. */
  spend(id: bigint, bytes: number): number | undefined {
    this.#checkOpened(id);
    const stream = this.#written.get(id);
    if (!stream) return undefined;
    if (bytes > stream.credit) {
      throw new GuestFault(`${bytes} bytes for stream ${id}, which has a credit of ${stream.credit}; wait for \`ready\``);
    }
    return (stream.credit -= bytes);
  }

  /** Ends a stream that the guest writes. Returns whether it was open. */
  finish(id: bigint): boolean {
    this.#checkOpened(id);
    return this.#written.delete(id);
  }

  /** Adds credit to a stream that the guest writes. Returns whether it is open. */
  addCredit(id: bigint, bytes: number): boolean {
    const stream = this.#written.get(id);
    if (stream) stream.credit = Math.min(stream.credit + bytes, MAX_CREDIT);
    return stream !== undefined;
  }

  /** Opens a stream that the guest reads. */
  deliver(id: bigint): void {
    this.#read.set(id, true);
  }

  /** Whether the guest reads a stream. */
  isRead(id: bigint): boolean {
    return this.#read.has(id);
  }

  /** Whether a stream in either direction is open. */
  isOpen(id: bigint): boolean {
    return this.#written.has(id) || this.#read.has(id);
  }

  /** Whether the guest gets parts of a stream. */
  takesParts(id: bigint): boolean {
    return this.#read.get(id) === true;
  }

  /** Gives the guest no more parts of a stream that it reads, only its end. */
  refuseParts(id: bigint): void {
    if (this.#read.has(id)) this.#read.set(id, false);
  }

  /** Ends a stream that the guest reads. Returns whether it was open. */
  cancel(id: bigint): boolean {
    return this.#read.delete(id);
  }

  /** Ends a stream in either direction. Returns whether it was open. */
  end(id: bigint): boolean {
    return this.#written.delete(id) || this.#read.delete(id);
  }

  #checkOpened(id: bigint): void {
    if (id % 2n === 1n && this.#last !== undefined && id <= this.#last) return;
    throw new GuestFault(`\`open-stream\` did not return the number ${id}`);
  }
}
