// Finds out why no link to the server comes up, as far as a page can: a WebSocket does not report it.

import { shown, why } from "./check.js";
import { StarlaneError, malformed } from "./errors.js";
import { log } from "./log.js";
import { closed } from "./signals.js";
import { originRefusal } from "./trust.js";
import type { HostOptions, LinkStatus } from "./types.js";

/** The known reasons for a link that does not come up. */
export class Reach {
  /** Called when the reasons or the link's state change. */
  readonly watchers = new Set<() => void>();
  readonly #server: string;
  readonly #closing = new AbortController();
  #origin: StarlaneError | undefined;
  #token: StarlaneError | undefined;
  /** Whether the server was asked since the link was last up. */
  #asked = false;

  constructor(server: string) {
    this.#server = server;
  }

  /** The reason, if any, for which waiting cannot help: the server refuses this page's origin, or the token is malformed. */
  get refusal(): StarlaneError | undefined {
    return this.#origin ?? (this.#token?.code === "malformed" ? this.#token : undefined);
  }

  /** Replaces a failure by the known reason why no link came up. */
  explained(failure: unknown): unknown {
    const isAway = failure instanceof StarlaneError && (failure.code === "unreachable" || failure.code === "offline");
    return (isAway && (this.#origin ?? this.#token)) || failure;
  }

  /** Notes the new state of the link. */
  link(state: LinkStatus): void {
    if (state === "up") {
      this.#origin = this.#token = undefined;
      this.#asked = false;
    } else if (state === "down" && !this.#asked && new URL(this.#server).origin !== location.origin) {
      this.#asked = true;
      void originRefusal(this.#server).then((refusal) => this.#know((this.#origin = refusal)));
    }
    this.#changed();
  }

  /** Gets the page's token: a string, or `undefined` for none. Refuses anything else. */
  async token(give: HostOptions["token"]): Promise<string | undefined> {
    let token: unknown;
    try {
      token = await give?.({ signal: this.#closing.signal });
    } catch (cause) {
      const message = `no link to ${this.#server}: the function \`token\` failed: ${why(cause)}`;
      throw this.#know((this.#token = new StarlaneError("unreachable", 503, message, undefined, { cause })));
    }
    if (token === undefined || (typeof token === "string" && /^[!-~]+$/.test(token))) {
      this.#token = undefined;
      return token as string | undefined;
    }
    // The message must not show the token, which is a secret.
    const given = typeof token === "string" && token !== "" ? "a string with spaces, line ends or characters beyond ASCII" : shown(token);
    throw this.#know((this.#token = malformed(`the function \`token\` must return a token, or undefined for an anonymous page, not ${given}`)));
  }

  close(): void {
    this.#closing.abort(closed());
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  #know<E extends StarlaneError | undefined>(error: E): E {
    if (error && !this.isClosed) log("error", error.message);
    this.#changed();
    return error;
  }

  #changed(): void {
    for (const look of [...this.watchers]) look();
  }
}
