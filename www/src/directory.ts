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

/** The app of this page. */
export const APP = "acme:profiles";

const DIRECTORY = `${APP}:directory`;
/** The time limit of requests that a person waits for. */
const REQUEST_TIMEOUT_MS = 10_000;

export type Person = DirectoryGetResponse;
export type Summary = DirectoryListResponse["people"][number];
export type Saved = DirectorySaveResponse;
export type Change = DirectoryChangesEvent;
export type Comparison = DirectoryCompareResponse;

/** The mechtron on the server that has all pages. Its bind is `bundle/binds/directory.toml`. */
export class Directory {
  readonly #host: Host;
  readonly #bound: Bound<DirectoryBind>;

  constructor(host: Host) {
    this.#host = host;
    this.#bound = host.bind<DirectoryBind>(DIRECTORY);
  }

  /** Whether the server cannot be reached now. */
  get away(): boolean {
    return this.#host.link.state === "down";
  }

  async list(): Promise<Summary[]> {
    const { people } = await this.#bound.list({}, { timeout: REQUEST_TIMEOUT_MS });
    return people;
  }

  /** A person's page; `undefined` if there is none. */
  async get(name: string, signal: AbortSignal): Promise<Person | undefined> {
    try {
      return await this.#bound.get({ name }, { timeout: REQUEST_TIMEOUT_MS, signal });
    } catch (error) {
      if ((error as { code?: unknown }).code === "not-found") return undefined;
      throw error;
    }
  }

  save(name: string, markdown: string): Promise<Saved> {
    return this.#bound.save({ name, markdown }, { timeout: REQUEST_TIMEOUT_MS });
  }

  /** Lets the server render the stored text, and also this page, by a message from the server. */
  compare(name: string): Promise<Comparison> {
    return this.#bound.compare({ name }, { timeout: REQUEST_TIMEOUT_MS });
  }

  /** Calls back for each save by anybody, and with undefined if some may have been missed. */
  async watch(changed: (change: Change | undefined) => void): Promise<void> {
    for await (const item of this.#host.subscribe<Change>(`${DIRECTORY}#changes`)) {
      changed(item.from === undefined ? undefined : item.payload);
    }
  }
}
