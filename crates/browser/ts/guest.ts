// The state of one guest, between and during calls.
//
// A guest is hostile. It can use up the stack at any instruction, and can call an import from its allocator. So an import only
// reads the guest's memory and appends to the output; it never calls the guest, and never waits.

import { CALL_LOG, type Import } from "./abi.js";
import { Output } from "./batch.js";
import type { Buffers } from "./buffers.js";
import { GuestFault, describe } from "./fault.js";
import type { Gate } from "./gate.js";
import type { GuestLimits } from "./messages.js";
import { Streams } from "./streams.js";

/** The exported functions that calls need, by plain names, which are faster to look up. */
export interface GuestExports {
  start(
    address: number, addressLength: number, mechtron: number, mechtronLength: number, settings: number, settingsLength: number,
    hasState: number, format: number, state: number, stateLength: number,
  ): number;
  receive(
    id: bigint, kind: number, from: number, fromLength: number, caller: number, callerLength: number, operation: number,
    operationLength: number, type: number, typeLength: number, headers: number, count: number, body: number, bodyLength: number,
    stream: bigint, remaining: number,
  ): number;
  settle(id: bigint, which: number, a: number, b: number, c: number, d: number, e: number, f: number, stream: bigint): void;
  wake(token: bigint): void;
  save(): number;
  realloc(from: number, fromSize: number, align: number, size: number): number;
  readonly postStart: ((result: number) => void) | undefined;
  readonly postSave: ((result: number) => void) | undefined;
  readonly streams: StreamExports | undefined;
}

/** The exports of a guest that reads or writes streams. */
export interface StreamExports {
  part(stream: bigint, bytes: number, length: number): void;
  ended(stream: bigint, which: number, a: number, b: number, c: number, d: number, e: number): void;
  ready(stream: bigint, credit: number): void;
}

/** One instance of a guest. */
export class Guest {
  readonly buffers: Buffers;
  readonly limits: GuestLimits;
  /** Set when the instance is made. No call runs earlier. */
  exports!: GuestExports;
  memory: WebAssembly.Memory | undefined;
  /** A view of the whole memory; its length is 0 once the memory has grown. */
  view = new Uint8Array();
  /** Checks its messages, if there are schemas. */
  gate: Gate | undefined;

  started = false;
  /** Whether the guest may use the mesh now: not before `start`, and not in the allocator. */
  open = false;
  /** The running import, or one that never ended. The latter breaks the call, even if the guest caught the error. */
  importing: Import | undefined;
  lastRequest = 0;
  /** Unanswered messages. */
  readonly unfinished = new Set<number | bigint>();
  readonly streams = new Streams();

  /** The messages that the present call has queued, and the bytes that it may still queue and log. */
  messages = 0;
  room = 0;
  logRoom = CALL_LOG;
  readonly logs = new Output(0);

  /** The length of the last lowered value. */
  size = 0;
  /** The end of the present call in the buffer of calls. */
  callEnd = 0;

  constructor(buffers: Buffers, limits: GuestLimits) {
    this.buffers = buffers;
    this.limits = limits;
  }

  /** Describes in one line, for people, why the present call ended. */
  reason(error: unknown): string {
    return (this.importing === undefined ? "" : `\`mesh.${this.importing}\`: `) + describe(error);
  }
}

/** Throws if an import was cut short. A guest can hide this by catching the error. */
export function checkWhole(guest: Guest): void {
  if (guest.importing !== undefined) throw new GuestFault("was cut short");
}
