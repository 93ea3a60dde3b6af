// ---- index.d.ts
/**
 * Starlane in a page. Importing the package has no side effects; {@link Host.open} loads the rest.
 *
 * @packageDocumentation
 */
export { StarlaneError } from "./errors.js";
export { Host } from "./host.js";
export { key, unkey } from "./key.js";
export type { ActorInspection, App, BindOptions, Bound, ConnectedOptions, Contract, FetchBody, FetchOptions, Handler, Handlers, HostEvents, HostOptions, Inspection, LaunchOptions, LaunchProgress, LinkReason, LinkStatus, MessageContext, NotifyOptions, RequestOptions, Served, StreamHandler, StreamRequest, SubscribeOptions, Subscription, SubscriptionItem, } from "./types.js";

// ---- errors.d.ts
/** A failure. Branch on `code`, a stable word; `message` is for people and says what to do. */
export declare class StarlaneError extends Error {
    /** Always `"StarlaneError"`. */
    readonly name = "StarlaneError";
    /** A stable word: `no-resource`, `deadline`, `unreachable`, `already-open` … */
    readonly code: string;
    /** A status as in HTTP: 404, 408, 503 … */
    readonly status: number;
    /** The address that the failure is about, if there is one. */
    readonly address: string | undefined;
    /** Whether the target may have got the message: `false` if it certainly did not, `undefined` if that is not known. */
    sent: boolean | undefined;
    constructor(code: string, status: number, message: string, address?: string, options?: ErrorOptions);
}
/** The error for an argument or option that cannot be used. */
export declare function malformed(message: string, cause?: unknown): StarlaneError;
/** Converts a failure that the Wasm side threw to a {@link StarlaneError}. Returns anything else unchanged. */
export declare function fromRaw(thrown: unknown): unknown;
/** Calls the Wasm side and converts a failure that it throws to a {@link StarlaneError}. */
export declare function translated<T>(call: () => T): T;

// ---- host.d.ts
import { asyncDispose } from "./dispose.js";
import type { App, BindOptions, Bound, ConnectedOptions, Contract, FetchOptions, Handlers, HostEvents, HostOptions, Inspection, LaunchOptions, LinkStatus, NotifyOptions, RequestOptions, Served, SubscribeOptions, Subscription } from "./types.js";
/**
 * A host of the mesh in this page. It runs the mechtrons of apps, serves addresses, and reaches every address of its server.
 *
 * Failures are {@link StarlaneError}s; an aborted signal rejects with its own reason.
 */
export declare class Host {
    #private;
    private constructor();
    /**
     * Opens the page's host. Resolves when the local side is ready, without waiting for the server. A second call with equal
     * options shares the host, which closes with the last `close`. A call with other options rejects with `already-open`.
     */
    static open(options: HostOptions): Promise<Host>;
    /** The state of the link to the server. */
    get link(): LinkStatus;
    /**
     * Resolves when the link to the server is up. After `timeout`, rejects with the reason of `host.link`, or with `unreachable`.
     * Rejects at once if waiting cannot help: `auth-refused`, `origin-refused`, or `malformed` for a token that is not a string.
     */
    connected(options?: ConnectedOptions): Promise<void>;
    /** Dials the server soon, also after it refused this page, and checks a link that seems to be up. */
    reconnect(): void;
    /**
     * Launches an app: verifies its bundle and runs its browser mechtrons here. A launched app is cached and can be launched
     * offline; an app that is not cached rejects with `offline`. An app cannot run in workers and `inline` at the same time: the
     * later launch rejects with `conflict`.
     */
    launch(app: string, options?: LaunchOptions): Promise<App>;
    /**
     * Sends a request and resolves with the body of the reply. Always ends: with the reply, a failure, or `deadline`. A request to
     * a remote address waits for the link, and fails with `unreachable` if the link does not come up in time. A reply that is a stream
     * is refused with `no-streams`: use `fetch`.
     */
    request<T = unknown>(to: string, operation: string, body?: unknown, options?: RequestOptions): Promise<T>;
    /**
     * Sends a request with a body of any kind, also a stream, and resolves with the answer when its head is there. The answer is a
     * `Response`, also if it is a failure of the resource itself: its status is then 400 or more, and its body is a problem (RFC 9457).
     * Rejects if the request did not reach the resource, or got no answer. Reading the body slowly slows the resource that writes it.
     */
    fetch(to: string, operation: string, options?: FetchOptions): Promise<Response>;
    /**
     * Sends a one-way message. Resolves when the receiver has accepted it. Rejects when the receiver refuses it, or cannot be
     * reached.
     */
    notify(to: string, operation: string, body?: unknown, options?: NotifyOptions): Promise<void>;
    /**
     * Binds an address to its contract: each operation of the bind becomes a function that sends a request and resolves with the
     * body of the reply. `starlane bind types BIND` makes the type. The receiver checks the bodies.
     *
     * Names that JavaScript itself looks up on objects (`then`, `toJSON`, `toString` …) are operations only if `operations` lists
     * them. If `operations` is given, no other operations exist.
     */
    bind<B extends Contract>(address: string, options?: BindOptions<B>): Bound<B>;
    /**
     * Subscribes to a topic, `address#event`, at once. A full buffer drops the oldest events and yields `{ lagged }`. `{ gap }`
     * reports that events may have been missed. Leaving the loop unsubscribes. The loop throws `no-grant` if the subscription is
     * not allowed, and `no-resource` or `no-event` if the address or the event does not exist.
     */
    subscribe<T = unknown>(topic: string, options?: SubscribeOptions): Subscription<T>;
    /**
     * Serves an address: each function returns, or resolves with, the reply to its operation, which may be a `Response`. Rejects with
     * `conflict` if the address is taken.
     */
    serve(address: string, handlers: Handlers): Promise<Served>;
    /** Calls `listener` at each event of this kind. Returns a function that removes the listener. */
    on<E extends keyof HostEvents>(event: E, listener: (value: HostEvents[E]) => void): () => void;
    /** Returns the present state of this host. */
    inspect(): Inspection;
    /** Ends the apps, subscriptions and addresses of this object. The last object that shares the host also closes the host. */
    close(): Promise<void>;
    [asyncDispose](): Promise<void>;
}

// ---- key.d.ts
/**
 * Encodes any text as a segment of an address. The bytes a-z and 0-9, and `-` after the first byte, stay; every other byte
 * becomes `_` and two hex digits.
 * `host.request(\`acme:profiles:profile:${key(name)}\`, …)`
 *
 * Throws `malformed` if the text is empty, or its key longer than 63 bytes.
 */
export declare function key(text: string): string;
/** Decodes a segment that {@link key} made. Throws `malformed` for any other segment, so that each text has one address. */
export declare function unkey(segment: string): string;

// ---- types.d.ts
declare global {
    interface SymbolConstructor {
        readonly asyncDispose: unique symbol;
    }
}
/** The options of `Host.open`. */
export interface HostOptions {
    /** The server to link to: an `http:` or `https:` URL. */
    server: string | URL;
    /** Returns the token for the server. Called before each connection, and before the last token expires. Without it the page is anonymous. */
    token?: (options: {
        signal: AbortSignal;
    }) => string | undefined | Promise<string | undefined>;
    /**
     * The publishers whose bundles may run here, as `ed25519:…`. Default: the publishers that the server lists, if the server is on
     * this machine or of the page's own origin; otherwise required.
     */
    trust?: readonly string[];
    /** The name of the cache (an IndexedDB database). Default: `starlane`. */
    cache?: string;
    /**
     * The maximum size of the cached bundles, in bytes. When room is needed, the least recently used bundles are evicted first, and
     * launched ones never. Default: 268,435,456 (256 MiB).
     */
    cacheBytes?: number;
    /** Cancels `open`. */
    signal?: AbortSignal;
    /** The URL of the package's `starlane_npm_bg.wasm`. Default: beside the package. */
    wasm?: string | URL;
    /** The URL of the package's `starlane_verifier_bg.wasm`, which verifies bundles. The first launch loads it. Default: beside the package. */
    verifier?: string | URL;
    /** The URL of the package's `meter.wasm`, which checks mechtrons' modules. Loaded on demand. Default: beside the package. */
    meter?: string | URL;
    /** The URL of the package's `worker.js`. Default: beside the package. */
    worker?: string | URL;
    /** The URL of the package's `contract.js`, which checks bodies against schemas. Loaded on demand. Default: beside the package. */
    contract?: string | URL;
    /** The URL of the package's `glue.js`, which runs mechtrons `inline`. Loaded on demand. Default: beside the package. */
    glue?: string | URL;
}
/** The state of the link to the server, and why it is so. */
export interface LinkStatus {
    /** `refused` lasts until `host.reconnect()`: requests fail with the reason meanwhile. In the other states the host dials by itself. */
    readonly state: "connecting" | "up" | "down" | "refused";
    /** Why the link is not up, once that is known. */
    readonly reason?: LinkReason;
    /** The reason for people, with what to do. */
    readonly message?: string;
    /** Since when it has been in this state, in milliseconds since 1970. */
    readonly since: number;
    /** How many dials have led to nothing. */
    readonly attempt: number;
    /** When the next dial is due, in milliseconds since 1970. */
    readonly nextAttempt?: number;
}
/**
 * Why a link is not up. `offline`: this device has no network. `local-network`: the browser withholds permission to reach a server
 * on this machine or in a private network. `silent`: nothing was heard from the server. `fenced`: another process uses the same
 * identity. `protocol`: the two hosts do not understand each other. Others are words of the server.
 */
export type LinkReason = "offline" | "unreachable" | "local-network" | "origin-refused" | "auth-refused" | "token-failed" | "overloaded" | "version" | "silent" | "expired" | "fenced" | "too-many" | "closing" | "protocol" | (string & {});
/** The events of `host.on`. */
export interface HostEvents {
    /** The new state of the link to the server, also when only its reason or the time of the next dial changed. */
    link: LinkStatus;
    /** The reason why the cache is memory only. A listener that is added later is called right after `on` returns. */
    degraded: string;
}
/** The options of `host.connected`. */
export interface ConnectedOptions {
    /** Stops waiting. */
    signal?: AbortSignal;
    /** The maximum time to wait, in milliseconds. Default: no limit. */
    timeout?: number;
}
/** The options of `host.launch`. */
export interface LaunchOptions {
    /** Cancels the launch. */
    signal?: AbortSignal;
    /** Called as the app's modules arrive. */
    onProgress?: (progress: LaunchProgress) => void;
    /** Runs the app's mechtrons in the page's own thread instead of a worker. Lower latency; use it only for trusted code. */
    inline?: boolean;
}
/** The progress of a launch. */
export interface LaunchProgress {
    /** Bytes of modules loaded so far. */
    loaded: number;
    /** Bytes of all required modules. */
    total: number;
}
/** The options of `host.request`. */
export interface RequestOptions {
    /** Cancels the request. */
    signal?: AbortSignal;
    /** The time limit, in milliseconds, after which the request fails with `deadline`. Default: 30,000. */
    timeout?: number;
}
/** What `host.fetch` sends. Texts are sent as UTF-8. */
export type FetchBody = string | ArrayBuffer | ArrayBufferView | Blob | FormData | URLSearchParams | ReadableStream<string | ArrayBuffer | ArrayBufferView> | AsyncIterable<string | ArrayBuffer | ArrayBufferView>;
/** The options of `host.fetch`. */
export interface FetchOptions {
    /**
     * The body. A string, bytes up to 16 MiB and a Blob up to 64 KiB are sent as a whole. Anything larger, a stream and an iterable
     * are sent as a stream, if the operation takes one: the body is read as the receiver takes it, and is sent once.
     */
    body?: FetchBody | null;
    /** The headers. The hosts own the names that begin with `starlane-`. */
    headers?: HeadersInit;
    /** The content type. Default: that of `headers`, or what the body implies, or `application/octet-stream`. */
    contentType?: string;
    /** Cancels the request and the streams of both bodies. Reading the answer's body fails with its reason. */
    signal?: AbortSignal;
    /** The time limit for the head of the answer, in milliseconds. It starts again when a part of the body is taken. Default: 30,000. */
    timeout?: number;
}
/** The operations and events of a bind, as `starlane bind types` writes them. */
export interface Contract {
    /** The request and response type of each operation; `undefined` is an empty body. */
    operations: object;
    /** The type of each event's body, for `host.subscribe<B["events"]["changes"]>`. */
    events: object;
}
/** An address bound to its contract: a function for each operation. */
export type Bound<B extends Contract> = {
    readonly [Name in keyof B["operations"]]: B["operations"][Name] extends {
        request: infer Request;
        response: infer Response;
    } ? unknown extends Request ? (body?: Request, options?: RequestOptions) => Promise<Response> : (body: Request, options?: RequestOptions) => Promise<Response> : never;
};
/** The options of `host.bind`. */
export interface BindOptions<B extends Contract> {
    /** The names of all operations. Required only for names that JavaScript itself looks up on objects, such as `then` and `inspect`. */
    operations?: readonly (keyof B["operations"] & string)[];
}
/** The options of `host.notify`. */
export interface NotifyOptions {
    /** Stops waiting, and cancels the message if it has not left yet. */
    signal?: AbortSignal;
    /** Keep the message until it is delivered. Not supported in this version: `true` rejects with `unsupported`. */
    durable?: boolean;
}
/** The options of `host.subscribe`. */
export interface SubscribeOptions {
    /** Ends the subscription. The loop over it throws the signal's reason. */
    signal?: AbortSignal;
    /** The maximum number of events that are buffered for a slow reader. Default: 256. */
    buffer?: number;
}
/**
 * An item of a subscription: an event; or `lagged`, the number of events that a full buffer dropped; or `gap`, if events may have
 * been lost on the way.
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
    /** Returns the next item. */
    next(): Promise<IteratorResult<SubscriptionItem<T>, undefined>>;
    [Symbol.asyncIterator](): Subscription<T>;
    /** Unsubscribes. */
    return(): Promise<IteratorReturnResult<undefined>>;
    [Symbol.asyncDispose](): Promise<void>;
}
/** The sender of a message, and whether the sender still waits. */
export interface MessageContext {
    /** The address of the sender. */
    from: string;
    /** The principal on whose behalf it was sent; empty for anonymous. */
    caller: string;
    /** Aborted when nobody waits for the reply any more. */
    signal: AbortSignal;
}
/**
 * A handler of an operation. It gets the body, and returns, or resolves with, the reply: a body, or a `Response` with status, headers
 * and a body, which may be a stream. It gets no streams: they are refused with `no-streams`.
 */
export type Handler = (body: any, context: MessageContext) => unknown;
/** A handler whose messages may have streams. */
export interface StreamHandler {
    /** It takes streams, and whole bodies too. */
    stream: true;
    /** Returns, or resolves with, the reply. A body that nobody has begun to read by then is stopped. */
    handle: (request: StreamRequest, context: MessageContext) => unknown;
}
/** The operations of an address that the page serves, each with its handler. */
export type Handlers = Record<string, Handler | StreamHandler>;
/** A message whose body may be a stream. The body is read as that of a `Request`, and once. */
export interface StreamRequest extends Pick<Request, "body" | "bodyUsed" | "arrayBuffer" | "blob" | "formData" | "json" | "text"> {
    /** The operation. */
    readonly operation: string;
    /** The headers, with the content type. */
    readonly headers: Headers;
    /** The content type; empty for an empty body. */
    readonly contentType: string;
}
/** The result of `host.inspect`. */
export interface Inspection {
    /** The name of this host: `~` and 26 characters. */
    host: string;
    /** The state of the link to the server. */
    link: LinkStatus["state"];
    /** The links of this host. */
    links: {
        peer: string | null;
        principal: string;
        up: boolean;
        serves: string[];
    }[];
    /** The launched apps; `wasm` has the path and digest of each module of the bundle. */
    apps: {
        app: string;
        revision: number;
        bundle: string;
        wasm: [path: string, digest: string][];
    }[];
    /** The actors of this host. */
    actors: ActorInspection[];
    /** The number of files from the network, from the cache, and damaged in the cache and so fetched again. */
    blobs: {
        fetched: number;
        cached: number;
        healed: number;
    };
    /** The number of unanswered requests. */
    openRequests: number;
    /** The number of streams that have not ended at both ends. */
    openStreams: number;
}
/** An actor of this host. */
export interface ActorInspection {
    /** Its address. */
    address: string;
    /** The state of its instance. */
    state: "asleep" | "starting" | "awake" | "back-off" | "quarantined";
    /** Where it runs: `worker 2`, `inline`; null while it is asleep. */
    place: string | null;
    /** The digest of its module. */
    wasm: string;
    /** The number of messages that wait for it. */
    mailbox: number;
    /** The number of messages that it has received and not finished. */
    unfinished: number;
    /** The number of recent crashes. */
    crashes: number;
    /** Whether some of its state is not saved yet. */
    unsaved: boolean;
    /** Milliseconds since its state was saved; null if it was not saved since the host was opened. */
    savedAgoMs: number | null;
}
/** A launched app. */
export interface App {
    /** Its address. */
    readonly address: string;
    /** The revision of its record. */
    readonly revision: number;
    /** The bundle that it was launched from. */
    readonly bundle: string;
    /** Stops the app: its actors here end. If it was launched several times, the last `stop` does this. */
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
/** `Symbol.asyncDispose`. Where the browser does not have it yet: the symbol that helpers for `await using` fall back to. */
export declare const asyncDispose: typeof Symbol.asyncDispose;
