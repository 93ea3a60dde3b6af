// The single host of a page, which all `Host` objects with equal options share.

import { RawHost, type RawLaunched } from "./wasm/starlane_npm.js";
import { StarlaneError, fromRaw, translated } from "./errors.js";
import { load, loadMeter, script, spawn, verify } from "./load.js";
import { log } from "./log.js";
import { identity, type Settings } from "./options.js";
import { Reach } from "./reach.js";
import { abortable } from "./signals.js";
import type { HostEvents } from "./types.js";

/** The page's host, opening or open, and the number of `Host` objects that share it. */
interface Opened {
  readonly identity: string;
  readonly host: Promise<Shared>;
  /** The latest token function: earlier ones may belong to parts of the page that no longer exist. */
  token: Settings["token"];
  users: number;
}

let opened: Opened | undefined;

/** Opens the page's host, or shares the open one. Rejects with `already-open` if that has other options. */
export async function acquire(settings: Settings): Promise<Shared> {
  const asked = identity(settings);
  if (opened && opened.identity !== asked) {
    const message =
      "this page has opened a host with other options: pass the same options to share it, or close it first " +
      "(each Host.open needs its own close)";
    throw new StarlaneError("already-open", 409, message);
  }
  const mine = (opened ??= begin(settings, asked));
  mine.token = settings.token;
  mine.users += 1;
  try {
    return await abortable(settings.signal, mine.host);
  } catch (error) {
    leave(mine);
    throw error;
  }
}

function begin(settings: Settings, asked: string): Opened {
  const beginning: Opened = {
    identity: asked,
    users: 0,
    token: settings.token,
    host: Shared.open(settings, () => beginning.token, () => leave(beginning)),
  };
  // The callers of `acquire` get the error; this handler prevents an unhandled rejection when there are none left.
  beginning.host.catch(() => opened === beginning && (opened = undefined));
  return beginning;
}

/** Ends one share. The last one closes the host. */
function leave(share: Opened): void {
  share.users -= 1;
  if (share.users > 0) return;
  if (opened === share) opened = undefined;
  share.host.then(
    (host) => host.close(),
    () => {},
  );
}

type Listeners = { [E in keyof HostEvents]: Set<(value: HostEvents[E]) => void> };

/** The single host of a page, which any number of `Host` objects share. */
export class Shared {
  readonly raw: RawHost;
  readonly settings: Settings;
  /** Ends one share. */
  readonly leave: () => void;
  readonly listeners: Listeners;
  readonly reach: Reach;
  /** Why the cache is memory only, if it is. */
  degraded: string | undefined;
  /** The number of `App` objects of each app. */
  readonly #apps = new Map<string, number>();
  readonly #closing = new AbortController();
  #ticket = 0;

  private constructor(raw: RawHost, settings: Settings, leave: () => void, listeners: Listeners, reach: Reach) {
    this.raw = raw;
    this.settings = settings;
    this.leave = leave;
    this.listeners = listeners;
    this.reach = reach;
    reach.follow(raw, (status) => tell(listeners.link, status));
    const [signal, wake] = [this.#closing.signal, () => raw.wake()];
    addEventListener("online", wake, { signal });
    addEventListener("pageshow", wake, { signal });
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && wake(), { signal });
    // A page that may come back keeps its link. Another one says goodbye, so that the server does not wait for it.
    addEventListener("pagehide", ({ persisted }) => persisted || raw.close(), { signal });
  }

  /** Whether a value is a `Shared`. Runs no code of the value. */
  static is(value: unknown): value is Shared {
    return typeof value === "object" && value !== null && #apps in value;
  }

  static async open(settings: Settings, token: () => Settings["token"], leave: () => void): Promise<Shared> {
    await load(settings.wasm);
    const reach = new Reach(settings.server);
    const listeners: Listeners = { link: new Set(), degraded: new Set() };
    let reason: string | undefined;
    let shared: Shared | undefined;
    const raw = await RawHost.open(
      settings.server,
      settings.cache,
      settings.cacheBytes,
      () => spawn(settings.worker),
      (name) => script(name, settings),
      (question) => verify(settings.verifier, question),
      () => loadMeter(settings.meter),
      () => reach.token(token()),
      (level, address, text) => log(level, `${address}: ${text}`),
      (given) => {
        log("warn", `the cache ${settings.cache} is memory only now: ${given}`);
        reason = given;
        if (shared) shared.degraded = given;
        tell(listeners.degraded, given);
      },
    ).catch((thrown: unknown) => Promise.reject(fromRaw(thrown)));
    shared = new Shared(raw, settings, leave, listeners, reach);
    shared.degraded = reason;
    return shared;
  }

  /** Starts work on the Wasm side. Aborting `signal` cancels it. */
  async call<T>(signal: AbortSignal | undefined, start: (ticket: number) => Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    // Ticket 0 is for work that cannot be cancelled.
    const ticket = signal ? this.ticket() : 0;
    try {
      return await abortable(signal, start(ticket), () => this.cancel(ticket));
    } catch (thrown) {
      throw this.reach.explained(fromRaw(thrown));
    }
  }

  /** A number under which work can be cancelled. */
  ticket(): number {
    return (this.#ticket = (this.#ticket % 0xffff_ffff) + 1);
  }

  /** Cancels the work with this number. */
  cancel(ticket: number): void {
    if (!this.reach.isClosed) this.raw.cancel(ticket);
  }

  /** Launches an app for one more `App` object. */
  async launch(signal: AbortSignal | undefined, start: (ticket: number) => Promise<RawLaunched>): Promise<RawLaunched> {
    const count = ({ app }: RawLaunched) => this.#apps.set(app, (this.#apps.get(app) ?? 0) + 1);
    let begun: Promise<RawLaunched> | undefined;
    try {
      const launched = await this.call(signal, (ticket) => (begun = start(ticket)));
      count(launched);
      return launched;
    } catch (error) {
      // The app may launch in spite of a late abort. Then this stops it, unless others have launched it too.
      begun?.then(
        (launched) => {
          count(launched);
          this.stop(launched.app);
        },
        () => {},
      );
      throw error;
    }
  }

  /** Removes one `App` object of an app. The last one stops the app. */
  stop(app: string): void {
    if (this.reach.isClosed) return;
    const left = (this.#apps.get(app) ?? 1) - 1;
    if (left > 0) {
      this.#apps.set(app, left);
    } else {
      this.#apps.delete(app);
      translated(() => this.raw.uninstall(app));
    }
  }

  close(): void {
    this.#closing.abort();
    this.reach.close();
    this.raw.close();
    this.raw.free();
  }
}

function tell<T>(listeners: Set<(value: T) => void>, value: T): void {
  for (const listener of [...listeners]) guarded(() => listener(value));
}

/** Runs a function of the page. An error of it is reported as uncaught, and does not stop the caller. */
export function guarded(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    reportError(error);
  }
}
