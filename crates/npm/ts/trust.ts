// The publishers that a page trusts if it passes no `trust`: the list of its server, or the stored copy of that list.

import { StarlaneError } from "./errors.js";

/** The time limits for the server's list of publishers: with a stored copy of it, and without. */
const REFRESH_TIMEOUT_MS = 2_000;
const LIST_TIMEOUT_MS = 5_000;

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

/** The error, if the server refuses this page's origin. */
export async function originRefusal(server: string): Promise<StarlaneError | undefined> {
  try {
    return await refusal(await ask(server, LIST_TIMEOUT_MS));
  } catch {
    return undefined;
  }
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
