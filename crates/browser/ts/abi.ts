// What a host and a guest agree on, as far as JavaScript needs it: the names and bounds of `starlane-abi`.

export const MESH = "starlane:mechtron/mesh@1.0.0";
export const ACTOR = "starlane:mechtron/actor@1.0.0#";

/** Exported functions that a guest must have, and how many core parameters each takes. */
export const REQUIRED: Readonly<Record<string, number>> = {
  [ACTOR + "start"]: 10,
  [ACTOR + "receive"]: 15,
  [ACTOR + "settle"]: 8,
  [ACTOR + "wake"]: 1,
  [ACTOR + "save"]: 0,
  cabi_realloc: 4,
};
/** Exported functions that it may have. */
export const OPTIONAL: Readonly<Record<string, number>> = {
  _initialize: 0,
  ["cabi_post_" + ACTOR + "start"]: 1,
  ["cabi_post_" + ACTOR + "save"]: 1,
};

/** Functions that it may import. */
export const IMPORTS = [
  "request",
  "notify",
  "reply",
  "emit",
  "subscribe",
  "unsubscribe",
  "wake-after",
  "log",
  "now-ms",
  "random",
] as const;
export type Import = (typeof IMPORTS)[number];

/** The most messages and bytes that one call may queue, and the most bytes that it may log. */
export const CALL_MESSAGES = 1024;
export const CALL_BYTES = 16 * 1024 * 1024;
export const CALL_LOG = 64 * 1024;
/** The most headers of a payload. */
export const HEADERS = 128;

export function wrongType(name: string): string {
  return `the export \`${name}\` has another type than the interface gives it`;
}
