// Whose bundles may run in a page that names no publishers: the list of its server, and the one that was kept of it.

import { StarlaneError } from "./errors.js";

/** How long the server may take to list its publishers, in milliseconds: with an older list at hand, and without. */
const AT_HAND = 2_000;
const PATIENCE = 5_000;

/**
 * The publishers that the server lists, for a host that was given no `trust`. The list is kept, so that an app launches when
 * the server is away.
 */
export async function publishers(server: string, cache: string): Promise<string[]> {
  const place = `starlane:publishers:${cache}:${server}`;
  const kept = recall(place);
  let why: unknown;
  try {
    const response = await ask(server, kept ? AT_HAND : PATIENCE);
    const listed = response.ok ? ((await response.json()) as { publishers?: unknown }).publishers : undefined;
    if (Array.isArray(listed) && listed.every((key) => typeof key === "string")) {
      keep(place, listed);
      return listed;
    }
    const refused = await refusal(response);
    if (refused) throw refused;
    why = `it answered ${response.status}, and not with a list of publishers`;
  } catch (error) {
    if (error instanceof StarlaneError) throw error;
    why = error instanceof Error ? error.message : error;
  }
  if (kept) return kept;
  const message = `${server} can't be asked which publishers it lists (${String(why)}): see that it runs${allowing(server)}, or give \`trust\` to Host.open`;
  throw new StarlaneError("offline", 503, message);
}

/** How a server is to be started for pages of another origin than its own. */
export function allowing(server: string): string {
  const { origin } = location;
  return new URL(server).origin === origin ? "" : ` with \`--allow-origin ${origin}\``;
}

/** That the server refuses this page's origin, if it does. */
export async function originRefusal(server: string): Promise<StarlaneError | undefined> {
  try {
    return await refusal(await ask(server, PATIENCE));
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
    // Storage may be switched off, or full: then an app launches only while the server is there.
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
