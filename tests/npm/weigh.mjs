// The size of files on the wire: JavaScript and Wasm after `gzip -9`. As a program, `node weigh.mjs FOLDER…` prints sizes of several
// folders as JSON: of the first load, and of the checker of modules.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** Scripts that the package loads on demand. */
export const LATER = ["contract.js", "glue.js", "streams.js", "wasm/starlane_verifier.js", "wasm/starlane_verifier_bg.wasm"];
/** The checker of modules, which is loaded on demand too. */
export const METER = "wasm/meter.wasm";

/** Whether a file of the package belongs to the first load. */
export function isFirst(name) {
  return name !== METER && !LATER.includes(name);
}

/** Each JavaScript and Wasm file below a folder, with its size. */
export function weigh(folder) {
  const names = readdirSync(folder, { recursive: true }).map(String).filter((name) => /\.(js|wasm)$/.test(name));
  return names.map((name) => ({ name, bytes: gzipSync(readFileSync(join(folder, name)), { level: 9 }).length }));
}

/** The sum of sizes. */
export function sum(files) {
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const sizes = process.argv.slice(2).map((folder) => {
    const files = weigh(folder);
    const of = (keep) => sum(files.filter(({ name }) => keep(name)));
    return { first: of(isFirst), meter: of((name) => name === METER) };
  });
  console.log(JSON.stringify(sizes));
}
