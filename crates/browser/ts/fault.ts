// What a guest did wrong, in words for people.

/** What a guest did wrong. Its message is for people. */
export class Fault extends Error {}

/** It has no memory for what it was to be given. */
export class NoMemory extends Fault {}

/** Whether a guest ran an instruction `unreachable`. */
export function isUnreachable(error: unknown): boolean {
  return error instanceof WebAssembly.RuntimeError && /unreachable/i.test(error.message);
}

/** One line for people, of whatever a guest's call threw. */
export function describe(error: unknown): string {
  if (error instanceof Fault) return error.message;
  // Each engine has its own words.
  if (error instanceof RangeError || (error as Partial<Error> | null | undefined)?.name === "InternalError") return "call stack exhausted";
  if (!(error instanceof Error)) return "an exception that nobody caught";
  if (isUnreachable(error)) return "wasm `unreachable` instruction executed";
  return error.message.split("\n", 1)[0]!.replace(/ \(evaluating .*/, "");
}
