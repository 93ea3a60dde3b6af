// Tests of the packed package: installed into empty projects, type-checked, and run in Chromium. See README.md.
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { browser } from "./browser.mjs";
import { compare } from "./golden.mjs";
import { files, viteDev, vitePreview, webpack } from "./pages.mjs";
import { installTools, project, root, run, tools } from "./projects.mjs";
import { guide, typeCheck } from "./snippets.mjs";
import { freePort, serve } from "./starlane.mjs";
import { LATER, METER, isFirst, sum, weigh } from "./weigh.mjs";

/** The maximum size of the first load: 255,000 bytes, 19,000 for links that survive the loss of their connection, and 24,000 for streams. */
const MAX_FIRST_LOAD_BYTES = 298_000;
/** The maximum size of the scripts that are loaded on demand. */
const MAX_LATER_BYTES = 140_000;
/** The maximum size of the checker of modules. */
const MAX_METER_BYTES = 122_880;
/** The globals of the bundlers' own code. */
const BUNDLERS = ["__vite_is_modern_browser", "__VUE_HMR_RUNTIME__", "webpackChunk"];
const HTML = "<h1>Ada</h1>\n<p><em>Countess</em> of <strong>Lovelace</strong></p>\n";

const only = process.argv.includes("--only") ? process.argv[process.argv.indexOf("--only") + 1] : undefined;
let [passed, failed] = [0, 0];

/** Records a figure of a test. */
function figure(name, value, unit, test) {
  console.log(`figure ${JSON.stringify({ name, value, unit, engine: "", test })}`);
}

function fieldFaults(test, tried, failing) {
  figure("field-faults.tried", tried, "inputs", test);
  figure("field-faults.failing", failing, "inputs", test);
}

/** Records how many inputs a test of a field fault tried, and how many failed. Throws if one failed. */
function fieldFault(test, tried, failing) {
  fieldFaults(test, tried, failing.length);
  if (failing.length > 0) throw new Error(`${failing.length} of ${tried} fail:\n${failing.join("\n")}`);
}

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
  if (!value) throw new Error(`${variable} is not set: run \`cargo xtask test --only package\`, which builds the parts and sets it`);
  return resolve(value);
}

const tarball = given("STARLANE_TARBALL");
const binary = given("STARLANE_BIN");
const bundle = given("STARLANE_BUNDLE");
installTools();

// Tests that need no browser.
const node = project("node", tarball);
const installed = join(node, "node_modules/@starlane/mesh");

await test("golden: the types are the reviewed ones", () => compare(join(installed, "dist")));
await test("node: importing has no side effects and needs no browser", () => {
  run(node, process.execPath, "--input-type=module", "-e", "await import('@starlane/mesh')");
  const program = `
    const before = Object.getOwnPropertyNames(globalThis).join();
    const { Host, StarlaneError, key, unkey } = await import("@starlane/mesh");
    if (Object.getOwnPropertyNames(globalThis).join() !== before) throw new Error("the import created a global");
    const error = await Host.open({ server: "http://127.0.0.1:7711" }).catch((error) => error);
    if (!(error instanceof StarlaneError) || error.code !== "unsupported-environment") throw error;
    const code = (call) => { try { return call() } catch (error) { return error.code } };
    const vectors = ${readFileSync(join(root, "crates/protocol/vectors/keys.json"), "utf8")};
    const failing = [];
    for (const [text, segment] of vectors.keys) {
      if (code(() => key(text)) !== segment) failing.push("key(" + JSON.stringify(text) + ")");
      if (code(() => unkey(segment)) !== text) failing.push("unkey(" + segment + ")");
    }
    for (const text of vectors.withoutKey) if (code(() => key(text)) !== "malformed") failing.push("key(" + JSON.stringify(text) + ")");
    for (const segment of vectors.notKeys) if (code(() => unkey(segment)) !== "malformed") failing.push("unkey(" + segment + ")");
    const pick = (below) => Math.floor(Math.random() * below);
    for (let round = 0; round < 5000; round += 1) {
      const text = String.fromCodePoint(...Array.from({ length: 1 + pick(9) }, () => [pick(0x80), 0xfeff, pick(0xd800), 0x10000 + pick(0x100000)][pick(4)]));
      const segment = code(() => key(text));
      if (segment !== "malformed" && code(() => unkey(segment)) !== text) failing.push(JSON.stringify(text));
    }
    for (const text of ["\\ud800", "a\\udc00", "\\ud800b"]) if (code(() => key(text)) !== "malformed") failing.push("a lone surrogate");
    const tried = 2 * vectors.keys.length + vectors.withoutKey.length + vectors.notKeys.length + 5003;
    console.log(JSON.stringify({ tried, failing }));`;
  const { tried, failing } = JSON.parse(run(node, process.execPath, "--input-type=module", "-e", program));
  fieldFault("F21 texts survive key and unkey, as in the other languages", tried, failing);
});
await test("types: consumers of every member are type-checked by the oldest and newest TypeScript", () => {
  const types = project("types", tarball);
  const failing = [];
  let tried = 0;
  const check = (version, ...words) => {
    tried += 1;
    try {
      run(types, process.execPath, join(tools, version, "bin/tsc"), "--noEmit", ...words);
    } catch (error) {
      failing.push(`${version} ${words.join(" ")}: ${error.message}`);
    }
  };
  for (const version of ["typescript-5.0", "typescript-5.9", "typescript"]) {
    check(version, "--skipLibCheck", "true");
    for (const [module, resolution] of [["esnext", "bundler"], ["node16", "node16"], ["nodenext", "nodenext"]]) {
      check(version, "--module", module, "--moduleResolution", resolution, "--skipLibCheck", "false");
    }
    if (version !== "typescript-5.0") check(version, "--project", "tsconfig.disposal.json", "--skipLibCheck", "false");
  }
  fieldFault("F24 the types compile", tried, failing);
});
await test("snippets: the scripts in the documents are type-checked", () => {
  figure("snippets.run", typeCheck(tarball), "snippets", "npm: scripts");
});
await test("size: the first load is small", () => {
  const parts = weigh(join(installed, "dist")).filter(({ name }) => isFirst(name));
  const first = sum(parts);
  figure("first-load.gzip", first, "bytes", "npm");
  const later = sum(weigh(join(installed, "dist")).filter(({ name }) => LATER.includes(name)));
  figure("later-load.gzip", later, "bytes", "npm");
  // A page that launches an app whose bind has schemas needs all this before the app's first reply. The checker of modules is not in it.
  const launching = weigh(join(installed, "dist")).filter(({ name }) => ![METER, "glue.js", "streams.js"].includes(name));
  figure("first-launch.gzip", sum(launching), "bytes", "npm");
  if (later === 0 || later > MAX_LATER_BYTES) throw new Error(`${LATER.join(", ")} has ${later} bytes; the maximum is ${MAX_LATER_BYTES}`);
  const largest = parts.sort((a, b) => b.bytes - a.bytes).slice(0, 4).map(({ name, bytes }) => `${name} ${bytes}`);
  if (first > MAX_FIRST_LOAD_BYTES) throw new Error(`the first load has ${first} bytes; the maximum is ${MAX_FIRST_LOAD_BYTES}: ${largest.join(", ")}`);
  return `${first} bytes of ${MAX_FIRST_LOAD_BYTES}: ${largest.join(", ")} …`;
});

await test("size: the checker of modules is small", () => {
  const [{ bytes }] = weigh(join(installed, "dist")).filter(({ name }) => name === METER);
  figure("meter.gzip", bytes, "bytes", "npm");
  if (bytes > MAX_METER_BYTES) throw new Error(`${METER} has ${bytes} bytes; the maximum is ${MAX_METER_BYTES}`);
  return `${bytes} bytes of ${MAX_METER_BYTES}`;
});

// Tests in Chromium, with a server that allows the origins of these pages.
const ways = [
  ["vite dev", "vite", viteDev],
  ["vite build and preview", "vite", vitePreview],
  ["webpack, strict Content-Security-Policy", "webpack", webpack],
  ["static files and an import map", "static", (folder, port) => files([folder], port)],
].filter(([name]) => !only || name.startsWith(only));
const GUIDE = "guide: the page for agents works as it stands";
const withGuide = !only || GUIDE.startsWith(only);
const ports = await Promise.all(ways.map(freePort));
const guidePort = await freePort();
// A port whose origin the server does not allow.
const otherPort = await freePort();
const origins = [...ports, guidePort].map((port) => `http://127.0.0.1:${port}`);

if (ways.length > 0 || withGuide) {
  let [server, chromium] = [];
  try {
    server = await serve(binary, bundle, origins);
    chromium = await browser();
    for (const [at, [name, fixture, start]] of ways.entries()) await way(name, fixture, start, ports[at]);
    await test(GUIDE, async () => {
      figure("snippets.run", await guide({ tarball, binary, server, port: guidePort, chromium }), "snippets", "npm: guide");
    });
  } catch (error) {
    failed += 1;
    console.log(`FAIL  the server or the browser did not start: ${error.stack}`);
  } finally {
    await chromium?.end();
    await server?.end();
  }

  /** Tests a page that sends one request to a mechtron in a worker. The last way also tests `Host`. */
  async function way(name, fixture, start, port) {
    const query = `?server=${encodeURIComponent(server.url)}`;
    let page;
    await test(`${name}: a mechtron in a worker answers`, async () => {
      const folder = project(fixture, tarball);
      page = await start(folder, port, server.url);
      const { html, place, onImport, globals, workers, own } = await chromium.outcome(`http://127.0.0.1:${port}/${query}`);
      same(html, HTML, "the reply");
      same(Object.entries(onImport).filter(([, count]) => count > 0), [], "the list of side effects of the import");
      same(globals.filter((name) => !BUNDLERS.some((own) => name.startsWith(own))), [], "the list of new globals");
      if (!/^worker/.test(place ?? "") || workers < 1) throw new Error(`the mechtron ran in ${place}, and ${workers} workers were started`);
      if (fixture !== "static") {
        const isKept = own.html === HTML && own.place === place;
        fieldFault(`F26 a worker that imports the package's is kept by ${name}`, 1, isKept ? [] : [JSON.stringify(own)]);
      }
      return place;
    });
    if (page && fixture === "static") {
      await pageTests(`http://127.0.0.1:${port}/try.html${query}`);
      await pageTests(`http://127.0.0.1:${port}/streams.html${query}`);
      const refused = await files([join(tools, "..", fixture)], otherPort);
      await pageTests(`http://127.0.0.1:${otherPort}/refused.html${query}`);
      await refused.end();
    }
    await page?.end();
  }

  /** Reports the tests that a page runs by itself. */
  async function pageTests(url) {
    const results = await chromium.outcome(url).catch((error) => [{ name: "the page", why: error.message }]);
    for (const { name, why, figures } of results) {
      await test(`static Host: ${name}`, () => {
        if (figures) fieldFaults(name, figures.tried, figures.failing);
        if (why) throw new Error(why);
      });
    }
  }
}

console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
