// What the client that opened the page says, and where it wants the results.

const given = new URLSearchParams(location.search);

/** The part that runs. */
export const part = given.get("part");
/** The engine that this page runs in. */
export const engine = given.get("engine");
/** How often each contender is measured. */
export const rounds = Number(given.get("rounds") ?? 5);
/** How long each time, in milliseconds. */
export const block = Number(given.get("block") ?? 1_000);
/** Servers: the raw WebSocket echo, NATS. */
export const raw = given.get("raw");
export const nats = given.get("nats");

const collector = given.get("collector");

/** Tells the client something; gives what it answers. */
export async function tell(kind, value = {}) {
  // No preflight: the body is plain text.
  const response = await fetch(`${collector}/${kind}`, { method: "POST", body: JSON.stringify(value) });
  if (!response.ok) throw new Error(`the collector answers ${response.status}: ${await response.text()}`);
  return response.json();
}
