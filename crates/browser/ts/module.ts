// What the page's own thread does with modules: it checks their imports and exports, and for guests that run in it makes
// instances by the glue, which is loaded with the first of them. `src/sandbox/glue.rs` calls it.

import { IMPORTS, MESH, OPTIONAL, REQUIRED } from "./abi.js";
import type { Glue, InlineGuest } from "./glue.js";
import type { ContractSource, Limits } from "./messages.js";
import { wrongType } from "./words.js";

/** Checks imports and exports of a compiled module, as far as JavaScript can see them. Gives what is wrong with it. */
export function checkModule(module: WebAssembly.Module): string | undefined {
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (from !== MESH || !(IMPORTS as readonly string[]).includes(name) || kind !== "function") {
      return `the import \`${name.slice(0, 80)}\` of \`${from.slice(0, 80)}\` is none that guests may have`;
    }
  }
  const exports = new Map(WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]));
  for (const name of [...Object.keys(REQUIRED), "memory"]) {
    if (!exports.has(name)) return `the export \`${name}\` is missing`;
  }
  if (exports.get("memory") !== "memory") return wrongType("memory");
  for (const name of [...Object.keys(REQUIRED), ...Object.keys(OPTIONAL)]) {
    if (exports.has(name) && exports.get(name) !== "function") return wrongType(name);
  }
  return undefined;
}

/** The guests of a sandbox that run in this thread. */
export class InlineGuests {
  #glue: Glue | undefined;

  /** Makes an instance of a module that passed `checkModule`. `url` is where the glue is. */
  async create(url: string, module: WebAssembly.Module, limits: Limits, contract: ContractSource | undefined): Promise<InlineGuest> {
    const { Glue } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ url)) as typeof import("./glue.js");
    return (this.#glue ??= new Glue()).create(module, limits, contract);
  }
}
