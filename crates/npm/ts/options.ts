// Checks the options of `Host.open` and fills in their defaults. Equal options share a host.

import { abortSignal, callback, must, options, reading, text } from "./check.js";
import { StarlaneError, malformed } from "./errors.js";
import type { HostOptions } from "./types.js";

const KNOWN = ["server", "token", "trust", "cache", "cacheBytes", "signal", "wasm", "verifier", "meter", "worker", "contract", "glue"] as const;

/** 256 MiB. */
const DEFAULT_CACHE_BYTES = 268_435_456;

/** The checked options of a host. */
export interface Settings {
  /** Without a trailing slash. */
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

/** Checks options. Throws `malformed` for the first that cannot be used, and `trust-required` if `trust` is missing but required. */
export function settings(given: HostOptions): Settings {
  if (given === undefined) throw malformed('Host.open takes options, such as { server: "http://127.0.0.1:7711" }');
  const { server: at, cache = "starlane", cacheBytes = DEFAULT_CACHE_BYTES, trust, token, signal, ...files } = options("Host.open", given, KNOWN);
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

/** `Host` objects of equal identity share one host. Callers usually pass a new token function each time, so only its presence counts. */
export function identity({ server, cache, cacheBytes, trust, token, wasm, verifier, meter, worker, contract, glue }: Settings): string {
  const files = [wasm, verifier, meter, worker, contract, glue].map((url) => url?.href ?? null);
  return JSON.stringify([server, cache, cacheBytes, trust ?? null, token !== undefined, ...files]);
}

/** Checks the keys of publishers, as `starlane keys show` prints them. */
function publishers(given: readonly string[]): string[] {
  const refuse = (value: unknown): never => {
    throw must("trust", "a list of publishers' keys, such as `ed25519:…`", value);
  };
  const keys: unknown[] = Array.isArray(given) ? [...given] : refuse(given);
  return keys.map((key) => (typeof key === "string" && /^ed25519:[\w-]{43}$/.test(key) ? key : refuse(key)));
}

/** Checks the URL of a server: absolute, and without the parts that a link cannot use (user name, query, fragment). */
function serverUrl(given: unknown): URL {
  const url = parsed(given);
  const isWeb = url !== undefined && /^https?:$/.test(url.protocol) && (typeof given !== "string" || /^\s*https?:\/\//i.test(given));
  if (isWeb && !url.username && !url.password && !url.search && !url.hash) return url;
  const form = "an http: or https: URL without user name, query and fragment, such as `http://127.0.0.1:7711`";
  // The rest of the URL may be a secret.
  throw must("server", form, url && /[@?]/.test(url.href) ? url.origin : given);
}

/** Checks the URL of a file of the package. It may be relative to the page. */
function file(name: string, given: unknown): URL | undefined {
  if (given === undefined) return undefined;
  const url = given === "" ? undefined : parsed(given, typeof document === "undefined" ? undefined : document.baseURI);
  if (url) return url;
  throw must(name, "a URL", given);
}

/** Parses a string, or a URL object of any realm. Returns undefined for anything else. */
function parsed(given: unknown, base?: string): URL | undefined {
  try {
    // This getter throws for anything but a URL.
    if (typeof given !== "string") Object.getOwnPropertyDescriptor(URL.prototype, "href")?.get?.call(given);
    return new URL(given as string | URL, base);
  } catch {
    return undefined;
  }
}

/** Whether the page may believe the server's own list of publishers: nobody can impersonate the server. */
function listsItsPublishers(server: URL): boolean {
  const loopback = server.hostname === "localhost" || server.hostname === "[::1]" || /^127\.\d+\.\d+\.\d+$/.test(server.hostname);
  return loopback || server.origin === globalThis.location?.origin;
}

function trustRequired(server: URL): StarlaneError {
  return new StarlaneError(
    "trust-required",
    400,
    `${server.origin} is neither on this machine nor of this page's origin: name the publishers whose bundles may run here. ` +
      `\`starlane keys show\` prints a publisher's key; pass it to Host.open:\n  trust: ["ed25519:…"],`,
  );
}
