// The publishers that a page trusts if it passes no `trust`: the list of its server, or the stored copy of that list.

import { StarlaneError } from "./errors.js";

/** The time limits for the server's list of publishers: with a stored copy of it, and without. */
const REFRESH_TIMEOUT_MS = 2_000;
const LIST_TIMEOUT_MS = 5_000;
/** The time limit for finding out why a server cannot be reached. */
const EXPLAIN_TIMEOUT_MS = 2_000;

/**
 * The publishers that the server lists, for a host without `trust`. The list is stored, so that apps can be launched while the
 * server is away.
 */
export async function publishers(server: string, cache: string): Promise<string[]> {
  const place = `starlane:publishers:${cache}:${server}`;
  const kept = recall(place);
  let why: unknown;
  try {
    const response = await ask(server, kept ? REFRESH_TIMEOUT_MS : LIST_TIMEOUT_MS);
    const listed = response.ok ? ((await response.json()) as { publishers?: unknown }).publishers : undefined;
    if (Array.isArray(listed) && listed.every((key) => typeof key === "string")) {
      keep(place, listed);
      return listed;
    }
    const refused = await refusal(response);
    if (refused) throw refused;
    why = `status ${response.status} without a list of publishers`;
  } catch (error) {
    if (error instanceof StarlaneError) throw error;
    why = error instanceof Error ? error.message : error;
  }
  if (kept) return kept;
  const message = `cannot get the list of publishers from ${server} (${String(why)}): run the server${allowing(server)}, or pass \`trust\` to Host.open`;
  throw new StarlaneError("offline", 503, message);
}

/** The flag that a server needs for pages of another origin than its own. */
export function allowing(server: string): string {
  const { origin } = location;
  return new URL(server).origin === origin ? "" : ` with \`--allow-origin ${origin}\``;
}

/** Finds out why a server cannot be reached. `undefined`: nothing more than that is known. */
export async function unreachableBecause(server: string): Promise<StarlaneError | undefined> {
  if (!navigator.onLine) {
    return new StarlaneError("offline", 503, `no link to ${server}: this device has no network`);
  }
  try {
    const response = await ask(server, EXPLAIN_TIMEOUT_MS);
    if (response.status === 503) return new StarlaneError("overloaded", 503, `no link to ${server}: the server takes no more connections now`);
    return await refusal(response);
  } catch (error) {
    const isLate = error instanceof DOMException && error.name === "TimeoutError";
    if (!(await isWithheld(server, isLate))) return undefined;
    const message =
      `no link to ${server}: the browser withholds permission to reach it from a public page: ` +
      "allow this site to reach devices on the local network";
    return new StarlaneError("local-network", 503, message);
  }
}

const LOOPBACK = /^(localhost$|127\.|\[::1\]$)/;
/** Addresses of private networks (RFC 1918, RFC 3927, RFC 4193), and names that only these have. */
const PRIVATE = /^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|\[f[cde]|[^.]+$|.*\.(local|internal|lan)$)/;

/**
 * Whether the browser withholds permission to reach a server on this machine or in a private network. A page of this machine needs
 * no permission, though browsers report that they would ask for it. While they ask, a request is late.
 */
async function isWithheld(server: string, isLate: boolean): Promise<boolean> {
  const { hostname } = new URL(server);
  const isLoopback = LOOPBACK.test(hostname);
  if (!isLoopback && !PRIVATE.test(hostname)) return false;
  const mayAsk = isLate || !(LOOPBACK.test(location.hostname) || PRIVATE.test(location.hostname));
  for (const name of [isLoopback ? "loopback-network" : "local-network", "local-network-access"]) {
    try {
      const { state } = await navigator.permissions.query({ name: name as PermissionName });
      return state === "denied" || (state === "prompt" && mayAsk);
    } catch {
      // This browser does not know the permission under this name.
    }
  }
  return false;
}

function ask(server: string, patience: number): Promise<Response> {
  const signal = AbortSignal.timeout(patience);
  return fetch(`${server}/.well-known/starlane.json`, { cache: "no-store", credentials: "omit", signal });
}

async function refusal(response: Response): Promise<StarlaneError | undefined> {
  if (response.status !== 403) return undefined;
  const { code, message } = (await response.json()) as { code?: unknown; message?: unknown };
  return code === "origin-refused" ? new StarlaneError(code, 403, String(message)) : undefined;
}

function keep(place: string, keys: string[]): void {
  try {
    localStorage.setItem(place, JSON.stringify(keys));
  } catch {
    // Storage may be switched off or full. Then apps can be launched only while the server can be reached.
  }
}

function recall(place: string): string[] | undefined {
  try {
    const keys: unknown = JSON.parse(localStorage.getItem(place) ?? "null");
    return Array.isArray(keys) ? keys.map(String) : undefined;
  } catch {
    return undefined;
  }
}
