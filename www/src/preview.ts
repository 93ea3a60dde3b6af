// The preview: the mechtron in this page renders, and sandboxed frames show its HTML.

import type { Host } from "@starlane/mesh";
import type { Profile } from "./binds/profile";
import { element } from "./elements";
import previewStyle from "./preview.css?url";
import { problem, solved } from "./problems";

const DOING = "Rendering the preview";
/** The number of renderings in the average. */
const AVERAGED = 20;

interface Wanted {
  /** The mechtron that renders. */
  address: string;
  markdown: string;
}

/**
 * Renders with the mechtron in this page, at most once per frame. The latest text waits for a running rendering, so that the last
 * keystroke is always shown.
 */
export class Preview {
  readonly #host: Host;
  readonly #rendered: (milliseconds: number) => void;
  readonly #times: number[] = [];
  readonly #frames = new Frames(element("preview-place"));
  readonly #time = element("render-time");
  #wanted: Wanted | undefined;
  #shown: string | undefined;
  #running = false;
  #count = 0;

  /** `rendered` is called with the time of each rendering. */
  constructor(host: Host, rendered: (milliseconds: number) => void) {
    this.#host = host;
    this.#rendered = rendered;
  }

  show(address: string, markdown: string): void {
    this.#wanted = { address, markdown };
    if (!this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#wanted) {
      await nextFrame();
      const { address, markdown } = this.#wanted;
      this.#wanted = undefined;
      try {
        const start = performance.now();
        const html = await this.#host.bind<Profile>(address).render({ markdown });
        const took = performance.now() - start;
        await this.#frames.show(html, address === this.#shown);
        this.#shown = address;
        this.#note(took);
        solved(DOING);
      } catch (error) {
        problem(DOING, error);
      }
    }
    this.#running = false;
  }

  #note(took: number): void {
    this.#times.push(took);
    if (this.#times.length > AVERAGED) this.#times.shift();
    const average = this.#times.reduce((sum, time) => sum + time, 0) / this.#times.length;
    const over = this.#times.length > 1 ? `, ${duration(average)} on average` : "";
    this.#time.textContent = `rendered in ${duration(took)}${over}`;
    this.#time.dataset["count"] = String(++this.#count);
    this.#rendered(took);
  }
}

/** A duration for people. The clocks of some browsers count only whole milliseconds. */
export function duration(milliseconds: number): string {
  if (milliseconds >= 10) return `${Math.round(milliseconds).toLocaleString("en")} ms`;
  if (milliseconds >= 1) return `${milliseconds.toFixed(1)} ms`;
  const microseconds = Math.round(milliseconds * 1000);
  return microseconds > 0 ? `${microseconds} µs` : "less than 1 ms";
}

/** Waits for the browser's next frame, or for a tenth of a second: a tab in the background paints no frames. */
function nextFrame(): Promise<unknown> {
  return new Promise((resolve) => {
    requestAnimationFrame(resolve);
    setTimeout(resolve, 100);
  });
}

/**
 * Two sandboxed frames that take turns: the next document loads in the hidden frame and takes over the scroll position, so that
 * nothing flickers. The sandbox forbids scripts, forms, pop-ups and navigation of the page. `allow-same-origin` lets this page
 * (and not the frame) read the scroll position.
 */
class Frames {
  #front: HTMLIFrameElement;
  #back: HTMLIFrameElement;
  readonly #place: HTMLElement;

  constructor(place: HTMLElement) {
    this.#place = place;
    this.#front = frame();
    this.#back = frame();
    place.append(this.#front, this.#back);
    this.#turn();
  }

  async show(html: string, keepScroll: boolean): Promise<void> {
    const top = keepScroll ? (this.#front.contentDocument?.scrollingElement?.scrollTop ?? 0) : 0;
    const loaded = new Promise((resolve) => this.#back.addEventListener("load", resolve, { once: true }));
    this.#back.srcdoc = trusted(around(html));
    await loaded;
    this.#back.contentDocument?.scrollingElement?.scrollTo({ top, behavior: "instant" });
    [this.#front, this.#back] = [this.#back, this.#front];
    this.#turn();
    this.#place.ariaBusy = "false";
  }

  #turn(): void {
    for (const [frame, seen] of [[this.#front, true], [this.#back, false]] as const) {
      frame.className = seen ? "seen" : "waiting";
      frame.ariaHidden = String(!seen);
      frame.tabIndex = seen ? 0 : -1;
      frame.dataset["testid"] = seen ? "preview" : "preview-next";
    }
  }
}

function frame(): HTMLIFrameElement {
  const frame = document.createElement("iframe");
  frame.setAttribute("sandbox", "allow-same-origin");
  frame.title = "Preview";
  return frame;
}

/** The document around a mechtron's HTML. Its policy allows only images and this style sheet. */
function around(html: string): string {
  const style = new URL(previewStyle, location.href);
  const policy = `default-src 'none'; style-src ${style.origin}; img-src ${style.origin} https: data:`;
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}"><meta name="color-scheme" content="light dark"><base target="_blank"><link rel="stylesheet" href="${style.href}"><title>Preview</title></head><body><article>${html}</article></body></html>`;
}

interface Policy {
  createHTML(html: string): string;
}

const { trustedTypes } = window as { trustedTypes?: { createPolicy(name: string, rules: Policy): Policy } };
// The only place where text becomes HTML. It goes only into the sandboxed frames.
const policy = trustedTypes?.createPolicy("starlane-preview", { createHTML: (html) => html });

function trusted(html: string): string {
  return policy ? policy.createHTML(html) : html;
}
