// Empty projects with the tarball installed, like a user's. The tools are beside them, installed once.
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";

export const here = import.meta.dirname ?? new URL(".", import.meta.url).pathname;
export const root = resolve(here, "../..");
export const folder = join(root, "target/npm-tests");
export const tools = join(folder, "node_modules");

/** Installs Vite, webpack and TypeScript, unless they are installed. */
export function installTools() {
  mkdirSync(folder, { recursive: true });
  const from = join(here, "fixtures/tools");
  const wanted = readFileSync(join(from, "package.json"), "utf8");
  const stamp = join(tools, ".package-lock.json");
  const known = existsSync(stamp) && existsSync(join(folder, "package.json")) && readFileSync(join(folder, "package.json"), "utf8") === wanted;
  if (known) return;
  rmSync(tools, { recursive: true, force: true });
  cpSync(from, folder, { recursive: true });
  npm(folder, "install");
}

/** Makes a project of a fixture and installs the tarball into it. */
export function project(name, tarball) {
  const to = join(folder, name);
  rmSync(to, { recursive: true, force: true });
  if (existsSync(join(here, "fixtures", name))) {
    cpSync(join(here, "fixtures", name), to, { recursive: true });
  } else {
    mkdirSync(to, { recursive: true });
    npm(to, "init", "--yes");
  }
  npm(to, "install", "--no-package-lock", tarball);
  return to;
}

/** Runs a program in a folder. If it fails, the error contains its output. */
export function run(within, program, ...words) {
  try {
    return execFileSync(program, words, { cwd: within, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], timeout: 180_000 });
  } catch (error) {
    throw new Error(`\`${[program, ...words].join(" ")}\` in ${within} failed: ${error.message}\n${error.stdout ?? ""}${error.stderr ?? ""}`);
  }
}

function npm(within, ...words) {
  return run(within, "npm", ...words, "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error");
}
