// Compiles JSON Schemas in the normal form of `starlane_bundle::schema` to functions that return the first fault of a value. The
// time grows with the value and the schema, up to the limits of `effort.ts`.

import { Effort, listed, matches, namesOf, spend } from "./effort.js";
import {
  type Members,
  TYPES,
  comparable,
  decimal,
  isArray,
  isAsLong,
  isMultiple,
  isNested,
  isNumber,
  isObject,
  isText,
  same,
} from "./values.js";

/** The fault of a value. */
export interface SchemaFault {
  /** Its place as a JSON pointer (RFC 6901). Empty: the whole value. */
  at: string;
  readonly reason: string;
}

/** A schema in normal form. */
export type Schema = boolean | Members;

/**
 * Checks a value against a whole schema. Throws if that takes more than `most` steps, or if its patterns take longer than
 * `patterns` milliseconds.
 */
export type Validator = (value: unknown, most: number, patterns: number) => SchemaFault | undefined;

type Check = (value: unknown, effort: Effort) => SchemaFault | undefined;
type MakeCheck = (schema: Schema) => Check;
/** Compiles a keyword. Takes its value, the compiler of schemas, the schema around it, and the resolver of `$ref`s. */
type Keyword = (value: never, schema: MakeCheck, beside: Beside, refer: (reference: string) => Check) => Check | Check[];

/** The keywords that other keywords of the same schema read. */
interface Beside extends Members {
  readonly prefixItems?: readonly Schema[];
  readonly minContains?: number;
  readonly maxContains?: number;
  readonly properties?: Members;
  readonly then?: Schema;
  readonly else?: Schema;
}

type Named = readonly [name: string, check: Check];
type Table<T> = Readonly<Record<string, T>>;

/** Compiles a schema in normal form. */
export function compile(document: Schema): Validator {
  const named = new Map<string, Check>();
  /** The check of a `$ref`, compiled at its first use, because schemas may refer to themselves. */
  const refer = (reference: string): Check => {
    const { $defs } = document as { $defs: Table<Schema> };
    const target = reference === "#" ? document : $defs[reference.slice("#/$defs/".length)]!;
    let check: Check | undefined;
    return (value, effort) => (check ??= named.get(reference) ?? named.set(reference, schema(target)).get(reference)!)(value, effort);
  };
  const schema: MakeCheck = (given) => {
    if (given === true) return () => undefined;
    if (given === false) return () => fault("no value is allowed here");
    const checks = Object.entries(given).flatMap(([name, value]) => KEYWORDS[name]?.(value as never, schema, given, refer) ?? []);
    // Nested calls would use more stack, and a worker has little.
    return (value, effort) => {
      spend(effort, 1);
      for (let at = 0; at < checks.length; at++) {
        const found = checks[at]!(value, effort);
        if (found) return found;
      }
      return undefined;
    };
  };
  const check = schema(document);
  return (value, most, patterns) => check(value, new Effort(most, patterns));
}

const fault = (reason: string): SchemaFault => ({ at: "", reason });

/** The first fault among the members of an object. */
function firstMember(value: object, effort: Effort, give: (name: string) => SchemaFault | undefined): SchemaFault | undefined {
  for (const name of namesOf(effort, value)) {
    spend(effort, 1);
    const found = give(name);
    if (found) return found;
  }
  return undefined;
}

/** The first fault among the items of a list. */
function first<T>(list: Iterable<T>, give: (item: T) => SchemaFault | undefined): SchemaFault | undefined {
  for (const item of list) {
    const found = give(item);
    if (found) return found;
  }
  return undefined;
}

/** Prefixes the place of a fault by the name or index of the member. */
function within(token: string | number, found: SchemaFault | undefined): SchemaFault | undefined {
  if (found) found.at = `/${String(token).replaceAll("~", "~0").replaceAll("/", "~1")}${found.at}`;
  return found;
}

/** Makes checks for values of one type. */
const of =
  <T>(kind: (value: unknown) => value is T) =>
  (holds: (value: T, effort: Effort) => boolean, reason: string): Check =>
  (value, effort) =>
    kind(value) && !holds(value, effort) ? fault(reason) : undefined;
const ofNumber = of(isNumber);
const ofText = of(isText);
const ofArray = of(isArray);
const ofObject = of(isObject);

/** Makes a check that a value is one of these. */
function among(values: readonly unknown[]): Check {
  const simple = new Set(values.filter((value) => !isNested(value)));
  const nested = values.filter(isNested);
  const reason = `expected ${values.length === 1 ? "" : "one of "}${values.map((value) => JSON.stringify(value)).join(", ")}`;
  const is = (value: unknown, effort: Effort) =>
    isNested(value) ? listed(effort, nested).some((wanted) => same(value, wanted, effort)) : simple.has(value);
  return (value, effort) => (is(value, effort) ? undefined : fault(reason));
}

function missing(names: readonly string[], value: Members, effort: Effort): SchemaFault | undefined {
  const name = listed(effort, names).find((name) => !Object.hasOwn(value, name));
  return name === undefined ? undefined : fault(`expected the member ${JSON.stringify(name)}`);
}

/** Compiles a table of schemas. */
function compiled(table: Table<Schema>, schema: MakeCheck): readonly Named[] {
  return Object.entries(table).map(([name, given]) => [name, schema(given)]);
}

const KEYWORDS: Table<Keyword> = {
  type(names: string | readonly string[]) {
    const listed = [names].flat();
    const fits = listed.map((name) => TYPES[name]!);
    const reason = `expected ${listed.join(" or ")}`;
    return (value) => (fits.some((is) => is(value)) ? undefined : fault(reason));
  },
  const: (wanted: unknown) => among([wanted]),
  enum: among,

  minimum: (least: number) => ofNumber((value) => value >= least, `expected at least ${least}`),
  maximum: (most: number) => ofNumber((value) => value <= most, `expected at most ${most}`),
  exclusiveMinimum: (bound: number) => ofNumber((value) => value > bound, `expected more than ${bound}`),
  exclusiveMaximum: (bound: number) => ofNumber((value) => value < bound, `expected less than ${bound}`),
  multipleOf(step: number) {
    const exact = decimal(step);
    return ofNumber((value) => isMultiple(value, step, exact), `expected a multiple of ${step}`);
  },

  minLength: (least: number) => ofText((text, effort) => isAsLong(text, least, effort), `expected at least ${least} characters`),
  maxLength: (most: number) => ofText((text, effort) => !isAsLong(text, most + 1, effort), `expected at most ${most} characters`),
  pattern(source: string) {
    const pattern = new RegExp(source, "u");
    return ofText((text, effort) => matches(effort, pattern, text), `expected a match of ${source}`);
  },

  minItems: (least: number) => ofArray((items) => items.length >= least, `expected at least ${least} items`),
  maxItems: (most: number) => ofArray((items) => items.length <= most, `expected at most ${most} items`),
  uniqueItems() {
    const unique = (items: readonly unknown[], effort: Effort) => new Set(items.map((item) => comparable(item, effort)));
    return ofArray((items, effort) => unique(items, effort).size === items.length, "expected unique items");
  },
  prefixItems(schemas: readonly Schema[], schema) {
    const checks = schemas.map((given) => schema(given));
    return (value, effort) =>
      isArray(value)
        ? first(checks.slice(0, value.length).keys(), (at) => within(at, checks[at]!(value[at], effort)))
        : undefined;
  },
  items(items: Schema, schema, { prefixItems = [] }) {
    const check = schema(items);
    return (value, effort) => {
      for (let at = prefixItems.length; isArray(value) && at < value.length; at++) {
        const found = within(at, check(value[at], effort));
        if (found) return found;
      }
      return undefined;
    };
  },
  contains(contained: Schema, schema, { minContains = 1, maxContains = Infinity }) {
    const check = schema(contained);
    const count = (items: readonly unknown[], effort: Effort) => items.filter((item) => !check(item, effort)).length;
    const fits = (found: number) => found >= minContains && found <= maxContains;
    return ofArray((items, effort) => fits(count(items, effort)), "too few or too many items match `contains`");
  },

  required: (names: readonly string[]) => (value, effort) => (isObject(value) ? missing(names, value, effort) : undefined),
  dependentRequired(table: Table<readonly string[]>) {
    const entries = Object.entries(table);
    return (value, effort) =>
      isObject(value)
        ? first(listed(effort, entries), ([name, names]) => (Object.hasOwn(value, name) ? missing(names, value, effort) : undefined))
        : undefined;
  },
  minProperties: (least: number) =>
    ofObject((value, effort) => namesOf(effort, value).length >= least, `expected at least ${least} members`),
  maxProperties: (most: number) =>
    ofObject((value, effort) => namesOf(effort, value).length <= most, `expected at most ${most} members`),
  properties(table: Table<Schema>, schema) {
    const checks = compiled(table, schema);
    return (value, effort) => {
      if (!isObject(value)) return undefined;
      const member = ([name, check]: Named) => (Object.hasOwn(value, name) ? within(name, check(value[name], effort)) : undefined);
      return first(listed(effort, checks), member);
    };
  },
  additionalProperties(given: Schema, schema, { properties = {} }) {
    const known = new Set(Object.keys(properties));
    const check = given === false ? () => fault("unknown member") : schema(given);
    return (value, effort) =>
      isObject(value)
        ? firstMember(value, effort, (name) => (known.has(name) ? undefined : within(name, check(value[name], effort))))
        : undefined;
  },
  propertyNames(given: Schema, schema) {
    const check = schema(given);
    return (value, effort) => (isObject(value) ? firstMember(value, effort, (name) => within(name, check(name, effort))) : undefined);
  },
  dependentSchemas(table: Table<Schema>, schema) {
    const checks = compiled(table, schema);
    return (value, effort) =>
      isObject(value)
        ? first(listed(effort, checks), ([name, check]) => (Object.hasOwn(value, name) ? check(value, effort) : undefined))
        : undefined;
  },

  allOf: (schemas: readonly Schema[], schema) => schemas.map((given) => schema(given)),
  anyOf(schemas: readonly Schema[], schema) {
    const checks = schemas.map((given) => schema(given));
    return (value, effort) => {
      for (const check of checks) if (!check(value, effort)) return undefined;
      return fault("matches none of the `anyOf` schemas");
    };
  },
  oneOf(schemas: readonly Schema[], schema) {
    const checks = schemas.map((given) => schema(given));
    return (value, effort) => {
      let fitting = 0;
      for (const check of checks) if (!check(value, effort)) fitting++;
      return fitting === 1 ? undefined : fault("does not match exactly one `oneOf` schema");
    };
  },
  not(given: Schema, schema) {
    const check = schema(given);
    return (value, effort) => (check(value, effort) ? undefined : fault("matches the `not` schema"));
  },
  if(given: Schema, schema, { then = true, else: otherwise = true }) {
    const check = schema(given);
    const yes = schema(then);
    const no = schema(otherwise);
    return (value, effort) => (check(value, effort) ? no : yes)(value, effort);
  },
  $ref: (reference: string, _schema, _beside, refer) => refer(reference),
};
