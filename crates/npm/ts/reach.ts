// Why no link to the server comes up, as far as a page can know: a WebSocket does not say.

import { shown, why } from "./check.js";
import { StarlaneError, malformed } from "./errors.js";
import { log } from "./log.js";
import { closed } from "./signals.js";
import { originRefusal } from "./trust.js";
import type { HostOptions, LinkStatus } from "./types.js";

/** What is known of a link that does not come up. */
export class Reach {
  /** Told when that, or the link's state, changes. */
  readonly watchers = new Set<() => void>();
  readonly #server: string;
  readonly #closing = new AbortController();
  #origin: StarlaneError | undefined;
  #token: StarlaneError | undefined;
  /** Whether the server was asked since the link was up last. */
  #asked = false;

  constructor(server: string) {
    this.#server = server;
  }

  /** Why waiting does not help, if it does not: this page's origin is refused, or what it gives as a token is not one. */
  get refusal(): StarlaneError | undefined {
    return this.#origin ?? (this.#token?.code === "malformed" ? this.#token : undefined);
  }

  /** A failure, or in its place the reason why no link came up. */
  explained(failure: unknown): unknown {
    const isAway = failure instanceof StarlaneError && (failure.code === "unreachable" || failure.code === "offline");
    return (isAway && (this.#origin ?? this.#token)) || failure;
  }

  /** The link is in this state now. */
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

  /** What the page gives as its token. A string is one and `undefined` is none; anything else is refused. */
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
    // The text itself is a secret.
    const given = typeof token === "string" && token !== "" ? "a string with spaces, line ends or characters beyond ASCII" : shown(token);
    throw this.#know((this.#token = malformed(`the function \`token\` must give a token, or undefined for an anonymous page, not ${given}`)));
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
