// Checks the arguments of public functions before they are used. The error is `malformed` and names the argument.

import { StarlaneError, malformed } from "./errors.js";

/** A lone surrogate: UTF-8 cannot encode it, and an encoder would replace it by U+FFFD. */
const HALF = /\p{Surrogate}/u;

const tag = Object.prototype.toString;

/** Describes a value for people. Never throws, whatever the value does, and always says which type the value has. */
export function shown(value: unknown): string {
  try {
    if (typeof value === "string") return value === "" ? "an empty string" : JSON.stringify(value.slice(0, 60));
    if (typeof value === "bigint") return `the BigInt ${String(value).slice(0, 60)}`;
    if (typeof value === "function" || typeof value === "symbol") return `a ${typeof value}`;
    if (typeof value !== "object" || value === null) return String(value);
    const kind = tag.call(value).slice(8, -1);
    const { constructor } = value;
    return `the object ${kind === "Object" && typeof constructor === "function" && constructor !== Object ? constructor.name : kind}`;
  } catch {
    return `an unreadable ${typeof value}`;
  }
}

/** Runs a function that reads a value of the page: its getters and proxies may throw anything. */
export function reading<T>(what: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    if (cause instanceof StarlaneError && cause.code === "malformed") throw cause;
    throw malformed(`${what} can't be read: ${why(cause)}`, cause);
  }
}

/** Describes a thrown value for people. */
export function why(thrown: unknown): string {
  try {
    return thrown instanceof Error && typeof thrown.message === "string" ? thrown.message : shown(thrown);
  } catch {
    return "it throws";
  }
}

/** Whether a text has no lone surrogate. */
export function isWhole(text: string): boolean {
  return !HALF.test(text);
}

/** The error for an argument that is not what it must be. */
export function must(name: string, be: string, value: unknown): StarlaneError {
  return malformed(`\`${name}\` must be ${be}, not ${shown(value)}`);
}

/** Checks a string. */
export function text(name: string, value: unknown): string {
  if (typeof value !== "string") throw must(name, "a string", value);
  if (!isWhole(value)) throw malformed(`\`${name}\` has a lone surrogate: pass well-formed Unicode`);
  return value;
}

/** Checks the name of an operation. */
export function operation(name: string, value: unknown): string {
  if (/^[\w-]{1,63}$/.test(text(name, value))) return value as string;
  throw must(name, "the name of an operation (1 to 63 letters, digits, `-` and `_`)", value);
}

/** Checks an optional function. */
export function callback<F>(name: string, value: F | undefined): F | undefined {
  if (value === undefined || typeof value === "function") return value;
  throw must(name, "a function", value);
}

/** Checks an optional boolean; the default is false. */
export function flag(name: string, value: unknown): boolean {
  if (value === undefined || typeof value === "boolean") return value === true;
  throw must(name, "true or false", value);
}

/** Checks an optional AbortSignal of any realm. */
export function abortSignal(value: AbortSignal | undefined): AbortSignal | undefined {
  if (value === undefined) return value;
  try {
    // This getter throws for anything but a real AbortSignal.
    Object.getOwnPropertyDescriptor(AbortSignal.prototype, "aborted")?.get?.call(value);
    return value;
  } catch {
    throw must("signal", "an AbortSignal", value);
  }
}

/** Checks options and reads each once. Refuses unknown names: they are misspelt, or belong to another version. */
export function options<T extends object>(call: string, given: T | undefined, known: readonly (keyof T & string)[]): T {
  return reading(`the options of ${call}`, () => {
    if (given === undefined) return {} as T;
    // A signal in the place of the options would otherwise be ignored.
    if (given === null || typeof given !== "object" || tag.call(given) !== "[object Object]") {
      throw malformed(`the options of ${call} must be an object such as { ${known[0]}: … }, not ${shown(given)}`);
    }
    const unknown = Object.keys(given).filter((name) => !(known as readonly string[]).includes(name));
    if (unknown.length > 0) {
      throw malformed(`${call} has no option \`${unknown.join("`, `")}\` in this version: it has \`${known.join("`, `")}\``);
    }
    return Object.fromEntries(known.map((name) => [name, given[name]])) as T;
  });
}
