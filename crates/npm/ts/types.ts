declare global {
  // For TypeScript before 5.2, and for projects whose `lib` does not declare it.
  interface SymbolConstructor {
    readonly asyncDispose: unique symbol;
  }
}

/** The options of `Host.open`. */
export interface HostOptions {
  /** The server to link to: an `http:` or `https:` URL. */
  server: string | URL;
  /** Returns the token for the server. Called before each connection, and before the last token expires. Without it the page is anonymous. */
  token?: (options: { signal: AbortSignal }) => string | undefined | Promise<string | undefined>;
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
export type LinkReason =
  | "offline"
  | "unreachable"
  | "local-network"
  | "origin-refused"
  | "auth-refused"
  | "token-failed"
  | "overloaded"
  | "version"
  | "silent"
  | "expired"
  | "fenced"
  | "too-many"
  | "closing"
  | "protocol"
  | (string & {});

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
export type FetchBody =
  | string
  | ArrayBuffer
  | ArrayBufferView
  | Blob
  | FormData
  | URLSearchParams
  | ReadableStream<string | ArrayBuffer | ArrayBufferView>
  | AsyncIterable<string | ArrayBuffer | ArrayBufferView>;

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
  readonly [Name in keyof B["operations"]]: B["operations"][Name] extends { request: infer Request; response: infer Response }
    ? unknown extends Request
      ? (body?: Request, options?: RequestOptions) => Promise<Response>
      : (body: Request, options?: RequestOptions) => Promise<Response>
    : never;
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
export type SubscriptionItem<T> =
  | { from: string; payload: T; lagged?: never; gap?: never }
  | { lagged: number; from?: never; payload?: never; gap?: never }
  | { gap: true; from?: never; payload?: never; lagged?: never };

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
  links: { peer: string | null; principal: string; up: boolean; serves: string[] }[];
  /** The launched apps; `wasm` has the path and digest of each module of the bundle. */
  apps: { app: string; revision: number; bundle: string; wasm: [path: string, digest: string][] }[];
  /** The actors of this host. */
  actors: ActorInspection[];
  /** The number of files from the network, from the cache, and damaged in the cache and so fetched again. */
  blobs: { fetched: number; cached: number; healed: number };
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
