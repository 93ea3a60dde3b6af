// JSON Schemas in the normal form of `starlane_bundle::schema`, made into functions once. One gives the first fault of a value.
// How long that takes grows with the value and the schema, and is bounded: each schema that is tried on a value is a step, and so is
// what it goes through. `starlane_bundle::schema::Cost` tells beforehand how many those can be. Only patterns may take long for one
// step; their time is bounded too.

/**
 * What is wrong with a value.
 *
 * @typedef {{ at: string, reason: string }} Fault where, as a JSON pointer (RFC 6901; empty: the whole), and what
 * @typedef {(value: unknown) => Fault | undefined} Check
 */

/** So many characters take as long to go through as a step. */
const CHARACTERS = 64;

/** How many steps are left of the present check, and how long its patterns may still take, in milliseconds. */
let steps = 0;
let patience = 0;
/** In the present check, the canonical texts of arrays and objects, and the names of many members: engines make those slowly. */
let texts = new Map();
let names = new Map();
/** So many members are many. */
const MANY = 32;

/**
 * The check of a schema in normal form. It throws if that takes more steps than it may, or if its patterns take longer than they
 * may, in milliseconds.
 *
 * @param {object | boolean} document
 * @returns {(value: unknown, most: number, patterns: number) => Fault | undefined}
 */
export function compile(document) {
  const named = new Map();
  /** The check behind a `$ref`, made when it is used first: schemas may refer to themselves. */
  const refer = (reference) => {
    const target = reference === "#" ? document : document.$defs[reference.slice("#/$defs/".length)];
    let check;
    return (value) => (check ??= named.get(reference) ?? named.set(reference, schema(target)).get(reference))(value);
  };
  const schema = (given) => {
    if (given === true) return () => undefined;
    if (given === false) return () => fault("nothing may be here");
    const checks = Object.entries(given).flatMap(([name, value]) => KEYWORDS[name]?.(value, schema, given, refer) ?? []);
    // A loop: each call within another takes of the stack, of which a worker has little.
    return (value) => {
      spend(1);
      for (let at = 0; at < checks.length; at++) {
        const found = checks[at](value);
        if (found) return found;
      }
      return undefined;
    };
  };
  const check = schema(document);
  return (value, most, patterns) => {
    steps = most;
    patience = patterns;
    try {
      return check(value);
    } finally {
      if (texts.size > 0) texts = new Map();
      if (names.size > 0) names = new Map();
    }
  };
}

function spend(count) {
  steps -= count;
  if (steps < 0) throw new Error("that takes too long for so large a body and such a schema");
}

const fault = (reason) => ({ at: "", reason });

/** A list that a schema goes through, which takes as many steps. */
function listed(list) {
  spend(list.length);
  return list;
}

/** The names of an object's members. */
function namesOf(value) {
  let found = names.get(value);
  if (!found) {
    found = Object.keys(value);
    if (found.length > MANY) names.set(value, found);
  }
  return found;
}

/** The first fault that the members of an object give. */
function firstMember(value, give) {
  for (const name of namesOf(value)) {
    spend(1);
    const found = give(name);
    if (found) return found;
  }
  return undefined;
}

/** The first fault that the items of a list give. */
function first(list, give) {
  for (const item of list) {
    const found = give(item);
    if (found) return found;
  }
  return undefined;
}

/** A fault of what lies at a name or index, as one of what holds it. */
function within(token, found) {
  if (found) found.at = `/${String(token).replaceAll("~", "~0").replaceAll("/", "~1")}${found.at}`;
  return found;
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
/** Whether a text has at least so many characters. One of two UTF-16 units is one. */
function isAsLong(text, least) {
  if (text.length < least || text.length >= 2 * least) return text.length >= least;
  spend(text.length / CHARACTERS);
  let count = text.length;
  for (let at = 0; at < text.length; at++) if ((text.charCodeAt(at) & 0xfc00) === 0xdc00) count--;
  return count >= least;
}

/** A check that must hold for values of one kind. */
const of = (kind, holds, reason) => (value) => (kind(value) && !holds(value) ? fault(reason) : undefined);
const ofNumber = (...rest) => of((value) => typeof value === "number", ...rest);
const ofText = (...rest) => of((value) => typeof value === "string", ...rest);
const ofArray = (...rest) => of(Array.isArray, ...rest);
const ofObject = (...rest) => of(isObject, ...rest);

const TYPES = {
  null: (value) => value === null,
  boolean: (value) => typeof value === "boolean",
  number: (value) => typeof value === "number",
  integer: (value) => Number.isInteger(value),
  string: (value) => typeof value === "string",
  array: Array.isArray,
  object: isObject,
};

/** Each makes the checks of a keyword, of its value, what makes a check of a schema, and the schema that it stands in. */
const KEYWORDS = {
  type(names) {
    const fits = [names].flat().map((name) => TYPES[name]);
    const reason = `expected ${[names].flat().join(" or ")}`;
    return (value) => (fits.some((is) => is(value)) ? undefined : fault(reason));
  },
  const: (wanted) => KEYWORDS.enum([wanted]),
  enum(values) {
    const simple = new Set(values.filter((value) => !isNested(value)));
    const nested = values.filter(isNested);
    const reason = `expected ${values.length === 1 ? "" : "one of "}${values.map((value) => JSON.stringify(value)).join(", ")}`;
    const is = (value) => (isNested(value) ? listed(nested).some((wanted) => same(value, wanted)) : simple.has(value));
    return (value) => (is(value) ? undefined : fault(reason));
  },

  minimum: (least) => ofNumber((value) => value >= least, `expected at least ${least}`),
  maximum: (most) => ofNumber((value) => value <= most, `expected at most ${most}`),
  exclusiveMinimum: (bound) => ofNumber((value) => value > bound, `expected more than ${bound}`),
  exclusiveMaximum: (bound) => ofNumber((value) => value < bound, `expected less than ${bound}`),
  multipleOf(step) {
    const exact = decimal(step);
    return ofNumber((value) => isMultiple(value, step, exact), `expected a multiple of ${step}`);
  },

  minLength: (least) => ofText((text) => isAsLong(text, least), `expected at least ${least} characters`),
  maxLength: (most) => ofText((text) => !isAsLong(text, most + 1), `expected at most ${most} characters`),
  pattern(source) {
    const pattern = new RegExp(source, "u");
    return ofText((text) => matches(pattern, text), `expected a text like ${source}`);
  },

  minItems: (least) => ofArray((items) => items.length >= least, `expected at least ${least} items`),
  maxItems: (most) => ofArray((items) => items.length <= most, `expected at most ${most} items`),
  uniqueItems: () => ofArray((items) => new Set(items.map(comparable)).size === items.length, "expected each item once"),
  prefixItems(schemas, schema) {
    const checks = schemas.map(schema);
    return (value) =>
      Array.isArray(value)
        ? first(checks.slice(0, value.length).keys(), (at) => within(at, checks[at](value[at])))
        : undefined;
  },
  items(items, schema, { prefixItems = [] }) {
    const check = schema(items);
    return (value) => {
      for (let at = prefixItems.length; Array.isArray(value) && at < value.length; at++) {
        const found = within(at, check(value[at]));
        if (found) return found;
      }
      return undefined;
    };
  },
  contains(contained, schema, { minContains = 1, maxContains = Infinity }) {
    const check = schema(contained);
    const count = (items) => items.filter((item) => !check(item)).length;
    const fits = (found) => found >= minContains && found <= maxContains;
    return ofArray((items) => fits(count(items)), "too few or too many items are such as it must contain");
  },

  required: (names) => (value) => (isObject(value) ? missing(names, value) : undefined),
  dependentRequired(table) {
    const entries = Object.entries(table);
    return (value) =>
      isObject(value) ? first(listed(entries), ([name, names]) => (Object.hasOwn(value, name) ? missing(names, value) : undefined)) : undefined;
  },
  minProperties: (least) => ofObject((value) => namesOf(value).length >= least, `expected at least ${least} members`),
  maxProperties: (most) => ofObject((value) => namesOf(value).length <= most, `expected at most ${most} members`),
  properties(table, schema) {
    const checks = Object.entries(table).map(([name, given]) => [name, schema(given)]);
    return (value) =>
      isObject(value)
        ? first(listed(checks), ([name, check]) => (Object.hasOwn(value, name) ? within(name, check(value[name])) : undefined))
        : undefined;
  },
  additionalProperties(given, schema, { properties = {} }) {
    const known = new Set(Object.keys(properties));
    const check = given === false ? () => fault("it is not known here") : schema(given);
    return (value) =>
      isObject(value)
        ? firstMember(value, (name) => (known.has(name) ? undefined : within(name, check(value[name]))))
        : undefined;
  },
  propertyNames(given, schema) {
    const check = schema(given);
    return (value) => (isObject(value) ? firstMember(value, (name) => within(name, check(name))) : undefined);
  },
  dependentSchemas(table, schema) {
    const checks = Object.entries(table).map(([name, given]) => [name, schema(given)]);
    return (value) =>
      isObject(value) ? first(listed(checks), ([name, check]) => (Object.hasOwn(value, name) ? check(value) : undefined)) : undefined;
  },

  allOf: (schemas, schema) => schemas.map((given) => schema(given)),
  anyOf(schemas, schema) {
    const checks = schemas.map((given) => schema(given));
    return (value) => {
      for (const check of checks) if (!check(value)) return undefined;
      return fault("none of the ways that it may be fits");
    };
  },
  oneOf(schemas, schema) {
    const checks = schemas.map((given) => schema(given));
    return (value) => {
      let fitting = 0;
      for (const check of checks) if (!check(value)) fitting++;
      return fitting === 1 ? undefined : fault("not exactly one of the ways that it may be fits");
    };
  },
  not(given, schema) {
    const check = schema(given);
    return (value) => (check(value) ? undefined : fault("it is what it must not be"));
  },
  if(given, schema, { then = true, else: otherwise = true }) {
    const [check, yes, no] = [given, then, otherwise].map((part) => schema(part));
    return (value) => (check(value) ? no : yes)(value);
  },
  $ref: (reference, _schema, _beside, refer) => refer(reference),
};

function matches(pattern, text) {
  const begin = performance.now();
  const is = pattern.test(text);
  patience -= performance.now() - begin;
  if (patience < 0) throw new Error("its patterns take too long for this text");
  return is;
}

function missing(names, value) {
  const name = listed(names).find((name) => !Object.hasOwn(value, name));
  return name === undefined ? undefined : fault(`expected the member ${JSON.stringify(name)}`);
}

const isNested = (value) => typeof value === "object" && value !== null;

/** Whether a value is the one that a schema names. How long that takes is for the schema to say. */
function same(value, wanted) {
  if (!isNested(value) || !isNested(wanted)) return value === wanted;
  if (Array.isArray(value) || Array.isArray(wanted)) {
    const alike = Array.isArray(value) && Array.isArray(wanted) && value.length === wanted.length;
    return alike && wanted.every((item, at) => same(value[at], item));
  }
  const members = Object.entries(wanted);
  return namesOf(value).length === members.length && members.every(([name, item]) => Object.hasOwn(value, name) && same(value[name], item));
}

/** What is the same in a `Set` for equal values, and for no others. */
const comparable = (value) => (isNested(value) ? canonical(value) : value);

/**
 * A text that is the same for equal values, and for no others. Made once for each array and object of a check; it begins with half a
 * character, as no text of a body does.
 */
function canonical(value) {
  if (!isNested(value)) return JSON.stringify(value);
  let text = texts.get(value);
  if (text === undefined) {
    const members = () => Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`);
    text = Array.isArray(value) ? `\ud800[${value.map(canonical).join()}]` : `\ud800{${members().join()}}`;
    spend(1 + text.length / CHARACTERS);
    texts.set(value, text);
  }
  return text;
}

/** Whether a number is a whole multiple of a step, by their decimal digits: 0.3 is one of 0.1. */
function isMultiple(value, step, [stepDigits, stepExponent]) {
  if (Number.isSafeInteger(value) && Number.isSafeInteger(step)) return value % step === 0;
  const [digits, exponent] = decimal(value);
  // Its last digit stands behind the last of the step.
  if (exponent < stepExponent && !digits.endsWith("0")) return false;
  const least = Math.min(exponent, stepExponent);
  const [power, stepPower] = [exponent - least, stepExponent - least];
  // So many digits are exact in a number.
  const short = digits.length + power <= 15 && stepDigits.length + stepPower <= 15;
  if (short) return (Number(digits) * 10 ** power) % (Number(stepDigits) * 10 ** stepPower) === 0;
  return (BigInt(digits) * 10n ** BigInt(power)) % (BigInt(stepDigits) * 10n ** BigInt(stepPower)) === 0n;
}

/** A number without its sign, as its digits and a power of ten. */
function decimal(number) {
  const text = String(Math.abs(number));
  const end = text.indexOf("e");
  const digits = end < 0 ? text : text.slice(0, end);
  const point = digits.indexOf(".");
  const power = end < 0 ? 0 : Number(text.slice(end + 1));
  return point < 0 ? [digits, power] : [digits.slice(0, point) + digits.slice(point + 1), power - (digits.length - point - 1)];
}
