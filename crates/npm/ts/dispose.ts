/** `Symbol.asyncDispose`. Where the browser does not have it yet: the symbol that helpers for `await using` fall back to. */
export const asyncDispose: typeof Symbol.asyncDispose =
  Symbol.asyncDispose ?? (Symbol.for("Symbol.asyncDispose") as typeof Symbol.asyncDispose);
