// What files weigh on the wire: JavaScript and Wasm after `gzip -9`. As a program, `node weigh.mjs FOLDER…` prints the sizes of
// several folders as JSON: of what a page loads first, and of what checks modules.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** What the package loads when it is needed. */
export const LATER = ["contract.js", "glue.js", "wasm/starlane_verifier_bg.wasm"];
/** What checks modules; loaded when it is needed, too. */
export const METER = "wasm/meter.wasm";

/** Whether a file of the package is among those that a page loads first. */
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
