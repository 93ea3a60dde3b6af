// The page that is being written: opening it, saving it, and changes by others.

import { Directory, type Change, type Person } from "./directory";
import { draft, dropDraft, keepDraft, keepSeen, seen } from "./drafts";
import type { Editor } from "./editor";
import { element } from "./elements";
import type { People } from "./people";
import { problem, solved } from "./problems";
import { beginning } from "./samples";

/** The page of one person on the desk. */
interface Sheet {
  name: string;
  /** The text on the server, or the first text of a new page. */
  base: string;
  /** The revision of that text; 0 if nobody has saved the page. */
  revision: number;
  /** A later revision by somebody else, which is not on the desk. */
  later: number | undefined;
}

const OPENING = "Opening the page";
const SAVING = "Saving";
const COMPARING = "Checking with the server";

/** After this time without an answer, the desk shows a cached text. */
const SLOW_MS = 2_000;

/** The page that is being written: its owner, its saved revision, and changes by others. */
export class Desk {
  readonly #directory: Directory;
  readonly #people: People;
  readonly #editor: Editor;
  readonly #render: (name: string, markdown: string) => void;
  readonly #save = element<HTMLButtonElement>("save");
  readonly #compare = element<HTMLButtonElement>("compare");
  /** The name of the page that was last asked for. It comes onto the desk when the server has answered. */
  #asked: string | undefined;
  #sheet: Sheet | undefined;
  #opening = new AbortController();
  /** Resolves when the running save ends. */
  #saving: Promise<void> | undefined;

  constructor(directory: Directory, people: People, editor: Editor, render: (name: string, markdown: string) => void) {
    this.#directory = directory;
    this.#people = people;
    this.#editor = editor;
    this.#render = render;
    editor.onChange(() => this.#typed());
    this.#save.addEventListener("click", () => void this.save());
    this.#compare.addEventListener("click", () => void this.#check());
    element("notice-take").addEventListener("click", () => this.#sheet && void this.open(this.#sheet.name, "theirs"));
    element("notice-keep").addEventListener("click", () => this.#keepMine());
  }

  /** Puts a person's page on the desk: the unsaved draft if there is one, or with `theirs` the server's text. */
  async open(name: string, which: "draft" | "theirs" = "draft"): Promise<void> {
    this.#asked = name;
    this.#opening.abort();
    const { signal } = (this.#opening = new AbortController());
    if (this.#sheet?.name !== name) {
      this.#sheet = undefined;
      this.#editor.close();
      element("comparison").textContent = "";
    }
    this.#people.chosen(name);
    this.#show();
    // While the server is away or slow, shows the text that was seen last.
    const slow = setTimeout(() => void this.#layKept(name, signal), this.#directory.away ? 0 : SLOW_MS);
    try {
      const person = await this.#directory.get(name, signal);
      const base = person?.markdown ?? (await beginning(name, signal));
      if (signal.aborted) return;
      if (which === "theirs") dropDraft(name);
      this.#put(name, base, person);
      solved(OPENING);
    } catch (error) {
      if (signal.aborted) return;
      problem(OPENING, error);
      await this.#layKept(name, signal);
    } finally {
      clearTimeout(slow);
    }
  }

  /** Handles a save by others; `undefined` if events may have been missed. */
  async changed(change: Change | undefined): Promise<void> {
    await this.#saving;
    const sheet = this.#sheet;
    if (!change) return this.#asked === undefined ? undefined : this.open(this.#asked);
    if (!sheet || change.name !== sheet.name || change.revision <= sheet.revision) return;
    if (!this.#dirty()) return this.open(sheet.name);
    sheet.later = change.revision;
    this.#show();
  }

  async save(): Promise<void> {
    const sheet = this.#sheet;
    if (!sheet || this.#saving) return;
    const text = this.#editor.text;
    const saved = this.#directory.save(sheet.name, text).then(
      ({ revision }) => {
        keepSeen(sheet.name, { text, revision });
        // The page may have been opened again meanwhile.
        if (this.#sheet?.name === sheet.name) Object.assign(this.#sheet, { base: text, revision, later: undefined });
        else if (draft(sheet.name)?.text === text) dropDraft(sheet.name);
        solved(SAVING);
      },
      (error: unknown) => problem(SAVING, error),
    );
    this.#saving = saved;
    this.#show();
    await saved;
    this.#saving = undefined;
    if (this.#sheet) this.#note(this.#sheet);
  }

  /** Puts this browser's text of a page on the desk: the draft, the text that was seen last, or a first line. */
  async #layKept(name: string, signal: AbortSignal): Promise<void> {
    const known = seen(name) ?? { text: await beginning(name, signal).catch(() => ""), revision: 0 };
    if (signal.aborted || this.#sheet) return;
    const mine = draft(name);
    this.#lay({ name, base: known.text, revision: mine?.revision ?? known.revision, later: undefined }, mine?.text ?? known.text);
  }

  #put(name: string, base: string, person: Person | undefined): void {
    const revision = person?.revision ?? 0;
    // A later save has been answered meanwhile.
    if (this.#sheet?.name === name && revision < this.#sheet.revision) return;
    const mine = draft(name);
    const later = mine && mine.text !== base && mine.revision < revision ? revision : undefined;
    this.#lay({ name, base, revision, later }, mine ? mine.text : base);
    if (person) {
      this.#people.changed(person);
      keepSeen(name, { text: base, revision });
    }
  }

  #lay(sheet: Sheet, text: string): void {
    this.#sheet = sheet;
    this.#editor.open(text);
    this.#typed();
  }

  #typed(): void {
    const sheet = this.#sheet;
    if (!sheet) return;
    this.#note(sheet);
    this.#render(sheet.name, this.#editor.text);
  }

  /** Stores the draft, and shows the present state. */
  #note(sheet: Sheet): void {
    if (this.#dirty()) keepDraft(sheet.name, { text: this.#editor.text, revision: sheet.revision });
    else dropDraft(sheet.name);
    this.#show();
  }

  #dirty(): boolean {
    return this.#sheet !== undefined && this.#editor.text !== this.#sheet.base;
  }

  /** Notes their change. Saving mine replaces it. */
  #keepMine(): void {
    const sheet = this.#sheet;
    if (!sheet) return;
    sheet.revision = sheet.later ?? sheet.revision;
    sheet.later = undefined;
    this.#note(sheet);
    this.#editor.focus();
  }

  async #check(): Promise<void> {
    const name = this.#sheet?.name;
    if (name === undefined) return;
    const place = element("comparison");
    place.textContent = "The server asks this page…";
    delete place.dataset["same"];
    this.#compare.disabled = true;
    try {
      const { same, page, server } = await this.#directory.compare(name);
      place.dataset["same"] = String(same);
      place.textContent = same
        ? `The server asked this page: both gave the same ${page.bytes.toLocaleString("en")} bytes`
        : `Not the same: ${page.bytes.toLocaleString("en")} bytes from this page, ${server.bytes.toLocaleString("en")} from the server`;
      solved(COMPARING);
    } catch (error) {
      place.textContent = "";
      problem(COMPARING, error);
    }
    this.#show();
  }

  #show(): void {
    const sheet = this.#sheet;
    const dirty = this.#dirty();
    const state = element("state");
    const saving = this.#saving !== undefined;
    const told = !sheet ? "opening…" : saving ? "saving…" : sheet.revision === 0 ? "not saved yet" : dirty ? "changed, not saved" : `saved, revision ${sheet.revision}`;
    if (state.textContent !== told) state.textContent = told;
    state.dataset["revision"] = String(sheet?.revision ?? 0);
    state.dataset["dirty"] = String(dirty);
    this.#save.disabled = !sheet || saving || (!dirty && sheet.revision > 0);

    const onServer = sheet !== undefined && sheet.revision > 0;
    this.#compare.disabled = !onServer;
    const served = element<HTMLAnchorElement>("served");
    served.ariaDisabled = String(!onServer);
    if (onServer) served.href = `people/${encodeURIComponent(sheet.name)}`;
    else served.removeAttribute("href");

    element("notice").hidden = sheet?.later === undefined;
    const notice = sheet?.later === undefined ? "" : `Somebody has saved revision ${sheet.later} of this page. Saving yours replaces it.`;
    if (element("notice-text").textContent !== notice) element("notice-text").textContent = notice;
  }
}
