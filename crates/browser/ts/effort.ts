// What checking one value may cost. Each schema that is tried on a value is a step, and so is what it goes through;
// `starlane_bundle::schema::Cost` tells beforehand how many those can be. Only patterns may take long for one step: their time is
// bounded too.

/** So many characters take as long to go through as a step. */
export const CHARACTERS = 64;
/** So many members are many. */
const MANY = 32;

/** What is left for one check of a value, and what was made on the way. */
export class Effort {
  steps: number;
  /** For patterns, in milliseconds. */
  patience: number;
  /** The canonical texts of arrays and objects, and the names of many members: engines make those slowly. */
  readonly texts = new Map<object, string>();
  readonly names = new Map<object, readonly string[]>();

  constructor(steps: number, patience: number) {
    this.steps = steps;
    this.patience = patience;
  }
}

/** Takes steps from those that are left. Throws when they do not suffice. */
export function spend(effort: Effort, count: number): void {
  effort.steps -= count;
  if (effort.steps < 0) throw new Error("that takes too long for so large a body and such a schema");
}

/** A list that a schema goes through, which takes as many steps. */
export function listed<T>(effort: Effort, list: readonly T[]): readonly T[] {
  spend(effort, list.length);
  return list;
}

/** The names of an object's members. */
export function namesOf({ names }: Effort, value: object): readonly string[] {
  let found = names.get(value);
  if (!found) {
    found = Object.keys(value);
    if (found.length > MANY) names.set(value, found);
  }
  return found;
}

/** Whether a text is like a pattern. Throws when that takes too long. */
export function matches(effort: Effort, pattern: RegExp, text: string): boolean {
  const begin = performance.now();
  const is = pattern.test(text);
  effort.patience -= performance.now() - begin;
  if (effort.patience < 0) throw new Error("its patterns take too long for this text");
  return is;
}
