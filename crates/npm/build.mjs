// Builds the package from the output of wasm-bindgen in dist/wasm: types, JavaScript, the worker in one file, the licences.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";
import { minify } from "terser";

/** The scripts of the package, and their entry points. */
const SCRIPTS = [
  // Pages import this.
  ["index.js", "ts/index.ts"],
  // Runs guests in a worker. It has no imports, so a page's policy allows only this file, and bundlers need not look inside.
  ["worker.js", "../browser/ts/worker.ts"],
  // Runs guests in the page's own thread. Loaded by the first of them.
  ["glue.js", "../browser/ts/glue.ts"],
  // Checks bodies against schemas. Loaded by the worker, or by an inline guest, if there are schemas.
  ["contract.js", "../browser/ts/contract.ts"],
];

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
if (!existsSync(join(dist, "wasm/starlane_npm.js"))) {
  console.error("crates/npm/dist/wasm/starlane_npm.js is missing: run `cargo xtask dist`, which builds the whole package");
  process.exit(1);
}
for (const name of readdirSync(dist)) {
  if (name !== "wasm") rmSync(join(dist, name), { recursive: true });
}

const small = { target: "es2022", minify: true, legalComments: "none", logLevel: "warning" };

execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "--project", here], { stdio: "inherit" });
for (const [name, source] of SCRIPTS) {
  await build({
    ...small,
    entryPoints: [{ in: join(here, source), out: name.replace(/\.js$/, "") }],
    outdir: dist,
    bundle: true,
    format: "esm",
    // `index.js` loads `streams.js` on demand. What both need is in a file of its own, so that no class exists twice.
    splitting: name === "index.js",
    chunkNames: "[name]",
    // Only `index.js` imports them. They stay separate because they name their Wasm files relative to themselves.
    external: ["./wasm/starlane_npm.js", "./wasm/starlane_verifier.js"],
  });
}

for (const name of readdirSync(join(dist, "wasm"), { recursive: true }).map(String)) {
  const file = join(dist, "wasm", name);
  if (!name.endsWith(".js")) continue;
  // wasm-bindgen repeats a module's name in the same object, and esbuild would warn about each.
  const { code } = await transform(readFileSync(file, "utf8"), { ...small, logLevel: "error" });
  writeFileSync(file, code);
}

// A second pass by another minifier makes each script a few percent smaller.
for (const name of readdirSync(dist, { recursive: true }).map(String).filter((name) => name.endsWith(".js"))) {
  const file = join(dist, name);
  const { code } = await minify(readFileSync(file, "utf8"), { module: true, ecma: 2020, compress: { passes: 3 } });
  writeFileSync(file, code);
}

// Bundlers cannot resolve an import whose name is known only at run time. Minifying drops the comments that say so.
for (const name of readdirSync(dist, { recursive: true }).map(String).filter((name) => name.endsWith(".js"))) {
  const file = join(dist, name);
  const code = readFileSync(file, "utf8");
  writeFileSync(file, code.replace(/\bimport\((?=[\w$]+(\.[\w$]+)*\))/g, "import(/* webpackIgnore: true *//* @vite-ignore */"));
}

// TypeScript may ask for the types of a module that is imported only for its side effects.
writeFileSync(join(dist, "worker.d.ts"), "export {};\n");

// Removes the types that users cannot reach.
const seen = reached("index");
for (const name of readdirSync(dist)) {
  if (name.endsWith(".d.ts") && name !== "worker.d.ts" && !seen.has(name)) rmSync(join(dist, name));
}
for (const name of ["LICENSE-MIT", "LICENSE-APACHE"]) copyFileSync(join(here, "../..", name), join(here, name));

function reached(name, seen = new Set()) {
  if (seen.has(`${name}.d.ts`)) return seen;
  seen.add(`${name}.d.ts`);
  const text = readFileSync(join(dist, `${name}.d.ts`), "utf8");
  for (const [, other] of text.matchAll(/from "\.\/([\w-]+)\.js"/g)) reached(other, seen);
  return seen;
}
