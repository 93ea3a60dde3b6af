// Everything after wasm-bindgen has put its output into dist/wasm: types, JavaScript, the worker in one file, the licences.
import { execFileSync } from "node:child_process";
import { copyFileSync, existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, transform } from "esbuild";

/** The scripts of the package, and what each is made of. */
const SCRIPTS = [
  // What a page imports.
  ["index.js", "ts/index.ts"],
  // Where guests run. Without imports: a page's policy then needs to allow no more than this, and no bundler has to look inside.
  ["worker.js", "../browser/ts/worker.ts"],
  // What runs guests in the page's own thread, for the first of them to load.
  ["glue.js", "../browser/ts/glue.ts"],
  // What checks schemas, for the worker or an inline guest to load when there are some.
  ["contract.js", "../browser/ts/contract.ts"],
];

const here = dirname(fileURLToPath(import.meta.url));
const dist = join(here, "dist");
if (!existsSync(join(dist, "wasm/starlane_npm.js"))) {
  console.error("crates/npm/dist/wasm/starlane_npm.js is missing: `cargo xtask dist` builds the package from the start");
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
    entryPoints: [join(here, source)],
    outfile: join(dist, name),
    bundle: true,
    format: "esm",
    // Only `index.js` imports them. Files of their own: what they say about where their modules are holds only there.
    external: ["./wasm/starlane_npm.js", "./wasm/starlane_verifier.js"],
  });
}

for (const name of readdirSync(join(dist, "wasm"), { recursive: true }).map(String)) {
  const file = join(dist, "wasm", name);
  if (!name.endsWith(".js")) continue;
  // wasm-bindgen names a module once an import in the same object, of which esbuild would warn.
  const { code } = await transform(readFileSync(file, "utf8"), { ...small, logLevel: "error" });
  writeFileSync(file, code);
}

// What is named at run time no bundler can find, and need not: minifying drops the comments that say so.
for (const name of readdirSync(dist, { recursive: true }).map(String).filter((name) => name.endsWith(".js"))) {
  const file = join(dist, name);
  const code = readFileSync(file, "utf8");
  writeFileSync(file, code.replace(/\bimport\((?=[\w$]+(\.[\w$]+)*\))/g, "import(/* webpackIgnore: true *//* @vite-ignore */"));
}

// TypeScript may ask for the types of what is imported for its effect alone.
writeFileSync(join(dist, "worker.d.ts"), "export {};\n");

// Of the types only those that users see.
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
