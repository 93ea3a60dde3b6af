// Signing in with a token, and showing who is signed in.

import type { Host } from "@starlane/mesh";
import { element } from "./elements";

const KEPT = "starlane-token";

/** The token of the signed-in person, kept until this tab is closed. */
export function token(): string | undefined {
  return sessionStorage.getItem(KEPT) ?? undefined;
}

/** Shows who is signed in, offers signing in and out, and asks for it if the server refuses this page. */
export function showAccount(host: Host): void {
  const account = element<HTMLDetailsElement>("account");
  const field = element<HTMLTextAreaElement>("token");
  const out = element<HTMLButtonElement>("sign-out");
  const show = () => {
    const principal = host.inspect().links[0]?.principal ?? "";
    element("who").textContent = principal ? `Signed in as ${principal}` : "Sign in";
    out.hidden = token() === undefined;
    if (host.link.state === "refused") account.open = true;
  };
  element<HTMLFormElement>("sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem(KEPT, field.value.trim());
    location.reload();
  });
  out.addEventListener("click", () => {
    sessionStorage.removeItem(KEPT);
    location.reload();
  });
  show();
  host.on("link", show);
}
