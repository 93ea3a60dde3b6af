// The state of one guest: what the modules beside this one keep of it between and during calls.
//
// A guest is hostile, may use up the stack at any instruction, and may call an import from its allocator. So an import only
// reads the guest's memory and appends to the output; it never calls the guest, nor anything that waits.

import { CALL_LOG, type Import } from "./abi.js";
import { Output } from "./batch.js";
import type { Buffers } from "./buffers.js";
import type { Gate } from "./contract.js";
import { Fault, describe } from "./fault.js";
import type { Limits } from "./messages.js";

/** The exported functions that calls need, by plain names: quicker to get at. */
export interface GuestExports {
  start(
    address: number, addressLength: number, mechtron: number, mechtronLength: number, settings: number, settingsLength: number,
    hasState: number, format: number, state: number, stateLength: number,
  ): number;
  receive(
    id: bigint, kind: number, from: number, fromLength: number, caller: number, callerLength: number, operation: number,
    operationLength: number, type: number, typeLength: number, headers: number, count: number, body: number, bodyLength: number,
    remaining: number,
  ): number;
  settle(id: bigint, which: number, a: number, b: number, c: number, d: number, e: number, f: number): void;
  wake(token: bigint): void;
  save(): number;
  realloc(from: number, fromSize: number, align: number, size: number): number;
  readonly postStart: ((result: number) => void) | undefined;
  readonly postSave: ((result: number) => void) | undefined;
}

/** One instance of a guest. */
export class Guest {
  readonly buffers: Buffers;
  readonly limits: Limits;
  /** Set once the instance is made: before, no call runs. */
  exports!: GuestExports;
  memory: WebAssembly.Memory | undefined;
  /** A view of the whole memory; its length is 0 once the memory has grown. */
  view = new Uint8Array();
  /** What checks its messages, if there are schemas. */
  gate: Gate | undefined;

  started = false;
  /** Whether the mesh may be used now: not before `start`, and not in the allocator. */
  open = false;
  /** The import that runs now, or that never came to its end: then the call is broken, whatever the guest caught. */
  importing: Import | undefined;
  lastRequest = 0;
  /** Messages that wait for their `reply`. */
  readonly unfinished = new Set<number | bigint>();

  /** How many messages the present call has queued, how many bytes more it may queue, and how many it may log. */
  messages = 0;
  room = 0;
  logRoom = CALL_LOG;
  readonly logs = new Output(0);

  /** How long the value is that was lowered last. */
  size = 0;
  /** Where the present call ends among the calls. */
  callEnd = 0;

  constructor(buffers: Buffers, limits: Limits) {
    this.buffers = buffers;
    this.limits = limits;
  }

  /** One line for people, of what ended the present call. */
  reason(error: unknown): string {
    return (this.importing === undefined ? "" : `\`mesh.${this.importing}\`: `) + describe(error);
  }
}

/** Throws if an import was cut short, which a guest may hide by catching what ended it. */
export function checkWhole(guest: Guest): void {
  if (guest.importing !== undefined) throw new Fault("was cut short");
}
