// Type-checks ts/, and makes of it the JavaScript that this crate's Rust imports: dist/, which Git ignores. `cargo xtask` runs it
// before it builds the crate; by hand, `node crates/browser/build.mjs`.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Each becomes one file without imports, since wasm-bindgen copies no more than the file that it is told of. */
const SCRIPTS = [
  // What `src/sandbox/glue.rs` and `src/store.rs` import.
  "module",
  "storage",
  // What checks schemas, for a test that compares it with the server's check, in Node.
  "contract",
];

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const tools = join(here, "../npm/node_modules");
if (!existsSync(join(tools, "esbuild"))) {
  console.error("crates/npm/node_modules is missing: `npm ci` in crates/npm makes it, or `cargo xtask setup`");
  process.exit(1);
}
const { build } = await import(pathToFileURL(join(tools, "esbuild/lib/main.js")).href);

execFileSync(process.execPath, [join(tools, "typescript/bin/tsc"), "--project", here], { stdio: "inherit" });

mkdirSync(dist, { recursive: true });
const { outputFiles } = await build({
  entryPoints: SCRIPTS.map((name) => join(here, "ts", `${name}.ts`)),
  outdir: dist,
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  logLevel: "warning",
  write: false,
});
for (const { path, text } of outputFiles) {
  // Cargo builds anew what includes a file that was written, whatever is in it.
  if (!existsSync(path) || readFileSync(path, "utf8") !== text) writeFileSync(path, text);
}
for (const name of readdirSync(dist)) {
  if (!SCRIPTS.includes(name.replace(/\.js$/, ""))) rmSync(join(dist, name), { recursive: true });
}
