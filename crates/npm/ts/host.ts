// The class `Host`, through which a page does everything else.

import { LaunchedApp } from "./app.js";
import { abortSignal, callback, flag, must, operation as operationName, options as optionsOf, reading, text } from "./check.js";
import { asyncDispose } from "./dispose.js";
import { StarlaneError, malformed, translated } from "./errors.js";
import { loadStreams, loadVerifier, requireBrowser } from "./load.js";
import { settings } from "./options.js";
import { decode, encode } from "./payload.js";
import { ServedAddress, answering, operationsOf } from "./serve.js";
import { Shared, acquire, guarded } from "./shared.js";
import { after, closed, milliseconds } from "./signals.js";
import { TopicSubscription } from "./subscription.js";
import { allowing, publishers } from "./trust.js";
import type {
  App,
  BindOptions,
  Bound,
  ConnectedOptions,
  Contract,
  FetchOptions,
  Handlers,
  HostEvents,
  HostOptions,
  Inspection,
  LaunchOptions,
  LinkStatus,
  NotifyOptions,
  RequestOptions,
  Served,
  SubscribeOptions,
  Subscription,
} from "./types.js";

/** The default buffer of `subscribe`, in events. */
const DEFAULT_BUFFER_EVENTS = 256;

/**
 * A host of the mesh in this page. It runs the mechtrons of apps, serves addresses, and reaches every address of its server.
 *
 * Failures are {@link StarlaneError}s; an aborted signal rejects with its own reason.
 */
export class Host {
  readonly #shared: Shared;
  /** Run when this object is closed. Other objects may still share the host. */
  readonly #ending = new Set<() => void>();
  #closed = false;

  private constructor(shared: Shared) {
    if (!Shared.is(shared)) throw malformed("`new Host` is not supported: use `await Host.open({ server })`");
    this.#shared = shared;
  }

  /**
   * Opens the page's host. Resolves when the local side is ready, without waiting for the server. A second call with equal
   * options shares the host, which closes with the last `close`. A call with other options rejects with `already-open`.
   */
  static async open(options: HostOptions): Promise<Host> {
    requireBrowser();
    const checked = settings(options);
    checked.signal?.throwIfAborted();
    return new Host(await acquire(checked));
  }

  /** The state of the link to the server. */
  get link(): LinkStatus {
    return this.#open().reach.status;
  }

  /**
   * Resolves when the link to the server is up. After `timeout`, rejects with the reason of `host.link`, or with `unreachable`.
   * Rejects at once if waiting cannot help: `auth-refused`, `origin-refused`, or `malformed` for a token that is not a string.
   */
  async connected(options?: ConnectedOptions): Promise<void> {
    const shared = this.#open();
    const { signal: given, timeout } = optionsOf("host.connected", options, ["signal", "timeout"]);
    const [signal, patience] = [abortSignal(given), milliseconds(timeout)];
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      let stop = () => {};
      const done = (settle: () => void) => {
        shared.reach.watchers.delete(look);
        this.#ending.delete(end);
        signal?.removeEventListener("abort", abort);
        stop();
        settle();
      };
      const look = () => {
        const { refusal } = shared.reach;
        if (shared.reach.status.state === "up") done(resolve);
        else if (refusal) done(() => reject(refusal));
      };
      const abort = () => done(() => reject(signal?.reason));
      const end = () => done(() => reject(closed()));
      const late = () => done(() => reject(shared.reach.explained(unreachable(shared.settings.server, patience))));
      if (patience > 0) stop = after(patience, late);
      shared.reach.watchers.add(look);
      this.#ending.add(end);
      signal?.addEventListener("abort", abort);
      look();
    });
  }

  /** Dials the server soon, also after it refused this page, and checks a link that seems to be up. */
  reconnect(): void {
    this.#open().raw.reconnect();
  }

  /**
   * Launches an app: verifies its bundle and runs its browser mechtrons here. A launched app is cached and can be launched
   * offline; an app that is not cached rejects with `offline`. An app cannot run in workers and `inline` at the same time: the
   * later launch rejects with `conflict`.
   */
  async launch(app: string, options?: LaunchOptions): Promise<App> {
    const shared = this.#open();
    text("app", app);
    translated(() => shared.raw.check(app));
    const given = optionsOf("host.launch", options, ["signal", "onProgress", "inline"]);
    const [signal, onProgress, inline] = [abortSignal(given.signal), callback("onProgress", given.onProgress), flag("inline", given.inline)];
    const { server, cache, trust, verifier } = shared.settings;
    // Starts this load beside the requests to the server. The later caller gets its error.
    loadVerifier(verifier).catch(() => {});
    const progress = onProgress && ((loaded: number, total: number) => guarded(() => onProgress({ loaded, total })));
    const keys = trust ?? (await shared.call(signal, () => publishers(server, cache)));
    this.#open();
    const launched = await shared.launch(signal, (ticket) => shared.raw.launch(app, inline, keys, progress, ticket));
    if (this.#closed) {
      shared.stop(launched.app);
      throw closed();
    }
    const end = () => {
      this.#ending.delete(end);
      shared.stop(launched.app);
    };
    this.#ending.add(end);
    return new LaunchedApp(launched, () => this.#ending.has(end) && end());
  }

  /**
   * Sends a request and resolves with the body of the reply. Always ends: with the reply, a failure, or `deadline`. A request to
   * a remote address waits for the link, and fails with `unreachable` if the link does not come up in time. A reply that is a stream
   * is refused with `no-streams`: use `fetch`.
   */
  async request<T = unknown>(to: string, operation: string, body?: unknown, options?: RequestOptions): Promise<T> {
    const shared = this.#open();
    text("to", to);
    operationName("operation", operation);
    const { signal: given, timeout } = optionsOf("host.request", options, ["signal", "timeout"]);
    const [signal, patience] = [abortSignal(given), milliseconds(timeout)];
    const payload = encode(body);
    const reply = await shared.call(signal, (ticket) => shared.raw.request(to, operation, payload, patience, ticket));
    return decode(reply) as T;
  }

  /**
   * Sends a request with a body of any kind, also a stream, and resolves with the answer when its head is there. The answer is a
   * `Response`, also if it is a failure of the resource itself: its status is then 400 or more, and its body is a problem (RFC 9457).
   * Rejects if the request did not reach the resource, or got no answer. Reading the body slowly slows the resource that writes it.
   */
  async fetch(to: string, operation: string, options?: FetchOptions): Promise<Response> {
    const shared = this.#open();
    const { fetch } = await loadStreams();
    this.#open();
    return fetch(shared, to, operation, options);
  }

  /**
   * Sends a one-way message. Resolves when the receiver has accepted it. Rejects when the receiver refuses it, or cannot be
   * reached.
   */
  async notify(to: string, operation: string, body?: unknown, options?: NotifyOptions): Promise<void> {
    const shared = this.#open();
    text("to", to);
    operationName("operation", operation);
    const { signal, durable } = optionsOf("host.notify", options, ["signal", "durable"]);
    const checked = abortSignal(signal);
    checked?.throwIfAborted();
    if (flag("durable", durable)) {
      const message = "`durable: true` is not supported in this version: send a request, and repeat it if it fails";
      throw new StarlaneError("unsupported", 501, message, to);
    }
    const payload = encode(body);
    await shared.call(checked, (ticket) => shared.raw.notify(to, operation, payload, ticket));
  }

  /**
   * Binds an address to its contract: each operation of the bind becomes a function that sends a request and resolves with the
   * body of the reply. `starlane bind types BIND` makes the type. The receiver checks the bodies.
   *
   * Names that JavaScript itself looks up on objects (`then`, `toJSON`, `toString` …) are operations only if `operations` lists
   * them. If `operations` is given, no other operations exist.
   */
  bind<B extends Contract>(address: string, options?: BindOptions<B>): Bound<B> {
    const shared = this.#open();
    text("address", address);
    translated(() => shared.raw.check(address));
    const { operations } = optionsOf("host.bind", options, ["operations"]);
    const names = operations === undefined ? undefined : bound(operations);
    const send = (operation: string) => (body?: unknown, options?: RequestOptions) => this.request(address, operation, body, options);
    // Sent as a body, the object is refused by this name.
    const target: object = { [Symbol.toStringTag]: "Bound" };
    const get = (_: object, name: string | symbol) => {
      const isOperation = typeof name === "string" && (names ? names.includes(name) : !isAskedByJavaScript(name));
      return isOperation ? send(name) : Reflect.get(target, name);
    };
    return new Proxy(target, { get }) as Bound<B>;
  }

  /**
   * Subscribes to a topic, `address#event`, at once. A full buffer drops the oldest events and yields `{ lagged }`. `{ gap }`
   * reports that events may have been missed. Leaving the loop unsubscribes. The loop throws `no-grant` if the subscription is
   * not allowed, and `no-resource` or `no-event` if the address or the event does not exist.
   */
  subscribe<T = unknown>(topic: string, options?: SubscribeOptions): Subscription<T> {
    const shared = this.#open();
    text("topic", topic);
    const { signal: given, buffer = DEFAULT_BUFFER_EVENTS } = optionsOf("host.subscribe", options, ["signal", "buffer"]);
    const signal = abortSignal(given);
    if (!Number.isInteger(buffer) || buffer < 1 || buffer > 1_000_000) {
      throw must("buffer", "a number of events from 1 to 1,000,000", buffer);
    }
    signal?.throwIfAborted();
    const raw = translated(() => shared.raw.subscribe(topic, buffer));
    const end = () => subscription.close();
    const subscription = new TopicSubscription<T>(raw, signal, () => this.#ending.delete(end));
    this.#ending.add(end);
    return subscription;
  }

  /**
   * Serves an address: each function returns, or resolves with, the reply to its operation, which may be a `Response`. Rejects with
   * `conflict` if the address is taken.
   */
  async serve(address: string, handlers: Handlers): Promise<Served> {
    const shared = this.#open();
    text("address", address);
    const operations = operationsOf(handlers);
    const raw = translated(() => shared.raw.serve(address, [...operations.keys()], answering(shared, address, operations)));
    const end = () => served.release();
    const served = new ServedAddress(address, raw, () => this.#ending.delete(end));
    this.#ending.add(end);
    return served;
  }

  /** Calls `listener` at each event of this kind. Returns a function that removes the listener. */
  on<E extends keyof HostEvents>(event: E, listener: (value: HostEvents[E]) => void): () => void {
    const { listeners: all } = this.#open();
    if (typeof event !== "string" || !Object.hasOwn(all, event)) throw must("event", "`link` or `degraded`", event);
    if (typeof listener !== "function") throw must("listener", "a function", listener);
    const listeners = all[event] as Set<typeof listener>;
    // A new function for each call, so that the same listener can be added twice.
    const listen: typeof listener = (value) => listener(value);
    const off = () => {
      listeners.delete(listen);
      this.#ending.delete(off);
    };
    listeners.add(listen);
    this.#ending.add(off);
    // The cache degrades at most once, usually while the host opens: late listeners hear of it here.
    const { degraded } = this.#shared;
    if (event === "degraded" && degraded !== undefined) {
      queueMicrotask(() => listeners.has(listen) && guarded(() => listen(degraded as HostEvents[E])));
    }
    return off;
  }

  /** Returns the present state of this host. */
  inspect(): Inspection {
    return JSON.parse(translated(() => this.#open().raw.inspect())) as Inspection;
  }

  /** Ends the apps, subscriptions and addresses of this object. The last object that shares the host also closes the host. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const end of [...this.#ending]) end();
    this.#shared.leave();
  }

  async [asyncDispose](): Promise<void> {
    await this.close();
  }

  #open(): Shared {
    if (this.#closed) throw closed();
    return this.#shared;
  }
}

function unreachable(server: string, waited: number): StarlaneError {
  return new StarlaneError("unreachable", 503, `no link to ${server} came up within ${waited} ms: run the server${allowing(server)}`);
}

/** Checks the names of the operations of a bound address. */
function bound(given: readonly string[]): string[] {
  return reading("`operations`", () => {
    if (!Array.isArray(given)) throw must("operations", "a list of names", given);
    return [...given].map((name) => operationName("operations", name));
  });
}

/** Names that `await`, `JSON.stringify`, consoles, frameworks and test tools look up on any object, and call if present. */
const ASKED = /^(then|inspect|asymmetricMatch|hasAttribute|tagName|(to|node)[A-Z].*|__.*|\W.*)$/;

function isAskedByJavaScript(name: string): boolean {
  return name in Object.prototype || ASKED.test(name);
}
