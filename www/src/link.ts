// The line with the state of the link to the server.

import type { Host } from "@starlane/mesh";
import { element } from "./elements";

const TEXTS = {
  connecting: "Connecting to the server…",
  up: "Connected to the server",
  down: "Server away, trying again",
  refused: "The server refused this page",
};

/** Shows the state of the link, and calls `up` each time when it comes up. */
export function showLink(host: Host, up: () => void): void {
  const place = element("link");
  const text = element("link-text");
  const show = (state: keyof typeof TEXTS) => {
    place.dataset["state"] = state;
    text.textContent = TEXTS[state];
    if (state === "up") up();
  };
  show(host.link);
  host.on("link", show);
}
