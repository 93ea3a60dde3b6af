// A real server on a free port, with its own data and the demo bundle.
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const APP = "acme:profiles";
const BUNDLE = "acme:repo:profiles:0.1.0";
/** The time limit for a server's first answer. */
const START_TIMEOUT_MS = 30_000;

/** A free TCP port of this machine. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Waits until a URL answers with success. */
export async function answers(url, child) {
  const start = Date.now();
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the server ended by itself (${child.exitCode})\n${child.said()}`);
    const response = await fetch(url).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok) return;
    if (Date.now() - start > START_TIMEOUT_MS) throw new Error(`${url} did not answer within ${START_TIMEOUT_MS / 1000} s\n${child.said()}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** Starts a program. `said()` returns its output, `end()` ends it. */
export function started(program, words, options) {
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"], ...options });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (some) => (text = (text + some).slice(-20_000)));
  child.on("error", (error) => (text += `${program}: ${error.message}`));
  const gone = new Promise((resolve) => child.once("exit", resolve).once("error", resolve));
  return Object.assign(child, {
    said: () => text,
    async end() {
      if (child.exitCode === null && child.pid !== undefined) child.kill("SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), 5_000);
      await gone;
      clearTimeout(late);
    },
  });
}

/** Starts `starlane serve` for pages of these origins, and publishes the bundle. Returns its URL and a function that ends it. */
export async function serve(binary, bundle, origins) {
  const home = mkdtempSync(join(tmpdir(), "starlane-npm-"));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const environment = { ...process.env, STARLANE_SERVER: url, STARLANE_DATA: join(home, "data"), XDG_CONFIG_HOME: join(home, "config") };
  const words = ["serve", "--data", join(home, "data"), "--listen", `127.0.0.1:${port}`];
  for (const origin of origins) words.push("--allow-origin", origin);
  const child = started(binary, words, { env: environment });
  const end = async () => {
    await child.end();
    rmSync(home, { recursive: true, force: true });
  };
  try {
    await answers(`${url}/healthz`, child);
    const starlane = (...words) => promisify(execFile)(binary, words, { env: environment });
    await starlane("publish", bundle, BUNDLE);
    await starlane("app", "create", APP, "--bundle", BUNDLE);
  } catch (error) {
    await end();
    throw error;
  }
  return { url, end, said: child.said };
}
