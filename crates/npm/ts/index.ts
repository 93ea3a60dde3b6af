/**
 * Starlane in a page. Importing the package has no side effects; {@link Host.open} loads the rest.
 *
 * @packageDocumentation
 */
export { StarlaneError } from "./errors.js";
export { Host } from "./host.js";
export { key, unkey } from "./key.js";
export type {
  ActorInspection,
  App,
  BindOptions,
  Bound,
  ConnectedOptions,
  Contract,
  FetchBody,
  FetchOptions,
  Handler,
  Handlers,
  HostEvents,
  HostOptions,
  Inspection,
  LaunchOptions,
  LaunchProgress,
  LinkReason,
  LinkStatus,
  MessageContext,
  NotifyOptions,
  RequestOptions,
  Served,
  StreamHandler,
  StreamRequest,
  SubscribeOptions,
  Subscription,
  SubscriptionItem,
} from "./types.js";
