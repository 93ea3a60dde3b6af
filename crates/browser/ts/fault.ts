// Errors of guests, described for people.

/** An error of a guest. Its message is for people. */
export class GuestFault extends Error {}

/** The guest has no memory for a value. */
export class NoMemory extends GuestFault {}

/** Whether a guest executed the instruction `unreachable`. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError && /unreachable/i.test(error.message);
}

/** Describes the error of a guest's call in one line, for people. */
export function describe(error: unknown): string {
  if (error instanceof GuestFault) return error.message;
  // The engines' own texts differ.
  if (error instanceof RangeError || (error as Partial<Error> | null | undefined)?.name === "InternalError") return "call stack exhausted";
  if (!(error instanceof Error)) return "an uncaught exception";
  if (isUnreachable(error)) return "wasm `unreachable` instruction executed";
  return error.message.split("\n", 1)[0]!.replace(/ \(evaluating .*/, "");
}
