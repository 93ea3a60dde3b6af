// Tests of the packed package: installed into empty projects, type-checked, and run in Chromium. See README.md.
import { readFileSync, readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { browser } from "./browser.mjs";
import { compare } from "./golden.mjs";
import { files, viteDev, vitePreview, webpack } from "./pages.mjs";
import { installTools, project, run, tools } from "./projects.mjs";
import { freePort, serve } from "./starlane.mjs";

/** The most that the first load may weigh, in bytes. */
const FIRST_LOAD = 250_000;
/** What is loaded when it is needed, and the most bytes of it. */
const LATER = ["contract.js", "glue.js"];
const MOST_LATER = 8_000;
/** What the bundlers' own code puts into the page. */
const BUNDLERS = ["__vite_is_modern_browser", "__VUE_HMR_RUNTIME__", "webpackChunk"];
const HTML = "<h1>Ada</h1>\n<p><em>Countess</em> of <strong>Lovelace</strong></p>\n";

const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : undefined;
let [passed, failed] = [0, 0];

/** One test: it passes if it does not throw. */
async function test(name, body) {
  if (only && !name.startsWith(only)) return;
  const start = performance.now();
  try {
    const said = await body();
    passed += 1;
    console.log(`ok    ${name} (${((performance.now() - start) / 1000).toFixed(1)} s)${said ? `: ${said}` : ""}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n${String(error.stack ?? error).replace(/^/gm, "      ")}`);
  }
}

function same(found, wanted, what) {
  const [is, should] = [found, wanted].map((value) => JSON.stringify(value));
  if (is !== should) throw new Error(`${what} is ${is}, not ${should}`);
}

function given(variable) {
  const value = process.env[variable];
  if (!value) throw new Error(`${variable} is not set: \`cargo xtask test --only package\` builds what is needed and sets it`);
  return resolve(value);
}

const tarball = given("STARLANE_TARBALL");
const binary = given("STARLANE_BIN");
const bundle = given("STARLANE_BUNDLE");
installTools();

// What needs no browser.
const node = project("node", tarball);
const installed = join(node, "node_modules/@starlane/mesh");

await test("golden: the types are those that were reviewed", () => compare(join(installed, "dist")));
await test("node: importing has no effect and needs no browser", () => {
  run(node, process.execPath, "--input-type=module", "-e", "await import('@starlane/mesh')");
  const program = `
    const before = Object.getOwnPropertyNames(globalThis).join();
    const { Host, StarlaneError, key, unkey } = await import("@starlane/mesh");
    if (Object.getOwnPropertyNames(globalThis).join() !== before) throw new Error("a global was made");
    const error = await Host.open({ server: "http://127.0.0.1:7711" }).catch((error) => error);
    if (!(error instanceof StarlaneError) || error.code !== "unsupported-environment") throw error;
    const code = (call) => { try { return call() } catch (error) { return error.code } };
    const texts = ["ada", "Ada L", "a@b.c", "-x", "a-b", "a_b", "É", "日本", "e\\u0301 \\u{1f680}"];
    for (const text of texts) if (unkey(key(text)) !== text) throw new Error(text + " became " + key(text));
    console.log(JSON.stringify([
      ["ada", "Ada L", "a@b.c", "-x", "a_b", "", "É".repeat(30)].map((text) => code(() => key(text))),
      ["a_5fb", "a_5F", "_61", "_", "", "_ff", "_", "a b", "_4"].map((segment) => code(() => unkey(segment))),
    ]));`;
  const said = JSON.parse(run(node, process.execPath, "--input-type=module", "-e", program));
  const bad = "malformed";
  same(said[0], ["ada", "_41da_20_4c", "a_40b_2ec", "_2dx", "a_5fb", bad, bad], "key()");
  same(said[1], ["a_b", bad, bad, bad, bad, bad, bad, bad, bad], "unkey()");
});
await test("types: a consumer of every member is type-checked", () => {
  const types = project("types", tarball);
  const tsc = join(tools, "typescript/bin/tsc");
  run(types, process.execPath, tsc, "--noEmit");
  run(types, process.execPath, tsc, "--noEmit", "--module", "nodenext", "--moduleResolution", "nodenext");
});
await test("size: the first load is small", () => {
  const parts = weigh(join(installed, "dist")).filter(({ name }) => !LATER.includes(name));
  const sum = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  console.log(`figure ${JSON.stringify({ name: "first-load.gzip", value: sum, unit: "bytes", engine: "", size: "", test: "npm" })}`);
  const later = weigh(join(installed, "dist")).filter(({ name }) => LATER.includes(name)).reduce((sum, { bytes }) => sum + bytes, 0);
  console.log(`figure ${JSON.stringify({ name: "later-load.gzip", value: later, unit: "bytes", engine: "", size: "", test: "npm" })}`);
  if (later === 0 || later > MOST_LATER) throw new Error(`${LATER.join(", ")} has ${later} bytes, of ${MOST_LATER}`);
  const largest = parts.sort((a, b) => b.bytes - a.bytes).slice(0, 4).map(({ name, bytes }) => `${name} ${bytes}`);
  if (sum > FIRST_LOAD) throw new Error(`${sum} bytes are more than ${FIRST_LOAD}: ${largest.join(", ")}`);
  return `${sum} bytes of ${FIRST_LOAD}: ${largest.join(", ")} …`;
});

/** Each JavaScript and Wasm file below a folder, with its size after `gzip -9`. */
function weigh(folder) {
  const names = readdirSync(folder, { recursive: true }).map(String).filter((name) => /\.(js|wasm)$/.test(name));
  return names.map((name) => ({ name, bytes: gzipSync(readFileSync(join(folder, name)), { level: 9 }).length }));
}

// What runs in Chromium, against a server that allows these pages.
const ways = [
  ["vite dev", "vite", viteDev],
  ["vite build and preview", "vite", vitePreview],
  ["webpack, strict Content-Security-Policy", "webpack", webpack],
  ["static files and an import map", "static", (folder, port) => files([folder], port)],
].filter(([name]) => !only || name.startsWith(only));
const ports = await Promise.all(ways.map(freePort));
const origins = ports.map((port) => `http://127.0.0.1:${port}`);

if (ways.length > 0) {
  let [server, chromium] = [];
  try {
    server = await serve(binary, bundle, origins);
    chromium = await browser();
    for (const [at, [name, fixture, start]] of ways.entries()) await way(name, fixture, start, ports[at]);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  the server or the browser did not start: ${error.stack}`);
  } finally {
    await chromium?.end();
    await server?.end();
  }

  /** A page that makes one request to a mechtron in a worker; the last way also tries `Host` out. */
  async function way(name, fixture, start, port) {
    const query = `?server=${encodeURIComponent(server.url)}`;
    let page;
    await test(`${name}: a mechtron in a worker answers`, async () => {
      const folder = project(fixture, tarball);
      page = await start(folder, port, server.url);
      const { html, place, onImport, globals, workers } = await chromium.outcome(`http://127.0.0.1:${port}/${query}`);
      same(html, HTML, "the reply");
      same(Object.entries(onImport).filter(([, count]) => count > 0), [], "what the import did");
      same(globals.filter((name) => !BUNDLERS.includes(name)), [], "the list of new globals");
      if (!/^worker/.test(place ?? "") || workers < 1) throw new Error(`it ran in ${place}, with ${workers} workers made`);
      return place;
    });
    if (page && fixture === "static") {
      const results = await chromium.outcome(`http://127.0.0.1:${port}/try.html${query}`).catch((error) => [{ name: "the page", why: error.message }]);
      for (const { name, why } of results) {
        await test(`static Host: ${name}`, () => {
          if (why) throw new Error(why);
        });
      }
    }
    await page?.end();
  }
}

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
