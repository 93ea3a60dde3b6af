// Makes instances of guests.

import { ACTOR, MESH, STREAM_ACTOR } from "./abi.js";
import type { Buffers } from "./buffers.js";
import { Guest, checkWhole } from "./guest.js";
import { imports } from "./imports.js";
import { memoryOf, renewView } from "./memory.js";
import type { Start } from "./messages.js";

/** Callbacks for the progress of an instance. */
export interface Watcher {
  /** Called before the guest's own code first runs. */
  begun?(): void;
  /** Called with the number of bytes before a long check, and with 0 after it. */
  checking?(bytes: number): void;
}

/** Makes an instance and calls `_initialize`, but not `start`. Rejects with the reason, for people. */
export async function createInstance(
  buffers: Buffers, { module, limits, contract }: Omit<Start, "instance">, watcher: Watcher,
): Promise<Guest> {
  const guest = new Guest(buffers, limits);
  try {
    if (contract) {
      const checker: typeof import("./contract.js") = await import(/* @vite-ignore */ /* webpackIgnore: true */ contract.checker);
      guest.gate = checker.gate(buffers.contracts, contract.text, contract.most, watcher.checking);
    }
    // Chromium's `new WebAssembly.Instance` refuses large modules in a page's own thread.
    const { exports } = await WebAssembly.instantiate(module, { [MESH]: imports(guest) });
    // The types of exports were checked before the module was compiled.
    const named = (name: string) => exports[name] as never;
    guest.exports = {
      start: named(ACTOR + "start"),
      receive: named(ACTOR + "receive"),
      settle: named(ACTOR + "settle"),
      wake: named(ACTOR + "wake"),
      save: named(ACTOR + "save"),
      realloc: named("cabi_realloc"),
      postStart: named("cabi_post_" + ACTOR + "start"),
      postSave: named("cabi_post_" + ACTOR + "save"),
      streams: exports[STREAM_ACTOR + "part"] && {
        part: named(STREAM_ACTOR + "part"),
        ended: named(STREAM_ACTOR + "ended"),
        ready: named(STREAM_ACTOR + "ready"),
      },
    };
    guest.memory = named("memory");
    renewView(guest);
    watcher.begun?.();
    (named("_initialize") as (() => void) | undefined)?.();
    memoryOf(guest);
    checkWhole(guest);
    return guest;
  } catch (error) {
    throw new Error(guest.reason(error));
  }
}
