// Makes instances of guests.

import { ACTOR, MESH } from "./abi.js";
import type { Buffers } from "./buffers.js";
import { Guest, checkWhole } from "./guest.js";
import { imports } from "./imports.js";
import { memoryOf, renewView } from "./memory.js";
import type { Start } from "./messages.js";

/** What wants to know how far an instance is. */
export interface Watcher {
  /** Called before the guest's own code runs first. */
  begun?(): void;
  /** Called before so many bytes are checked that it takes its time, and with 0 after that. */
  checking?(bytes: number): void;
}

/** Makes an instance: memory and `_initialize`, not yet `start`. Rejects with the reason, for people. */
export async function createInstance(
  buffers: Buffers, { module, limits, contract }: Omit<Start, "instance">, watcher: Watcher,
): Promise<Guest> {
  const guest = new Guest(buffers, limits);
  try {
    if (contract) {
      const checker: typeof import("./contract.js") = await import(/* @vite-ignore */ /* webpackIgnore: true */ contract.checker);
      guest.gate = checker.gate(buffers.contracts, contract.text, contract.most, watcher.checking);
    }
    // Not the constructor: Chromium refuses it large modules in a page's own thread.
    const { exports } = await WebAssembly.instantiate(module, { [MESH]: imports(guest) });
    // Their types were checked before the module was compiled.
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
