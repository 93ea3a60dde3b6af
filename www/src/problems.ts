// Shows failures, until they are dismissed or the action succeeds.

import { element, made } from "./elements";

const place = element("problems");
const shown = new Map<string, HTMLElement>();

/** Shows the failure of an action, until it is dismissed or the same action succeeds. */
export function problem(doing: string, error: unknown): void {
  if (isAbort(error)) return;
  const { message, code, status, address } = described(error);
  const box = made("div", "", "problem");
  box.dataset["testid"] = "problem";
  if (code) box.dataset["code"] = code;
  const text = made("p");
  text.append(made("strong", `${doing} failed. `), message);
  const about = [code, status, address].filter(Boolean).join(" · ");
  if (about) text.append(" ", made("code", about));
  const dismiss = made("button", "Dismiss", "quiet");
  dismiss.type = "button";
  dismiss.addEventListener("click", () => solved(doing));
  box.append(text, dismiss);
  const before = shown.get(doing);
  if (before) before.replaceWith(box);
  else place.append(box);
  shown.set(doing, box);
}

/** Removes the failure of an action, which has succeeded now. */
export function solved(doing: string): void {
  shown.get(doing)?.remove();
  shown.delete(doing);
}

/** Shows uncaught errors too. */
export function showTheUncaught(): void {
  addEventListener("error", (event) => problem("This page", event.error ?? event.message));
  addEventListener("unhandledrejection", (event) => problem("This page", event.reason));
}

interface Described {
  message: string;
  code?: string;
  status?: number;
  address?: string;
}

function described(error: unknown): Described {
  if (!(error instanceof Error)) return { message: String(error) };
  const { message, code, status, address } = error as Error & { code?: unknown; status?: unknown; address?: unknown };
  return {
    message,
    ...(typeof code === "string" && { code }),
    ...(typeof status === "number" && { status }),
    ...(typeof address === "string" && { address }),
  };
}

/** Whether the user cancelled the action: that is not a failure. */
function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
