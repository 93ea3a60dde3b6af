/** The element with this `data-testid`: page and tests know it by the same name. */
export function element<T extends HTMLElement = HTMLElement>(name: string): T {
  const found = document.querySelector<T>(`[data-testid="${name}"]`);
  if (!found) throw new Error(`index.html has no element with data-testid="${name}"`);
  return found;
}

/** A new element with this text. */
export function made<K extends keyof HTMLElementTagNameMap>(tag: K, text = "", className = ""): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}
