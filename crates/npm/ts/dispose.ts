/** `Symbol.asyncDispose`, also where the browser has none yet: the name that helpers for `await using` fall back to. */
export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);
