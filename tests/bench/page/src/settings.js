// The settings from the client that opened the page, and the address for results.

const given = new URLSearchParams(location.search);

/** The part to run. */
export const part = given.get("part");
/** The engine of this page. */
export const engine = given.get("engine");
/** The number of blocks of each contender. */
export const rounds = Number(given.get("rounds") ?? 5);
/** The length of a block, in milliseconds. */
export const block = Number(given.get("block") ?? 1_000);
/** Servers: the raw WebSocket echo, NATS. */
export const raw = given.get("raw");
export const nats = given.get("nats");

const collector = given.get("collector");

/** Reports to the client. Resolves to its answer. */
export async function tell(kind, value = {}) {
  // No preflight: the body is plain text.
  const response = await fetch(`${collector}/${kind}`, { method: "POST", body: JSON.stringify(value) });
  if (!response.ok) throw new Error(`the collector answers ${response.status}: ${await response.text()}`);
  return response.json();
}
