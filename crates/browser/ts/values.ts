// JSON values by the rules of schemas: types, equality, multiples.

import { CHARACTERS_PER_STEP, type Effort, namesOf, spend } from "./effort.js";

export type Members = Readonly<Record<string, unknown>>;

export const isNumber = (value: unknown): value is number => typeof value === "number";
export const isText = (value: unknown): value is string => typeof value === "string";
export const isArray = Array.isArray as (value: unknown) => value is readonly unknown[];
export const isObject = (value: unknown): value is Members => isNested(value) && !isArray(value);

/** The types of the keyword `type`. */
export const TYPES: Readonly<Record<string, (value: unknown) => boolean>> = {
  null: (value) => value === null,
  boolean: (value) => typeof value === "boolean",
  number: isNumber,
  integer: Number.isInteger,
  string: isText,
  array: isArray,
  object: isObject,
};

/** Whether a value is an array or an object. */
export function isNested(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Whether a text has at least `least` characters. A surrogate pair is one character. */
export function isAsLong(text: string, least: number, effort: Effort): boolean {
  if (text.length < least || text.length >= 2 * least) return text.length >= least;
  spend(effort, text.length / CHARACTERS_PER_STEP);
  let count = text.length;
  for (let at = 0; at < text.length; at++) if ((text.charCodeAt(at) & 0xfc00) === 0xdc00) count--;
  return count >= least;
}

/** Whether a value equals one in a schema. The size of the schema bounds the time. */
export function same(value: unknown, wanted: unknown, effort: Effort): boolean {
  if (!isNested(value) || !isNested(wanted)) return value === wanted;
  if (isArray(value) || isArray(wanted)) {
    const alike = isArray(value) && isArray(wanted) && value.length === wanted.length;
    return alike && wanted.every((item, at) => same(value[at], item, effort));
  }
  const members = Object.entries(wanted);
  return (
    namesOf(effort, value).length === members.length &&
    members.every(([name, item]) => Object.hasOwn(value, name) && same((value as Members)[name], item, effort))
  );
}

/** Converts a value so that a `Set` finds equal values, and only equal values, the same. */
export function comparable(value: unknown, effort: Effort): unknown {
  return isNested(value) ? canonical(value, effort) : value;
}

/**
 * A text that is the same for equal values, and for no others. The text of an array or object begins with a lone surrogate, which
 * no text of a body has.
 */
function canonical(value: unknown, effort: Effort): string {
  if (!isNested(value)) return JSON.stringify(value);
  let text = effort.texts.get(value);
  if (text === undefined) {
    const member = (name: string) => `${JSON.stringify(name)}:${canonical((value as Members)[name], effort)}`;
    text = isArray(value)
      ? `\ud800[${value.map((item) => canonical(item, effort)).join()}]`
      : `\ud800{${Object.keys(value).sort().map(member).join()}}`;
    spend(effort, 1 + text.length / CHARACTERS_PER_STEP);
    effort.texts.set(value, text);
  }
  return text;
}

/** The digits of a number without its sign, and the exponent of their power of ten. */
export type Decimal = readonly [digits: string, exponent: number];

export function decimal(number: number): Decimal {
  const text = String(Math.abs(number));
  const end = text.indexOf("e");
  const digits = end < 0 ? text : text.slice(0, end);
  const point = digits.indexOf(".");
  const power = end < 0 ? 0 : Number(text.slice(end + 1));
  return point < 0 ? [digits, power] : [digits.slice(0, point) + digits.slice(point + 1), power - (digits.length - point - 1)];
}

/** Whether a number is a multiple of a step, by their decimal digits: 0.3 is a multiple of 0.1. */
export function isMultiple(value: number, step: number, [stepDigits, stepExponent]: Decimal): boolean {
  if (Number.isSafeInteger(value) && Number.isSafeInteger(step)) return value % step === 0;
  const [digits, exponent] = decimal(value);
  // The value has more decimal places than the step.
  if (exponent < stepExponent && !digits.endsWith("0")) return false;
  const least = Math.min(exponent, stepExponent);
  const [power, stepPower] = [exponent - least, stepExponent - least];
  // A number represents up to 15 digits exactly.
  const short = digits.length + power <= 15 && stepDigits.length + stepPower <= 15;
  if (short) return (Number(digits) * 10 ** power) % (Number(stepDigits) * 10 ** stepPower) === 0;
  return (BigInt(digits) * 10n ** BigInt(power)) % (BigInt(stepDigits) * 10n ** BigInt(stepPower)) === 0n;
}
