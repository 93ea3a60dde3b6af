// ---- index.d.ts
/**
 * Starlane in a page. Importing this has no effect; {@link Host.open} loads what is needed.
 *
 * @packageDocumentation
 */
export { StarlaneError } from "./errors.js";
export { Host } from "./host.js";
export { key, unkey } from "./key.js";
export type { ActorInspection, App, BindOptions, Bound, ConnectedOptions, Contract, Handlers, HostEvents, HostOptions, Inspection, LaunchOptions, LaunchProgress, LinkStatus, MessageContext, NotifyOptions, RequestOptions, Served, SubscribeOptions, Subscription, SubscriptionItem, } from "./types.js";

// ---- errors.d.ts
/** Why something did not succeed. `code` is a stable word to branch on, `message` says what to do. */
export declare class StarlaneError extends Error {
    /** Always `"StarlaneError"`. */
    readonly name = "StarlaneError";
    /** A stable word: `no-resource`, `deadline`, `unreachable`, `already-open` … */
    readonly code: string;
    /** As in HTTP: 404, 408, 503 … */
    readonly status: number;
    /** The address that it is about, if it is about one. */
    readonly address: string | undefined;
    constructor(code: string, status: number, message: string, address?: string, options?: ErrorOptions);
}
/** A parameter or option that can't be used. */
export declare function malformed(message: string, cause?: unknown): StarlaneError;
/** What the Wasm side threw, as an error; errors of any other kind stay what they are. */
export declare function fromRaw(thrown: unknown): unknown;
/** Runs a call into the Wasm side; what it throws becomes an error. */
export declare function translated<T>(call: () => T): T;

// ---- host.d.ts
import { asyncDispose } from "./dispose.js";
import type { App, BindOptions, Bound, ConnectedOptions, Contract, Handlers, HostEvents, HostOptions, Inspection, LaunchOptions, LinkStatus, NotifyOptions, RequestOptions, Served, SubscribeOptions, Subscription } from "./types.js";
/**
 * A host of the mesh in this page: it runs apps' mechtrons, serves addresses, and reaches all that its server reaches.
 *
 * Failures are {@link StarlaneError}s; an aborted signal rejects with its own reason.
 */
export declare class Host {
    #private;
    private constructor();
    /**
     * Opens the page's host. Resolves when the local side is ready; it never waits for the server. Opened again with equal
     * options it is shared, and closes with the last `close`; with other options it rejects with `already-open`.
     */
    static open(options: HostOptions): Promise<Host>;
    /** The state of the link to the server. */
    get link(): LinkStatus;
    /**
     * Resolves when the link to the server is up. Rejects with `unreachable` after `timeout`, and at once where waiting does not
     * help: `auth-refused`, `origin-refused`, `malformed` for a token that is not a string.
     */
    connected(options?: ConnectedOptions): Promise<void>;
    /**
     * Launches an app: verifies its bundle and runs its browser mechtrons here. What was launched once launches again while the
     * server is away; what was not rejects with `offline`. An app runs in workers or `inline`, not both: the second way rejects
     * with `conflict`.
     */
    launch(app: string, options?: LaunchOptions): Promise<App>;
    /**
     * Sends a request and gives the body of its reply. It always ends: by the reply, a failure, or `deadline`. To a remote address
     * it waits for the link, and fails with `unreachable` if that does not come up in time.
     */
    request<T = unknown>(to: string, operation: string, body?: unknown, options?: RequestOptions): Promise<T>;
    /**
     * Sends a one-way message. Resolves when it was taken by whoever handles it; rejects when it is refused there, or its host can't
     * be reached.
     */
    notify(to: string, operation: string, body?: unknown, options?: NotifyOptions): Promise<void>;
    /**
     * An address by its contract: each operation of the bind is a function that sends a request and promises the reply's body.
     * `starlane bind types BIND` makes the type; whether bodies fit is checked where they are read.
     *
     * Names that JavaScript itself asks objects for (`then`, `toJSON`, `toString` …) are not operations, unless `operations` lists
     * them: with it, there are those and no others.
     */
    bind<B extends Contract>(address: string, options?: BindOptions<B>): Bound<B>;
    /**
     * Subscribes to a topic, `address#event`, at once. A full buffer drops the oldest events and yields `{ lagged }`; `{ gap }`
     * says that some may have been missed. Leaving the loop unsubscribes. The loop throws `no-grant` where that is not allowed, and
     * `no-resource` or `no-event` where nothing has that address or emits that event.
     */
    subscribe<T = unknown>(topic: string, options?: SubscribeOptions): Subscription<T>;
    /** Serves an address: each function answers an operation with what it gives or promises. Rejects with `conflict` if it is taken. */
    serve(address: string, handlers: Handlers): Promise<Served>;
    /** Calls back at each event of this kind. Gives the function that ends it. */
    on<E extends keyof HostEvents>(event: E, listener: (value: HostEvents[E]) => void): () => void;
    /** What this host is doing now. */
    inspect(): Inspection;
    /** Ends the apps, subscriptions and addresses of this object; with the last object that shares the host, the host. */
    close(): Promise<void>;
    [asyncDispose](): Promise<void>;
}

// ---- key.d.ts
/**
 * Makes any text a segment of an address: every byte but a-z, 0-9 and, inside, `-` becomes `_` and its value in hex.
 * `host.request(\`acme:profiles:profile:${key(name)}\`, …)`
 *
 * Throws `malformed` when the text is empty or its key longer than 63 bytes.
 */
export declare function key(text: string): string;
/** The text that {@link key} was given. Throws `malformed` for what `key` would not make: one text, one address. */
export declare function unkey(segment: string): string;

// ---- types.d.ts
declare global {
    interface SymbolConstructor {
        readonly asyncDispose: unique symbol;
    }
}
/** What `Host.open` takes. */
export interface HostOptions {
    /** The server that this host is linked to: an `http:` or `https:` URL. */
    server: string | URL;
    /** Gives the token for the server, anew before each connection and before the last one ends; without it the page is anonymous. */
    token?: (options: {
        signal: AbortSignal;
    }) => string | undefined | Promise<string | undefined>;
    /**
     * The publishers whose bundles may run here, as `ed25519:…`. Left out, those that the server lists are accepted if it is on
     * this machine or of the page's own origin.
     */
    trust?: readonly string[];
    /** The name of the cache (an IndexedDB database). Default: `starlane`. */
    cache?: string;
    /**
     * How many bytes of bundles the cache keeps at most. Where room is needed, the least recently used go first, and never one that
     * is launched. Default: 268,435,456 (256 MiB).
     */
    cacheBytes?: number;
    /** Ends `open`. */
    signal?: AbortSignal;
    /** Where the package's `starlane_npm_bg.wasm` is, if not beside the package. */
    wasm?: string | URL;
    /** Where the package's `starlane_verifier_bg.wasm` is, if not beside the package: what verifies bundles, loaded by the first launch. */
    verifier?: string | URL;
    /** Where the package's `meter.wasm` is, if not beside the package: what checks mechtrons' modules, loaded when it is needed. */
    meter?: string | URL;
    /** Where the package's `worker.js` is, if not beside the package. */
    worker?: string | URL;
    /** Where the package's `contract.js` is, if not beside the package: what checks bodies against schemas, loaded when it is needed. */
    contract?: string | URL;
    /** Where the package's `glue.js` is, if not beside the package: what runs mechtrons `inline`, loaded when it is needed. */
    glue?: string | URL;
}
/** The state of the link to the server. `refused` is final: with a token that is taken, close the host and open it again. */
export type LinkStatus = "connecting" | "up" | "down" | "refused";
/** What `host.on` tells of. */
export interface HostEvents {
    /** The link to the server is in this state now. */
    link: LinkStatus;
    /** The cache can't be kept, for this reason: it is memory only. Also told to whoever listens later, right after `on` returns. */
    degraded: string;
}
/** What `host.connected` takes. */
export interface ConnectedOptions {
    /** Ends the waiting. */
    signal?: AbortSignal;
    /** Milliseconds to wait; without it, for ever. */
    timeout?: number;
}
/** What `host.launch` takes. */
export interface LaunchOptions {
    /** Ends the launch. */
    signal?: AbortSignal;
    /** Told as the app's modules arrive. */
    onProgress?: (progress: LaunchProgress) => void;
    /** Run the app's mechtrons in the page's own thread instead of a worker: for latency, and only for code that is trusted. */
    inline?: boolean;
}
/** How far a launch is. */
export interface LaunchProgress {
    /** Bytes of modules that are here. */
    loaded: number;
    /** Bytes of all modules that are needed. */
    total: number;
}
/** What `host.request` takes. */
export interface RequestOptions {
    /** Cancels the request. */
    signal?: AbortSignal;
    /** Milliseconds until it fails with `deadline`. Default: 30,000. */
    timeout?: number;
}
/** A bind's operations and events, as `starlane bind types` writes them. */
export interface Contract {
    /** What each operation takes and answers; `undefined` is nothing. */
    operations: object;
    /** What each event carries: the type for `host.subscribe<B["events"]["changes"]>`. */
    events: object;
}
/** An address by its contract: a function for each operation. */
export type Bound<B extends Contract> = {
    readonly [Name in keyof B["operations"]]: B["operations"][Name] extends {
        request: infer Request;
        response: infer Response;
    } ? unknown extends Request ? (body?: Request, options?: RequestOptions) => Promise<Response> : (body: Request, options?: RequestOptions) => Promise<Response> : never;
};
/** What `host.bind` takes. */
export interface BindOptions<B extends Contract> {
    /** The operations that there are: for those that JavaScript itself asks objects for, such as `then` and `inspect`. */
    operations?: readonly (keyof B["operations"] & string)[];
}
/** What `host.notify` takes. */
export interface NotifyOptions {
    /** Ends the waiting, and takes the message back if that is still possible. */
    signal?: AbortSignal;
    /** Keep the message until it is delivered. This version has no outbox: `true` is refused with `unsupported`. */
    durable?: boolean;
}
/** What `host.subscribe` takes. */
export interface SubscribeOptions {
    /** Ends the subscription: the loop over it throws the signal's reason. */
    signal?: AbortSignal;
    /** How many events are kept for a slow reader. Default: 256. */
    buffer?: number;
}
/**
 * What a subscription yields: an event; `lagged`, how many events the buffer dropped because the reader was slow; or `gap`:
 * events may have been missed on the way.
 */
export type SubscriptionItem<T> = {
    from: string;
    payload: T;
    lagged?: never;
    gap?: never;
} | {
    lagged: number;
    from?: never;
    payload?: never;
    gap?: never;
} | {
    gap: true;
    from?: never;
    payload?: never;
    lagged?: never;
};
/** The events of a topic. Leaving the loop over it unsubscribes. */
export interface Subscription<T> {
    /** The next of them. */
    next(): Promise<IteratorResult<SubscriptionItem<T>, undefined>>;
    [Symbol.asyncIterator](): Subscription<T>;
    /** Unsubscribes. */
    return(): Promise<IteratorReturnResult<undefined>>;
    [Symbol.asyncDispose](): Promise<void>;
}
/** Who sent a message, and until when somebody waits. */
export interface MessageContext {
    /** The address of who sent it. */
    from: string;
    /** The principal on whose behalf; empty is anonymous. */
    caller: string;
    /** Aborted when nobody waits for the answer any more. */
    signal: AbortSignal;
}
/** The operations of an address that the page serves: what each gives, or promises, is the reply. */
export type Handlers = Record<string, (body: any, context: MessageContext) => unknown>;
/** What `host.inspect` shows. */
export interface Inspection {
    /** The name of this host: `~` and 26 characters. */
    host: string;
    /** The state of the link to the server. */
    link: LinkStatus;
    /** The links of this host. */
    links: {
        peer: string | null;
        principal: string;
        up: boolean;
        serves: string[];
    }[];
    /** The apps that were launched; `wasm` is path and digest of each module of their bundles. */
    apps: {
        app: string;
        revision: number;
        bundle: string;
        wasm: [path: string, digest: string][];
    }[];
    /** The actors that were used here. */
    actors: ActorInspection[];
    /** How many files came over the network, how many from the cache, how many were damaged there and fetched again. */
    blobs: {
        fetched: number;
        cached: number;
        healed: number;
    };
    /** Requests that are on their way. */
    openRequests: number;
}
/** An actor of this host. */
export interface ActorInspection {
    /** Its address. */
    address: string;
    /** Whether it has an instance. */
    state: "asleep" | "starting" | "awake" | "back-off" | "quarantined";
    /** Where it runs: `worker 2`, `inline`; nothing while it is asleep. */
    place: string | null;
    /** The digest of the module that it runs. */
    wasm: string;
    /** Messages that wait for it. */
    mailbox: number;
    /** Messages that it has and has not ended. */
    unfinished: number;
    /** How often it crashed lately. */
    crashes: number;
    /** Whether some of its state is not saved yet. */
    unsaved: boolean;
    /** How long ago its state was saved, in milliseconds; null if it was not since the host was opened. */
    savedAgoMs: number | null;
}
/** An app that was launched here. */
export interface App {
    /** Its address. */
    readonly address: string;
    /** Which revision of its record. */
    readonly revision: number;
    /** The bundle that it came from. */
    readonly bundle: string;
    /** Stops it: its actors here end. If it was launched several times, with the last of them. */
    stop(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}
/** An address that the page serves. */
export interface Served {
    /** The address. */
    readonly address: string;
    /** Emits an event to the topic `address#event`. */
    emit(event: string, body?: unknown): void;
    /** Releases the address. */
    close(): Promise<void>;
    [Symbol.asyncDispose](): Promise<void>;
}

// ---- dispose.d.ts
/** `Symbol.asyncDispose`, also where the browser has none yet: the name that helpers for `await using` fall back to. */
export declare const asyncDispose: typeof Symbol.asyncDispose;
