// What messages must fit: the schemas of a mechtron's bind, checked where bodies are read. A file of its own, loaded by the
// worker (or the page, for inline guests) when the first mechtron with schemas starts.

import { Validator } from "@cfworker/json-schema";

/** Deeper JSON is refused, as the server's reader does. */
const DEPTH = 128;
/** How much of a fault a reason may quote, in characters. */
const QUOTED = 160;

// A byte order mark is no JSON.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
/** A half of a character that UTF-8 can't say; JSON's escapes can. */
const HALF = /\p{Surrogate}/u;
const known = new Map();

/**
 * The contract in its text: `{ requests, responses, events }`, schemas in normal form by the names of operations and events.
 *
 * @param {string} text
 * @param {number} most longer bodies are refused, in bytes: checking them would hold up this thread
 */
export function contract(text, most) {
  let found = known.get(text);
  if (!found) known.set(text, (found = new Contract(JSON.parse(text), most)));
  return found;
}

class Contract {
  constructor({ requests, responses, events }, most) {
    this.most = most;
    this.tables = { request: compiled(requests), answer: compiled(responses), event: compiled(events) };
  }

  /**
   * Whether there is a schema for a body.
   *
   * @param {"request" | "answer" | "event"} part
   * @param {string} name of the operation or event
   */
  has(part, name) {
    return this.tables[part].has(name);
  }

  /**
   * Checks a body.
   *
   * @param {"request" | "answer" | "event"} part
   * @param {string} name of the operation or event
   * @param {Uint8Array} body
   * @returns {string | undefined} what does not fit and where, as a JSON pointer
   */
  check(part, name, body) {
    const validator = this.tables[part].get(name);
    if (!validator) return undefined;
    const long = `in the page's own thread a body may have ${this.most} bytes: launch the app without \`inline\``;
    const wrong = body.length > this.most ? long : fault(validator, body);
    return wrong && `the ${part} \`${name}\` does not fit its schema: ${wrong}`;
  }
}

function compiled(schemas) {
  return new Map(Object.entries(schemas).map(([name, schema]) => [name, new Validator(schema, "2020-12")]));
}

function fault(validator, body) {
  let value;
  try {
    value = JSON.parse(utf8.decode(body));
  } catch (error) {
    return `it is no JSON: ${error.message}`;
  }
  if (!same(value, DEPTH)) return "it is no JSON that all readers take alike: too deep, or a number or text that can't be kept";
  const { valid, errors } = validator.validate(value);
  if (valid) return undefined;
  // Each fault comes behind those of the schemas around it.
  const deepest = errors.find(({ keyword }) => !AROUND.has(keyword)) ?? errors[0];
  return `at ${deepest.instanceLocation.slice(1) || "its root"}: ${deepest.error.slice(0, QUOTED)}`;
}

/** Keywords whose faults are those of a schema within. */
const AROUND = new Set([
  "$ref", "allOf", "if", "properties", "additionalProperties", "items", "prefixItems", "dependentSchemas", "propertyNames",
]);

/** Whether the server's reader gives the same value: its numbers are finite, its texts UTF-8, its depth is bounded. */
function same(value, depth) {
  switch (typeof value) {
    case "number":
      return Number.isFinite(value);
    case "string":
      return !HALF.test(value);
    case "object":
      if (value === null) return true;
      if (depth === 0) return false;
      if (Array.isArray(value)) return value.every((item) => same(item, depth - 1));
      return Object.entries(value).every(([name, field]) => !HALF.test(name) && same(field, depth - 1));
    default:
      return true;
  }
}
