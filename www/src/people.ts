// The list of people, and adding one.

import type { Summary } from "./directory";
import { element, made } from "./elements";
import { SAMPLES } from "./samples";

/** The list of people: those with a page, those of the samples, and those added here. */
export class People {
  readonly #list = element("people");
  readonly #choose: (name: string) => void;
  readonly #saved = new Map<string, Summary>();
  readonly #added = new Set<string>(SAMPLES);
  #chosen: string | undefined;

  constructor(choose: (name: string) => void) {
    this.#choose = choose;
    const form = element<HTMLFormElement>("new-person");
    const field = element<HTMLInputElement>("new-name");
    field.addEventListener("input", () => field.setCustomValidity(""));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const name = field.value.trim();
      const fault = nameFault(name);
      field.setCustomValidity(fault);
      if (!form.reportValidity()) return;
      field.value = "";
      this.#added.add(name);
      this.#choose(name);
    });
    this.#show();
  }

  /** Sets all people with a page. */
  set(people: Summary[]): void {
    this.#saved.clear();
    for (const person of people) this.#saved.set(person.name, person);
    this.#show();
  }

  /** Notes a saved page. */
  changed(person: Omit<Summary, "updated">): void {
    if ((this.#saved.get(person.name)?.revision ?? 0) >= person.revision) return;
    this.#saved.set(person.name, { updated: Date.now(), ...person });
    this.#show();
  }

  chosen(name: string): void {
    this.#chosen = name;
    this.#added.add(name);
    this.#show();
    this.#list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #show(): void {
    const names = [...new Set([...this.#added, ...this.#saved.keys()])];
    const focused = (document.activeElement as HTMLElement | null)?.dataset["person"];
    this.#list.replaceChildren(...names.map((name) => this.#entry(name)));
    // The focused button was replaced by an equal one.
    if (focused !== undefined) {
      [...this.#list.querySelectorAll("button")].find((button) => button.dataset["person"] === focused)?.focus();
    }
  }

  #entry(name: string): HTMLLIElement {
    const saved = this.#saved.get(name);
    const button = made("button");
    button.type = "button";
    button.dataset["person"] = name;
    button.dataset["testid"] = `person-${name}`;
    button.dataset["revision"] = String(saved?.revision ?? 0);
    if (name === this.#chosen) button.setAttribute("aria-current", "true");
    const about = saved ? `${saved.title} · revision ${saved.revision}` : "not saved yet";
    button.append(made("span", name, "name"), made("span", about, "about"));
    button.addEventListener("click", () => this.#choose(name));
    const entry = made("li");
    entry.append(button);
    return entry;
  }
}

/** The fault of a name, by the rules of `directory`; "" if there is none. */
export function nameFault(name: string): string {
  if (name === "") return "A page needs a name.";
  if ([...name].length > 60) return "A name has at most 60 characters.";
  // The name becomes one segment of an address, where every byte but a-z, 0-9 and - takes three.
  const length = [...new TextEncoder().encode(name)].reduce((sum, byte) => sum + (/[a-z0-9-]/.test(String.fromCharCode(byte)) ? 1 : 3), 0);
  return length > 63 ? "This name is too long for an address: capitals, spaces and signs count three times. Shorten it." : "";
}
