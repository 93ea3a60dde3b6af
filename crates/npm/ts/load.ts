// Loads the Wasm modules and the worker of the package, and scripts on demand.

import init from "./wasm/starlane_npm.js";
import initVerifier, { verify as verifyNow } from "./wasm/starlane_verifier.js";
import { StarlaneError } from "./errors.js";

/** A Wasm module of the package. */
class Loadable<T> {
  readonly #init: (source: { module_or_path: URL }) => Promise<T>;
  readonly #option: string;
  #loading: Promise<T> | undefined;

  constructor(init: (source: { module_or_path: URL }) => Promise<T>, option: string) {
    this.#init = init;
    this.#option = option;
  }

  /** Loads the module once per page. After a failure the next call tries again. */
  async load(module_or_path: URL): Promise<T> {
    this.#loading ??= this.#init({ module_or_path });
    try {
      return await this.#loading;
    } catch (cause) {
      this.#loading = undefined;
      const why = cause instanceof Error ? cause.message : String(cause);
      const message =
        `${module_or_path.href} cannot be loaded as WebAssembly (${why}). If it is elsewhere, pass its URL as \`${this.#option}\` to ` +
        "Host.open. A Content-Security-Policy must have `script-src 'wasm-unsafe-eval'`";
      throw new StarlaneError("load-failed", 503, message, undefined, { cause });
    }
  }
}

const host = /* @__PURE__ */ new Loadable(init, "wasm");
const verifier = /* @__PURE__ */ new Loadable(initVerifier, "verifier");
const meter = /* @__PURE__ */ new Loadable(compile, "meter");

/** Compiles a Wasm module, whatever content type its server sends. */
async function compile({ module_or_path }: { module_or_path: URL }): Promise<WebAssembly.Module> {
  const response = await fetch(module_or_path);
  if (!response.ok) throw new Error(`status ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}

/** Loads the host. */
export function load(wasm: URL | undefined): Promise<unknown> {
  // Bundlers look for this literal.
  return host.load(wasm ?? new URL("./wasm/starlane_npm_bg.wasm", import.meta.url));
}

/** Loads the verifier of bundles. */
export function loadVerifier(wasm: URL | undefined): Promise<unknown> {
  return verifier.load(wasm ?? new URL("./wasm/starlane_verifier_bg.wasm", import.meta.url));
}

/** Loads the checker of guests' modules. */
export function loadMeter(wasm: URL | undefined): Promise<WebAssembly.Module> {
  return meter.load(wasm ?? new URL("./wasm/meter.wasm", import.meta.url));
}

/** Verifies a bundle for the host. */
export async function verify(wasm: URL | undefined, question: Uint8Array): Promise<Uint8Array> {
  await loadVerifier(wasm);
  return verifyNow(question);
}

/** Loads what only users of streams need. */
export async function loadStreams(): Promise<typeof import("./streams.js")> {
  try {
    // Bundlers make a chunk of it.
    return await import("./streams.js");
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new StarlaneError("load-failed", 503, `streams.js of the package cannot be loaded (${why})`, undefined, { cause });
  }
}

/** Throws `unsupported-environment` if a host cannot run here. */
export function requireBrowser(): void {
  const missing = ["WebAssembly", "WebSocket", "Worker", "fetch"].filter((name) => !(name in globalThis));
  if (missing.length === 0) return;
  const message =
    `Host.open needs a browser: ${missing.join(", ")} ${missing.length > 1 ? "are" : "is"} missing here. ` +
    "A server that renders pages may import the package, but must call Host.open only in the browser";
  throw new StarlaneError("unsupported-environment", 501, message);
}

/** Starts a worker for guests. */
export function spawn(worker: URL | undefined): Worker {
  // Bundlers recognise only the whole expression.
  if (!worker) return new Worker(new URL("./worker.js", import.meta.url), { type: "module", name: "starlane" });
  return new Worker(trusted(worker) as URL, { type: "module", name: "starlane" });
}

const hinted = /* @__PURE__ */ new Set<string>();

/** Returns the URL of a script that is loaded on demand, `contract` or `glue`, and lets the browser preload it. */
export function script(name: string, { contract, glue }: { contract: URL | undefined; glue: URL | undefined }): string {
  // Bundlers look for these literals.
  const { href } =
    name === "glue" ? (glue ?? new URL("./glue.js", import.meta.url)) : (contract ?? new URL("./contract.js", import.meta.url));
  if (typeof document !== "undefined" && !hinted.has(href)) {
    hinted.add(href);
    document.head.append(Object.assign(document.createElement("link"), { rel: "modulepreload", href }));
  }
  return href;
}

interface PolicyFactory {
  createPolicy(name: string, rules: { createScriptURL(url: string): string }): { createScriptURL(url: string): unknown };
}

let policy: ReturnType<PolicyFactory["createPolicy"]> | undefined;

/** The URL of a worker that the page has named, in the form that browsers with Trusted Types require. */
function trusted(url: URL): unknown {
  const { trustedTypes } = globalThis as { trustedTypes?: PolicyFactory };
  policy ??= trustedTypes?.createPolicy("starlane", { createScriptURL: (given) => given });
  return policy ? policy.createScriptURL(url.href) : url;
}
