// The limits of checking one value. Each schema that is tried on a value is a step, and so is each item that it visits.
// `starlane_bundle::schema::Cost` computes the maximum number of steps beforehand. Only a pattern can take long for one step, so
// the time of patterns has a limit too.

/** Reading this many characters takes as long as one step. */
export const CHARACTERS_PER_STEP = 64;
/** The names of objects with more members are cached. */
const MAX_UNCACHED_NAMES = 32;

/** The remaining steps and time for one check, and its caches. */
export class Effort {
  steps: number;
  /** The remaining time for patterns, in milliseconds. */
  patience: number;
  /** Caches: canonical texts of arrays and objects, and the names of large objects, which engines list slowly. */
  readonly texts = new Map<object, string>();
  readonly names = new Map<object, readonly string[]>();

  constructor(steps: number, patience: number) {
    this.steps = steps;
    this.patience = patience;
  }
}

/** Takes from the remaining steps. Throws if there are too few. */
export function spend(effort: Effort, count: number): void {
  effort.steps -= count;
  if (effort.steps < 0) throw new Error("checking it takes too long: the body is too large for this schema");
}

/** Spends one step for each item of a list, and returns the list. */
export function listed<T>(effort: Effort, list: readonly T[]): readonly T[] {
  spend(effort, list.length);
  return list;
}

/** The names of an object's members, cached if there are many. */
export function namesOf({ names }: Effort, value: object): readonly string[] {
  let found = names.get(value);
  if (!found) {
    found = Object.keys(value);
    if (found.length > MAX_UNCACHED_NAMES) names.set(value, found);
  }
  return found;
}

/** Whether a text matches a pattern. Throws if patterns have taken too long. */
export function matches(effort: Effort, pattern: RegExp, text: string): boolean {
  const begin = performance.now();
  const is = pattern.test(text);
  effort.patience -= performance.now() - begin;
  if (effort.patience < 0) throw new Error("its patterns take too long for this text");
  return is;
}
