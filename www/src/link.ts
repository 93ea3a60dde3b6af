// The line with the state of the link to the server: why it is not up, and what to do.

import type { Host, LinkStatus } from "@starlane/mesh";
import { element } from "./elements";

const TEXTS = {
  connecting: "Connecting to the server…",
  up: "Connected to the server",
  down: "Server away, trying again",
  refused: "The server refused this page",
};

/** What each reason means for the person who uses the page. */
const REASONS: Record<string, string> = {
  offline: "This device is offline. Your edits are kept, and are saved when it is online again.",
  unreachable: "The server cannot be reached. Check that it runs; this page tries again by itself.",
  "local-network": "The browser blocks this page from the local network. Allow it in the site settings of the address bar.",
  "origin-refused": "The server does not accept pages from this address. Start it with --allow-origin.",
  "auth-refused": "The server does not accept your token. Sign in again.",
  "token-failed": "No token could be obtained. Sign in again.",
  overloaded: "The server has too many visitors now. This page tries again by itself.",
  silent: "Nothing is heard from the server. This page tries again by itself.",
  fenced: "Another tab took over this connection. Reload this page.",
  version: "This page is too old or too new for the server. Reload this page.",
};

/** Shows the state of the link, and calls `up` each time when it comes up. */
export function showLink(host: Host, up: () => void): void {
  const place = element("link");
  const text = element("link-text");
  let before = "";
  const show = ({ state, reason, message }: LinkStatus) => {
    place.dataset["state"] = state;
    place.dataset["reason"] = reason ?? "";
    const meaning = reason && (REASONS[reason] ?? message);
    text.textContent = meaning ? `${TEXTS[state]}. ${meaning}` : TEXTS[state];
    if (state === "up" && before !== "up") up();
    before = state;
  };
  show(host.link);
  host.on("link", show);
}
