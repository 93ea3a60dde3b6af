// All types of the package as one text: the files that `index.d.ts` reaches, one after the other.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./projects.mjs";

const GOLDEN = join(root, "crates/npm/golden/index.d.ts");

/** The types in a `dist` folder. */
export function types(dist) {
  const names = ["index"];
  const parts = [];
  for (const name of names) {
    const text = readFileSync(join(dist, `${name}.d.ts`), "utf8");
    for (const [, other] of text.matchAll(/from "\.\/([\w-]+)\.js"/g)) {
      if (!names.includes(other)) names.push(other);
    }
    parts.push(`// ---- ${name}.d.ts\n${text.trim()}\n`);
  }
  return parts.join("\n");
}

/** Compares the types with the golden file. Throws with the first line that differs. */
export function compare(dist) {
  const found = types(dist);
  if (process.env.BLESS === "1") writeFileSync(GOLDEN, found);
  const [is, was] = [found, readFileSync(GOLDEN, "utf8")].map((text) => text.split("\n"));
  const at = Array.from({ length: Math.max(is.length, was.length) }, (_, at) => at).find((at) => is[at] !== was[at]);
  if (at === undefined) return;
  const lines = `line ${at + 1} is\n  ${is[at] ?? "(nothing)"}\nand was\n  ${was[at] ?? "(nothing)"}`;
  throw new Error(`the types differ from crates/npm/golden/index.d.ts: ${lines}\nTo accept the change, run: BLESS=1 cargo xtask test --only package`);
}
