// The state of the link to the server, and why it does not come up, as far as a page can find out: a WebSocket does not report it.

import type { RawHost } from "./wasm/starlane_npm.js";
import { shown, why } from "./check.js";
import { StarlaneError, malformed } from "./errors.js";
import { log } from "./log.js";
import { after, closed } from "./signals.js";
import { unreachableBecause } from "./trust.js";
import type { HostOptions, LinkReason, LinkStatus } from "./types.js";

/** The words of a node that mean that the two hosts do not understand each other. */
const PROTOCOL = ["malformed", "too-large", "exhausted"];
/** The time limit of the function `token`. */
const TOKEN_TIMEOUT_MS = 10_000;
const FIRST: LinkStatus = { state: "connecting", since: Date.now(), attempt: 0 };

/** The state of the link, and the known reasons for a link that does not come up. */
export class Reach {
  /** Called when the reasons or the link's state change. */
  readonly watchers = new Set<() => void>();
  readonly #server: string;
  readonly #closing = new AbortController();
  #status = FIRST;
  /** Why the server cannot be reached, if that was found out. */
  #found: StarlaneError | undefined;
  #token: StarlaneError | undefined;
  /** How often the link came up: what was found out before is not true any more. */
  #ups = 0;
  /** Whether the device was online when the server was last asked, if it was asked since the link was last up. */
  #asked: boolean | undefined;
  /** The number of the last call of the function `token`. */
  #calls = 0;
  #tell: (status: LinkStatus) => void = () => {};

  constructor(server: string) {
    this.#server = server;
  }

  /** The state of the link. */
  get status(): LinkStatus {
    const { state, reason, message, ...rest } = this.#status;
    const isAway = state !== "up" && (reason === "unreachable" || reason === "token-failed");
    const known = isAway ? (this.#token ?? this.#found) : undefined;
    if (known) return { ...this.#status, reason: this.#token ? "token-failed" : known.code, message: known.message };
    return { state, ...(reason !== undefined && { reason }), ...(message !== undefined && { message }), ...rest };
  }

  /** Follows the link of a host. Calls `tell` with each new state. */
  follow(raw: RawHost, tell: (status: LinkStatus) => void): void {
    this.#tell = tell;
    const read = () => {
      const [state, code, message, since, attempt, next] = raw.link();
      const reason: LinkReason | undefined = code === "closed" ? "unreachable" : PROTOCOL.includes(code ?? "") ? "protocol" : code;
      this.#status = {
        state,
        ...(reason !== undefined && { reason }),
        ...(message !== undefined && { message }),
        since,
        attempt,
        ...(next !== undefined && { nextAttempt: next }),
      };
      this.#look();
      this.#changed();
    };
    raw.watchLink(() => this.isClosed || read());
    read();
  }

  /** The reason, if any, for which waiting cannot help. */
  get refusal(): StarlaneError | undefined {
    const { state, reason, message } = this.#status;
    if (state === "refused") return new StarlaneError(reason ?? "refused", reason === "auth-refused" || reason === "expired" ? 401 : 503, message ?? "the server refused this page");
    if (this.#found?.code === "origin-refused") return this.#found;
    return this.#token?.code === "malformed" ? this.#token : undefined;
  }

  /** Replaces a failure by the known reason why no link came up. */
  explained(failure: unknown): unknown {
    const isAway = failure instanceof StarlaneError && (failure.code === "unreachable" || failure.code === "offline");
    return (isAway && (this.#found ?? this.#token)) || failure;
  }

  /** Gets the page's token: a string, or `undefined` for none. Refuses anything else. */
  async token(give: HostOptions["token"]): Promise<string | undefined> {
    let token: unknown;
    const call = ++this.#calls;
    const stop = new AbortController();
    const end = () => stop.abort(closed());
    this.#closing.signal.addEventListener("abort", end);
    const inTime = after(TOKEN_TIMEOUT_MS, () => stop.abort(new DOMException("no token in time", "TimeoutError")));
    try {
      token = await give?.({ signal: stop.signal });
    } catch (cause) {
      // The host has given up an earlier call.
      if (call !== this.#calls) throw cause;
      const message = `no link to ${this.#server}: the function \`token\` failed: ${why(cause)}`;
      throw this.#know((this.#token = new StarlaneError("token-failed", 503, message, undefined, { cause })));
    } finally {
      inTime();
      this.#closing.signal.removeEventListener("abort", end);
    }
    if (call !== this.#calls) return undefined;
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

  /** Finds out why the server cannot be reached, once for each time that it is away. */
  #look(): void {
    const { state, reason } = this.#status;
    const { onLine } = navigator;
    if (state === "up") {
      this.#found = this.#token = this.#asked = undefined;
      this.#ups += 1;
    } else if (state === "down" && reason === "unreachable" && this.#asked !== onLine) {
      this.#asked = onLine;
      const ups = this.#ups;
      void unreachableBecause(this.#server).then((found) => {
        if (ups === this.#ups && this.#asked === onLine) this.#know((this.#found = found));
      });
    }
  }

  #know<E extends StarlaneError | undefined>(error: E): E {
    if (!this.isClosed) {
      if (error) log("error", error.message);
      this.#changed();
    }
    return error;
  }

  #changed(): void {
    if (!this.isClosed) this.#tell(this.status);
    for (const look of [...this.watchers]) look();
  }
}
