// What the page's own thread does with modules: it checks their imports and exports, and for guests that run in it makes
// instances by the glue, which is loaded with the first of them.

export const MESH = "starlane:mechtron/mesh@1.0.0";
export const ACTOR = "starlane:mechtron/actor@1.0.0#";

/** Exported functions that a guest must have, and how many core parameters each takes. */
export const REQUIRED = {
  [ACTOR + "start"]: 10,
  [ACTOR + "receive"]: 15,
  [ACTOR + "settle"]: 8,
  [ACTOR + "wake"]: 1,
  [ACTOR + "save"]: 0,
  cabi_realloc: 4,
};
/** Exported functions that it may have. */
export const OPTIONAL = { _initialize: 0, ["cabi_post_" + ACTOR + "start"]: 1, ["cabi_post_" + ACTOR + "save"]: 1 };
const IMPORTS = ["request", "notify", "reply", "emit", "subscribe", "unsubscribe", "wake-after", "log", "now-ms", "random"];

/**
 * Checks imports and exports of a compiled module, as far as JavaScript can see them.
 *
 * @param {WebAssembly.Module} module
 * @returns {string | undefined} what is wrong with it
 */
export function checkModule(module) {
  for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
    if (from !== MESH || !IMPORTS.includes(name) || kind !== "function") {
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

export function wrongType(name) {
  return `the export \`${name}\` has another type than the interface gives it`;
}

/**
 * Makes an instance in this thread.
 *
 * @param {string} glue the URL of the glue
 * @param {WebAssembly.Module} module one that passed `checkModule`
 * @param {{ memory: number, concurrency: number }} limits
 * @param {object | undefined} contract as `createInstance` of the glue takes it
 * @returns {Promise<{ run: (calls: Uint8Array) => Uint8Array }>} the report of a run is valid until the next one in this thread
 */
export async function createInline(glue, module, limits, contract) {
  const { createInstance, run } = await import(/* @vite-ignore */ /* webpackIgnore: true */ glue);
  const guest = await createInstance(module, limits, contract, {});
  return { run: (calls) => run(guest, calls) };
}
