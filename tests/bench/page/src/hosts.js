// Our host, and the guests' modules.
import { Host } from "@starlane/mesh";

/** The path of the peers' modules. */
const GUESTS = "/bench/guests";

let opened;

/** Our host, once per page. */
export function host() {
  opened ??= Host.open({ server: location.origin, cache: "bench" });
  return opened;
}

/** The bytes of a guest's module. */
export async function bytesOf(name) {
  const response = await fetch(`${GUESTS}/${name}.wasm`);
  if (!response.ok) throw new Error(`${name}.wasm answers ${response.status}`);
  return response.arrayBuffer();
}

/** The compiled mechtron. */
export async function speaker() {
  return WebAssembly.compile(await bytesOf("speaker"));
}
