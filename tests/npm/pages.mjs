// The ways to serve a page to a browser. Each takes a port and returns a function that ends it.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join, normalize } from "node:path";
import { promisify } from "node:util";
import { folder, run, tools } from "./projects.mjs";
import { answers, started } from "./starlane.mjs";

const VITE = join(tools, "vite/bin/vite.js");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json" };

/** `vite`, the development server. */
export function viteDev(project, port) {
  return vite(project, port, []);
}

/** `vite build`, then `vite preview`. */
export function vitePreview(project, port) {
  run(project, process.execPath, VITE, "build", "--logLevel", "warn");
  return vite(project, port, ["preview"]);
}

async function vite(project, port, words) {
  const child = started(process.execPath, [VITE, ...words, "--host", "127.0.0.1", "--port", String(port), "--strictPort"], { cwd: project });
  try {
    await answers(`http://127.0.0.1:${port}/`, child);
  } catch (error) {
    await child.end();
    throw error;
  }
  return child;
}

/** A webpack build, served as static files under a strict Content-Security-Policy. */
export async function webpack(project, port, server) {
  const require = createRequire(join(folder, "package.json"));
  const { default: config } = await import(join(project, "webpack.config.js"));
  const compiler = require("webpack")(config);
  const stats = await promisify(compiler.run.bind(compiler))();
  await promisify(compiler.close.bind(compiler))();
  const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
  if (errors.length + warnings.length > 0) throw new Error([...errors, ...warnings].map(({ message }) => message).join("\n"));
  const connect = `'self' ${server} ${server.replace("http", "ws")}`;
  const policy = `default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src ${connect}`;
  return files([join(project, "dist"), project], port, { "content-security-policy": policy });
}

/** Static files, without any headers that a plain server does not send. */
export function files(folders, port, headers = {}) {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url, "http://x").pathname)).replace(/\/$/, "/index.html");
    const file = folders.map((folder) => join(folder, path)).find((file) => existsSync(file) && statSync(file).isFile());
    if (!file) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", ...headers });
    createReadStream(file).pipe(response);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject).listen(port, "127.0.0.1", () => {
      resolve({ end: () => (server.closeAllConnections(), new Promise((done) => server.close(done))) });
    });
  });
}
