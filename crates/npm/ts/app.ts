// The result of `host.launch`: an app that runs in this page.

import type { RawLaunched } from "./wasm/starlane_npm.js";
import { asyncDispose } from "./dispose.js";
import type { App } from "./types.js";

/** A launched app. */
export class LaunchedApp implements App {
  readonly address: string;
  readonly revision: number;
  readonly bundle: string;
  #stopped: (() => void) | undefined;

  /** `stopped` is called once, when the app is stopped. */
  constructor({ app, revision, bundle }: RawLaunched, stopped: () => void) {
    this.address = app;
    this.revision = revision;
    this.bundle = bundle;
    this.#stopped = stopped;
  }

  async stop(): Promise<void> {
    const stopped = this.#stopped;
    this.#stopped = undefined;
    stopped?.();
  }

  async [asyncDispose](): Promise<void> {
    await this.stop();
  }
}
