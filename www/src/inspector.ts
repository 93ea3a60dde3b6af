// Shows the mechtrons of this page, where each runs, and the use of the cache.

import type { Host } from "@starlane/mesh";
import { APP } from "./directory";
import { element, made } from "./elements";
import { duration } from "./preview";

/** The time between two inspections of the host. */
const INTERVAL_MS = 1_000;

/** Shows where each mechtron runs, and the use of the cache. */
export class Inspector {
  readonly #host: Host;
  readonly #actors = element("actors");
  readonly #blobs = element("blobs");

  constructor(host: Host) {
    this.#host = host;
    this.refresh();
    setInterval(() => document.hidden || this.refresh(), INTERVAL_MS);
  }

  ready(milliseconds: number): void {
    element("ready").textContent = duration(milliseconds);
  }

  refresh(): void {
    const { host, apps, actors, blobs } = this.#host.inspect();
    element("host").textContent = host;
    const app = apps.find((app) => app.app === APP);
    if (app) element("bundle").textContent = `${app.bundle}, revision ${app.revision} of ${app.app}`;

    const rows = actors.map((actor) => row(actor.address, actor.place ?? "–", actor.state, actor.wasm));
    // The app places the directory on the server; this host only sends it messages.
    rows.push(row(`${APP}:directory`, "the server", "over the link", undefined));
    // Keeps unchanged rows, so that a selection in them stays.
    const next = made("tbody");
    next.append(...rows);
    if (next.innerHTML !== this.#actors.innerHTML) this.#actors.replaceChildren(...rows);

    const { fetched, cached, healed } = blobs;
    const parts = [`${fetched} fetched`, `${cached} from the cache`];
    if (healed > 0) parts.push(`${healed} damaged in the cache and fetched again`);
    this.#blobs.textContent = parts.join(", ");
    Object.assign(this.#blobs.dataset, { fetched, cached, healed });
  }
}

function row(address: string, place: string, state: string, wasm: string | undefined): HTMLTableRowElement {
  const row = made("tr");
  row.dataset["address"] = address;
  const name = made("th");
  name.scope = "row";
  name.append(made("code", address));
  const digest = made("td");
  if (wasm) {
    const code = made("code", `${wasm.replace(/^sha256:/, "").slice(0, 12)}…`);
    code.title = wasm;
    digest.append(code);
  } else {
    digest.textContent = "–";
  }
  row.append(name, made("td", place), made("td", state), digest);
  return row;
}
