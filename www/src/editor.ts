// The text area, and chosen or dropped files.

import { element } from "./elements";
import { problem, solved } from "./problems";

/** The maximum length of a page; the directory refuses a longer one. */
const MAX_TEXT_BYTES = 256 * 1024;
const READING = "Opening the file";

/** The text area, and the ways in which a file gets into it. */
export class Editor {
  readonly #area = element<HTMLTextAreaElement>("editor");

  constructor() {
    const file = element<HTMLInputElement>("file");
    file.addEventListener("change", () => {
      void this.#read(file.files?.[0]);
      // Lets the same file be chosen again.
      file.value = "";
    });
    this.#acceptDrops(element("drop"));
  }

  get text(): string {
    return this.#area.value;
  }

  open(text: string): void {
    // Setting the same text again would move the caret.
    if (this.#area.value !== text) this.#area.value = text;
    this.#area.disabled = false;
  }

  /** Disables the text area until `open`. */
  close(): void {
    this.#area.value = "";
    this.#area.disabled = true;
  }

  focus(): void {
    this.#area.focus();
  }

  onChange(changed: () => void): void {
    this.#area.addEventListener("input", changed);
  }

  async #read(file: File | undefined): Promise<void> {
    if (!file || this.#area.disabled) return;
    try {
      if (file.size > MAX_TEXT_BYTES) throw new Error(`${file.name} has ${file.size.toLocaleString("en")} bytes; the maximum is ${MAX_TEXT_BYTES.toLocaleString("en")}.`);
      const text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
      this.#area.value = text.replaceAll("\r\n", "\n");
      this.#area.dispatchEvent(new Event("input"));
      solved(READING);
    } catch (error) {
      problem(READING, error instanceof TypeError ? new Error(`${file.name} is not a text in UTF-8.`) : error);
    }
  }

  #acceptDrops(place: HTMLElement): void {
    const files = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    for (const name of ["dragenter", "dragover"] as const) {
      place.addEventListener(name, (event) => {
        if (!files(event)) return;
        event.preventDefault();
        place.classList.add("over");
      });
    }
    place.addEventListener("dragleave", (event) => {
      if (!place.contains(event.relatedTarget as Node | null)) place.classList.remove("over");
    });
    place.addEventListener("drop", (event) => {
      if (!files(event)) return;
      event.preventDefault();
      place.classList.remove("over");
      void this.#read(event.dataTransfer?.files[0]);
    });
  }
}
