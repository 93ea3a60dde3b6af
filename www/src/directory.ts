import type { Host } from "@starlane/mesh";

/** The app that this page is the face of. */
export const APP = "acme:profiles";

const DIRECTORY = `${APP}:directory`;
/** A person waits for the answer: not longer than this, in milliseconds. */
const PATIENCE = 10_000;

export interface Summary {
  name: string;
  title: string;
  revision: number;
  updated: number;
}

export interface Person extends Summary {
  markdown: string;
}

export interface Saved {
  name: string;
  revision: number;
  updated: number;
}

export interface Change {
  name: string;
  revision: number;
  title: string;
}

export interface Comparison {
  name: string;
  same: boolean;
  page: { address: string; bytes: number };
  server: { address: string; bytes: number };
}

/** The mechtron on the server that knows who has a page. Its bind is `bundle/binds/directory.toml`. */
export class Directory {
  readonly #host: Host;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Whether the server can't be reached now. */
  get away(): boolean {
    return this.#host.link === "down";
  }

  async list(): Promise<Summary[]> {
    const { people } = await this.#ask<{ people: Summary[] }>("list", {});
    return people;
  }

  /** A person's page; `undefined` if there is none. */
  async get(name: string, signal: AbortSignal): Promise<Person | undefined> {
    try {
      return await this.#ask<Person>("get", { name }, signal);
    } catch (error) {
      if ((error as { code?: unknown }).code === "not-found") return undefined;
      throw error;
    }
  }

  save(name: string, markdown: string): Promise<Saved> {
    return this.#ask("save", { name, markdown });
  }

  /** Has the stored text rendered on the server and, by a message from there, in this page. */
  compare(name: string): Promise<Comparison> {
    return this.#ask("compare", { name });
  }

  /** Calls back for each save, whoever made it, and with nothing when some may have been missed. */
  async watch(changed: (change: Change | undefined) => void): Promise<void> {
    for await (const item of this.#host.subscribe<Change>(`${DIRECTORY}#changes`)) {
      changed(item.from === undefined ? undefined : item.payload);
    }
  }

  #ask<T>(operation: string, body: object, signal?: AbortSignal): Promise<T> {
    return this.#host.request<T>(DIRECTORY, operation, body, { timeout: PATIENCE, ...(signal && { signal }) });
  }
}
