// The directory's operations and its event, typed by its bind.

import type { Bound, Host } from "@starlane/mesh";
import type {
  Directory as DirectoryBind,
  DirectoryChangesEvent,
  DirectoryCompareResponse,
  DirectoryGetResponse,
  DirectoryListResponse,
  DirectorySaveResponse,
} from "./binds/directory";

/** The app that this page is the face of. */
export const APP = "acme:profiles";

const DIRECTORY = `${APP}:directory`;
/** A person waits for the answer: not longer than this, in milliseconds. */
const PATIENCE = 10_000;

export type Person = DirectoryGetResponse;
export type Summary = DirectoryListResponse["people"][number];
export type Saved = DirectorySaveResponse;
export type Change = DirectoryChangesEvent;
export type Comparison = DirectoryCompareResponse;

/** The mechtron on the server that knows who has a page. Its bind is `bundle/binds/directory.toml`. */
export class Directory {
  readonly #host: Host;
  readonly #bound: Bound<DirectoryBind>;

  constructor(host: Host) {
    this.#host = host;
    this.#bound = host.bind<DirectoryBind>(DIRECTORY);
  }

  /** Whether the server can't be reached now. */
  get away(): boolean {
    return this.#host.link === "down";
  }

  async list(): Promise<Summary[]> {
    const { people } = await this.#bound.list({}, { timeout: PATIENCE });
    return people;
  }

  /** A person's page; `undefined` if there is none. */
  async get(name: string, signal: AbortSignal): Promise<Person | undefined> {
    try {
      return await this.#bound.get({ name }, { timeout: PATIENCE, signal });
    } catch (error) {
      if ((error as { code?: unknown }).code === "not-found") return undefined;
      throw error;
    }
  }

  save(name: string, markdown: string): Promise<Saved> {
    return this.#bound.save({ name, markdown }, { timeout: PATIENCE });
  }

  /** Has the stored text rendered on the server and, by a message from there, in this page. */
  compare(name: string): Promise<Comparison> {
    return this.#bound.compare({ name }, { timeout: PATIENCE });
  }

  /** Calls back for each save, whoever made it, and with nothing when some may have been missed. */
  async watch(changed: (change: Change | undefined) => void): Promise<void> {
    for await (const item of this.#host.subscribe<Change>(`${DIRECTORY}#changes`)) {
      changed(item.from === undefined ? undefined : item.payload);
    }
  }
}
