// The options of `Host.open`, checked, with their defaults; equal ones share a host.

import { StarlaneError, malformed } from "./errors.js";
import type { HostOptions } from "./types.js";

const KNOWN: ReadonlySet<string> = /* @__PURE__ */ new Set(["server", "token", "trust", "cache", "cacheBytes", "signal", "wasm", "worker", "contract", "glue"]);

/** The default of `cacheBytes`: 256 MiB. */
const CACHE_BYTES = 268_435_456;

/** The options of a host, checked. */
export interface Settings {
  /** Without a slash at its end. */
  server: string;
  cache: string;
  cacheBytes: number;
  trust: string[] | undefined;
  token: HostOptions["token"];
  wasm: URL | undefined;
  worker: URL | undefined;
  contract: URL | undefined;
  glue: URL | undefined;
}

/** Checks options; throws `malformed` for the first that can't be used, `trust-required` if `trust` may not be left out. */
export function settings(options: HostOptions): Settings {
  if (options === null || typeof options !== "object") {
    throw malformed('Host.open takes options, such as { server: "http://127.0.0.1:7711" }');
  }
  const unknown = Object.keys(options).filter((name) => !KNOWN.has(name));
  if (unknown.length > 0) throw malformed(`Host.open has no option \`${unknown.join("`, `")}\` in this version`);
  const { cache = "starlane", cacheBytes = CACHE_BYTES, trust, token } = options;
  if (typeof cache !== "string" || cache === "") throw malformed("the option `cache` must be a name");
  if (!Number.isSafeInteger(cacheBytes) || cacheBytes < 0) throw malformed("the option `cacheBytes` must be a whole number of bytes");
  if (token !== undefined && typeof token !== "function") {
    throw malformed("the option `token` must be a function that gives the token: `token: async () => …`");
  }
  if (trust !== undefined && !(Array.isArray(trust) && trust.every((key) => typeof key === "string"))) {
    throw malformed("the option `trust` must be a list of publishers' keys: `trust: [\"ed25519:…\"]`");
  }
  const server = url(options.server, "server");
  if (server.protocol !== "http:" && server.protocol !== "https:") {
    throw malformed(`the option \`server\` must be an http: or https: URL, not ${server.href}`);
  }
  if (trust === undefined && !listsItsPublishers(server)) throw trustRequired(server);
  return {
    server: `${server.origin}${server.pathname.replace(/\/+$/, "")}`,
    cache,
    cacheBytes,
    trust: trust && [...new Set(trust as readonly string[])].sort(),
    token,
    wasm: options.wasm === undefined ? undefined : url(options.wasm, "wasm"),
    worker: options.worker === undefined ? undefined : url(options.worker, "worker"),
    contract: options.contract === undefined ? undefined : url(options.contract, "contract"),
    glue: options.glue === undefined ? undefined : url(options.glue, "glue"),
  };
}

/** Hosts of equal identity share what they run on. A token function is usually made anew at each call, so it only counts whether there is one. */
export function identity({ server, cache, cacheBytes, trust, token, wasm, worker, contract, glue }: Settings): string {
  const files = [wasm, worker, contract, glue].map((url) => url?.href ?? null);
  return JSON.stringify([server, cache, cacheBytes, trust ?? null, token !== undefined, ...files]);
}

function url(given: unknown, name: string): URL {
  const base = typeof document === "undefined" ? undefined : document.baseURI;
  try {
    if (typeof given === "string" || given instanceof URL) return new URL(given, base);
  } catch {
    // Said below.
  }
  throw malformed(`the option \`${name}\` must be a URL, not ${JSON.stringify(given)}`);
}

/** Whether a server's own list of publishers may be believed: nobody else can be in its place. */
function listsItsPublishers(server: URL): boolean {
  const loopback = server.hostname === "localhost" || server.hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(server.hostname);
  return loopback || server.origin === globalThis.location?.origin;
}

function trustRequired(server: URL): StarlaneError {
  return new StarlaneError(
    "trust-required",
    400,
    `${server.origin} is neither on this machine nor of this page's origin: say whose bundles may run here. ` +
      `\`starlane keys show\` prints a publisher's key; paste it into Host.open:\n  trust: ["ed25519:…"],`,
  );
}
