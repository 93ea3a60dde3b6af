// The class `Host`: what a page opens, and calls everything else by.

import { LaunchedApp } from "./app.js";
import { asyncDispose } from "./dispose.js";
import { StarlaneError, fromRaw, malformed, translated } from "./errors.js";
import { requireBrowser } from "./load.js";
import { settings } from "./options.js";
import { decode, encode } from "./payload.js";
import { ServedAddress, answering, operationsOf } from "./serve.js";
import { acquire, guarded, type Shared } from "./shared.js";
import { closed, milliseconds } from "./signals.js";
import { TopicSubscription } from "./subscription.js";
import { publishers } from "./trust.js";
import type {
  App,
  Bound,
  ConnectedOptions,
  Contract,
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

/** The default of `subscribe`'s buffer, in events. */
const BUFFER = 256;

/**
 * A host of the mesh in this page: it runs apps' mechtrons, serves addresses, and reaches all that its server reaches.
 *
 * Failures are {@link StarlaneError}s; an aborted signal rejects with its own reason.
 */
export class Host {
  readonly #shared: Shared;
  /** What ends with this object, though others may share the host. */
  readonly #ending = new Set<() => void>();
  #closed = false;

  private constructor(shared: Shared) {
    this.#shared = shared;
  }

  /**
   * Opens the page's host. Resolves when the local side is ready; it never waits for the server. Opened again with equal
   * options it is shared, and closes with the last `close`; with other options it rejects with `already-open`.
   */
  static async open(options: HostOptions): Promise<Host> {
    options?.signal?.throwIfAborted();
    requireBrowser();
    return new Host(await acquire(settings(options), options.signal));
  }

  /** The state of the link to the server. */
  get link(): LinkStatus {
    return this.#open().raw.link();
  }

  /** Resolves when the link to the server is up. Rejects with `auth-refused`, or with `unreachable` after `timeout`. */
  async connected({ signal, timeout }: ConnectedOptions = {}): Promise<void> {
    const shared = this.#open();
    const patience = milliseconds(timeout);
    signal?.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const done = (settle: () => void) => {
        shared.listeners.link.delete(look);
        this.#ending.delete(end);
        signal?.removeEventListener("abort", abort);
        clearTimeout(timer);
        settle();
      };
      const look = () => {
        const state = shared.raw.link();
        if (state === "up") done(resolve);
        if (state === "refused") done(() => reject(fromRaw(shared.raw.refusal())));
      };
      const abort = () => done(() => reject(signal?.reason));
      const end = () => done(() => reject(closed()));
      const late = () => done(() => reject(unreachable(shared.settings.server, patience)));
      const timer = patience > 0 ? setTimeout(late, patience) : undefined;
      shared.listeners.link.add(look);
      this.#ending.add(end);
      signal?.addEventListener("abort", abort);
      look();
    });
  }

  /**
   * Launches an app: verifies its bundle and runs its browser mechtrons here. What was launched once launches again while the
   * server is away; what was not rejects with `offline`.
   */
  async launch(app: string, { signal, onProgress, inline = false }: LaunchOptions = {}): Promise<App> {
    const shared = this.#open();
    const { server, cache, trust } = shared.settings;
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
   * Sends a request and gives the body of its reply. It always ends: by the reply, a failure, or `deadline`. To a remote address
   * it waits for the link, and fails with `unreachable` if that does not come up in time.
   */
  async request<T = unknown>(to: string, operation: string, body?: unknown, options: RequestOptions = {}): Promise<T> {
    const shared = this.#open();
    if ((options as NotifyOptions).durable) {
      throw malformed("`durable` is for notify alone: a request has somebody who waits for its answer");
    }
    const payload = encode(body);
    const timeout = milliseconds(options.timeout);
    const reply = await shared.call(options.signal, (ticket) => shared.raw.request(to, operation, payload, timeout, ticket));
    return decode(reply) as T;
  }

  /** Sends a one-way message. Resolves when it is on its way; rejects when it is refused at once. */
  async notify(to: string, operation: string, body?: unknown, { signal, durable }: NotifyOptions = {}): Promise<void> {
    const shared = this.#open();
    signal?.throwIfAborted();
    if (durable) {
      const message = "this version has no outbox and can't keep a message until it is delivered: send it as a request, and again if that fails";
      throw new StarlaneError("unsupported", 501, message, to);
    }
    translated(() => shared.raw.notify(to, operation, encode(body)));
  }

  /**
   * An address by its contract: each operation of the bind is a function that sends a request and promises the reply's body.
   * `starlane bind types BIND` makes the type; whether bodies fit is checked where they are read.
   */
  bind<B extends Contract>(address: string): Bound<B> {
    this.#open();
    const send = (operation: string) => (body?: unknown, options?: RequestOptions) => this.request(address, operation, body, options);
    // `then` would make it a promise, which `await` would call.
    const get = (_: object, name: string | symbol) => (typeof name === "string" && name !== "then" ? send(name) : undefined);
    return new Proxy({}, { get }) as Bound<B>;
  }

  /**
   * Subscribes to a topic, `address#event`, at once. A full buffer drops the oldest events and yields `{ lagged }`; `{ gap }`
   * says that some may have been missed. Leaving the loop unsubscribes. A subscription that is not allowed throws `no-grant`.
   */
  subscribe<T = unknown>(topic: string, { signal, buffer = BUFFER }: SubscribeOptions = {}): Subscription<T> {
    const shared = this.#open();
    signal?.throwIfAborted();
    if (!Number.isInteger(buffer) || buffer < 1 || buffer > 1_000_000) {
      throw malformed(`the buffer ${buffer} can't be used: give how many events to keep, from 1 to 1,000,000`);
    }
    const raw = translated(() => shared.raw.subscribe(topic, buffer));
    const end = () => subscription.close();
    const subscription = new TopicSubscription<T>(raw, signal, () => this.#ending.delete(end));
    this.#ending.add(end);
    return subscription;
  }

  /** Serves an address: each function answers an operation with what it gives or promises. Rejects with `conflict` if it is taken. */
  async serve(address: string, handlers: Handlers): Promise<Served> {
    const shared = this.#open();
    const operations = operationsOf(handlers);
    const raw = translated(() => shared.raw.serve(address, operations, answering(address, handlers)));
    const end = () => served.release();
    const served = new ServedAddress(address, raw, () => this.#ending.delete(end));
    this.#ending.add(end);
    return served;
  }

  /** Calls back at each event of this kind. Gives the function that ends it. */
  on<E extends keyof HostEvents>(event: E, listener: (value: HostEvents[E]) => void): () => void {
    const listeners = this.#open().listeners[event] as Set<typeof listener> | undefined;
    if (!listeners) throw malformed(`a host has no event \`${String(event)}\`: it has \`link\` and \`degraded\``);
    // Of its own for each call, so that the same function may listen twice.
    const listen: typeof listener = (value) => listener(value);
    const off = () => {
      listeners.delete(listen);
      this.#ending.delete(off);
    };
    listeners.add(listen);
    this.#ending.add(off);
    // That happens once, and as a rule while the host is opened.
    const { degraded } = this.#shared;
    if (event === "degraded" && degraded !== undefined) {
      queueMicrotask(() => listeners.has(listen) && guarded(() => listen(degraded as HostEvents[E])));
    }
    return off;
  }

  /** What this host is doing now. */
  inspect(): Inspection {
    return JSON.parse(translated(() => this.#open().raw.inspect())) as Inspection;
  }

  /** Ends the apps, subscriptions and addresses of this object; with the last object that shares the host, the host. */
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
  return new StarlaneError("unreachable", 503, `no link to ${server} came up within ${waited} ms: see that the server runs and allows this page's origin`);
}
