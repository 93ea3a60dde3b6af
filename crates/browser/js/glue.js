// The guest side of the sandbox: makes instances and runs the calls of `starlane_host::batch` in them. The worker and, for inline
// guests, the page's own thread drive it the same way.

import { CRASH } from "./batch.js";
import { Fault, Guest, renewReports, reports, runBehind } from "./guest.js";
import { ACTOR, MESH, OPTIONAL, REQUIRED, wrongType } from "./module.js";

/**
 * Makes an instance: memory and `_initialize`, not yet `start`. Rejects with the reason, for people.
 *
 * @param {WebAssembly.Module} module one that passed `checkModule`
 * @param {{ memory: number, concurrency: number }} limits
 * @param {{ text: string, checker: string, most: number } | undefined} contract what its messages must fit, the URL of
 *   `contract.js`, and the longest body that is checked in this thread, in bytes
 * @param {{ begun?: () => void, checking?: (bytes: number) => void }} tell called before the guest's own code runs first;
 *   before so much output is checked that it takes its time
 * @returns {Promise<Guest>}
 */
export async function createInstance(module, limits, contract, tell) {
  const guest = new Guest(limits);
  try {
    if (contract) {
      const checker = await import(/* @vite-ignore */ /* webpackIgnore: true */ contract.checker);
      guest.gate = checker.gate(contract.text, contract.most, tell.checking);
    }
    // Not the constructor: Chromium refuses it large modules in a page's own thread.
    const { exports } = await WebAssembly.instantiate(module, { [MESH]: guest.imports() });
    for (const [name, parameters] of Object.entries({ ...REQUIRED, ...OPTIONAL })) {
      if (name in exports && exports[name].length !== parameters) throw new Fault(wrongType(name));
    }
    // Plain names: quicker to get at.
    guest.exports = {
      start: exports[ACTOR + "start"],
      receive: exports[ACTOR + "receive"],
      settle: exports[ACTOR + "settle"],
      wake: exports[ACTOR + "wake"],
      save: exports[ACTOR + "save"],
      realloc: exports.cabi_realloc,
      postStart: exports["cabi_post_" + ACTOR + "start"],
      postSave: exports["cabi_post_" + ACTOR + "save"],
    };
    guest.memory = exports.memory;
    guest.renew();
    tell.begun?.();
    exports._initialize?.();
    guest.bytes();
    if (guest.importing !== null) throw new Fault("was cut short");
    return guest;
  } catch (error) {
    throw new Error(guest.reason(error));
  }
}

/**
 * Runs a buffer of calls.
 *
 * @param {Guest} guest
 * @param {Uint8Array} buffer
 * @returns {Uint8Array} the report; valid until the next run in this thread
 */
export function run(guest, buffer) {
  const output = reports();
  output.length = 0;
  runBehind(guest, buffer);
  return output.bytes.subarray(0, output.length);
}

/**
 * Reports of many instances in one buffer: the number of bytes in use, itself included, as u32; then, for each run, the
 * instance as u64, the length as u32, the report.
 */
export class Reports {
  constructor() {
    reports().length = 4;
  }

  /**
   * Runs a buffer of calls.
   *
   * @param {Guest | undefined} guest undefined: there is none such
   * @param {number} low lower half of the instance's id
   * @param {number} high upper half
   * @param {Uint8Array} buffer
   */
  run(guest, low, high, buffer) {
    const output = reports();
    output.u32(low);
    output.u32(high);
    const length = output.length;
    output.u32(0);
    if (guest) {
      runBehind(guest, buffer);
    } else {
      output.u8(CRASH);
      output.text("no such instance: it was stopped or has crashed");
    }
    output.put(length, output.length - length - 4);
  }

  /** Hands out all reports since the last time, as a buffer that may be transferred. */
  take() {
    let output = reports();
    output.put(0, output.length);
    let { buffer } = output.bytes;
    // Large ones are given away, small ones copied: the next run needs no new buffer then.
    if (output.length > 65536) output = renewReports();
    else buffer = buffer.slice(0, output.length);
    output.length = 4;
    return buffer;
  }
}
