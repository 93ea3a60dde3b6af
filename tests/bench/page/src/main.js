// The benchmark's page: runs the requested part, and reports its measures to the client.
import { actors } from "./actors.js";
import { calls } from "./calls.js";
import { launch } from "./launch.js";
import { link } from "./link.js";
import { part, tell } from "./settings.js";

const PARTS = { actors, calls, launch, link };

try {
  await PARTS[part]();
  await tell("done");
} catch (error) {
  await tell("failed", { why: `${error.code ?? error.name}: ${error.message}`, stack: String(error.stack ?? "") });
}
