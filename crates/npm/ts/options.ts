// The options of `Host.open`, checked, with their defaults; equal ones share a host.

import { abortSignal, callback, must, options, reading, text } from "./check.js";
import { StarlaneError, malformed } from "./errors.js";
import type { HostOptions } from "./types.js";

const KNOWN = ["server", "token", "trust", "cache", "cacheBytes", "signal", "wasm", "verifier", "meter", "worker", "contract", "glue"] as const;

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
  signal: AbortSignal | undefined;
  wasm: URL | undefined;
  verifier: URL | undefined;
  meter: URL | undefined;
  worker: URL | undefined;
  contract: URL | undefined;
  glue: URL | undefined;
}

/** Checks options; throws `malformed` for the first that can't be used, `trust-required` if `trust` may not be left out. */
export function settings(given: HostOptions): Settings {
  if (given === undefined) throw malformed('Host.open takes options, such as { server: "http://127.0.0.1:7711" }');
  const { server: at, cache = "starlane", cacheBytes = CACHE_BYTES, trust, token, signal, ...files } = options("Host.open", given, KNOWN);
  if (text("cache", cache) === "") throw must("cache", "a name", cache);
  if (!Number.isSafeInteger(cacheBytes) || cacheBytes < 0) throw must("cacheBytes", "a whole number of bytes", cacheBytes);
  const keys = trust === undefined ? undefined : reading("`trust`", () => [...new Set(publishers(trust))].sort());
  const server = serverUrl(at);
  if (keys === undefined && !listsItsPublishers(server)) throw trustRequired(server);
  return {
    server: `${server.origin}${server.pathname.replace(/\/+$/, "")}`,
    cache,
    cacheBytes,
    trust: keys,
    token: callback("token", token),
    signal: abortSignal(signal),
    wasm: file("wasm", files.wasm),
    verifier: file("verifier", files.verifier),
    meter: file("meter", files.meter),
    worker: file("worker", files.worker),
    contract: file("contract", files.contract),
    glue: file("glue", files.glue),
  };
}

/** Hosts of equal identity share what they run on. A token function is usually made anew at each call, so it only counts whether there is one. */
export function identity({ server, cache, cacheBytes, trust, token, wasm, verifier, meter, worker, contract, glue }: Settings): string {
  const files = [wasm, verifier, meter, worker, contract, glue].map((url) => url?.href ?? null);
  return JSON.stringify([server, cache, cacheBytes, trust ?? null, token !== undefined, ...files]);
}

/** The keys of publishers, as `starlane keys show` prints them. */
function publishers(given: readonly string[]): string[] {
  const refuse = (value: unknown): never => {
    throw must("trust", "a list of publishers' keys, such as `ed25519:…`", value);
  };
  const keys: unknown[] = Array.isArray(given) ? [...given] : refuse(given);
  return keys.map((key) => (typeof key === "string" && /^ed25519:[\w-]{43}$/.test(key) ? key : refuse(key)));
}

/** An absolute URL of the web without anything that would be left out: a link has no user name, query or fragment. */
function serverUrl(given: unknown): URL {
  const url = parsed(given);
  const isWeb = url !== undefined && /^https?:$/.test(url.protocol) && (typeof given !== "string" || /^\s*https?:\/\//i.test(given));
  if (isWeb && !url.username && !url.password && !url.search && !url.hash) return url;
  const form = "an http: or https: URL without user name, query and fragment, such as `http://127.0.0.1:7711`";
  // What stands there may be a secret.
  throw must("server", form, url && /[@?]/.test(url.href) ? url.origin : given);
}

/** The URL of a file of the package's; it may be relative to the page. */
function file(name: string, given: unknown): URL | undefined {
  if (given === undefined) return undefined;
  const url = given === "" ? undefined : parsed(given, typeof document === "undefined" ? undefined : document.baseURI);
  if (url) return url;
  throw must(name, "a URL", given);
}

/** The URL that a string or a URL of any realm is; nothing for what is neither. */
function parsed(given: unknown, base?: string): URL | undefined {
  try {
    // Only a URL has what this reads.
    if (typeof given !== "string") Object.getOwnPropertyDescriptor(URL.prototype, "href")?.get?.call(given);
    return new URL(given as string | URL, base);
  } catch {
    return undefined;
  }
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
