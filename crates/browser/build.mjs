// Type-checks ts/ and builds dist/ from it, the JavaScript that this crate's Rust imports. Git ignores dist/. `cargo xtask` runs this
// before it builds the crate. To run it by hand: `node crates/browser/build.mjs`.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

/** Each becomes one file without imports, because wasm-bindgen copies only the file itself. */
const SCRIPTS = [
  // `src/sandbox/glue.rs` and `src/store.rs` import these.
  "module",
  "storage",
  // A test in Node compares its checks of schemas with the server's.
  "contract",
];

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
const tools = join(here, "../npm/node_modules");
if (!existsSync(join(tools, "esbuild"))) {
  console.error("crates/npm/node_modules is missing: run `cargo xtask setup`, or `npm ci` in crates/npm");
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
  // Cargo rebuilds a crate after any write to a file that it includes, even without a change.
  if (!existsSync(path) || readFileSync(path, "utf8") !== text) writeFileSync(path, text);
}
for (const name of readdirSync(dist)) {
  if (!SCRIPTS.includes(name.replace(/\.js$/, ""))) rmSync(join(dist, name), { recursive: true });
}
