// The JavaScript, TypeScript and HTML in the documents: type-checked against the package, and the page of AGENTS.md run in Chromium.
// `crates/testkit/src/documents.rs` says which test runs which code. A run of all tests compares the sum.
import { execFileSync } from "node:child_process";
import { appendFileSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { viteDev } from "./pages.mjs";
import { project, root, run, tools } from "./projects.mjs";

const GUIDE = "crates/npm/AGENTS.md";
/** The server in the documents. */
const SERVER = "http://127.0.0.1:7711";
/** Folders without documents. */
const SKIPPED = ["target", "node_modules", "dist", "site", "samples"];
/** The commands of the guide that this test carries out in its own way. */
const COMMANDS = ["npm install @starlane/mesh", "npx vite"];
/** Uses the guide's page as a person does, once it is loaded. */
const VISITOR = `<script type="module">
  const until = async (what, test) => {
    const end = Date.now() + 20_000;
    while (!test()) {
      if (Date.now() > end) throw new Error(what + ": " + document.querySelector("#status").textContent);
      await new Promise((done) => setTimeout(done, 25));
    }
  };
  const preview = () => document.querySelector("#preview").srcdoc;
  window.outcome = (async () => {
    await until("the first preview", () => preview().includes("<h1>Ada</h1>"));
    const markdown = document.querySelector("#markdown");
    markdown.value = "# Grace";
    markdown.dispatchEvent(new Event("input"));
    await until("the second preview", () => preview().includes("<h1>Grace</h1>"));
    const start = Date.now();
    await until("the event of a saved page", () => {
      if ((Date.now() - start) % 500 < 50) document.querySelector("#save").click();
      return document.querySelector("#status").textContent === "ada was saved.";
    });
    return { value: document.querySelector("#status").textContent };
  })().catch((error) => ({ error: error.message }));
</script>`;

/** The fenced blocks of all documents: document, line, language, code, and the file name above the block. */
function blocks(within = root) {
  return readdirSync(within, { withFileTypes: true }).flatMap((entry) => {
    const path = join(within, entry.name);
    if (entry.isDirectory()) {
      const isLeft = SKIPPED.includes(entry.name) || (entry.name.startsWith(".") && entry.name !== ".github");
      return isLeft ? [] : blocks(path);
    }
    if (!entry.name.endsWith(".md")) return [];
    const text = readFileSync(path, "utf8");
    return [...text.matchAll(/(?:^`([^`\n]+)`[^\n]*\n\n)?^```(\w+)\n([^]*?)^```$/gm)].map((match) => {
      const [whole, file, language, code] = match;
      const line = text.slice(0, match.index + whole.indexOf("```")).split("\n").length + 1;
      return { document: relative(root, path), line, language, code, file };
    });
  });
}

/** The blocks that are checked alone, by language: the extension of their file, and whether the check is strict. */
const ALONE = { js: ["mjs", false], ts: ["mts", true] };

/** Type-checks each script outside of the guide as a file of its own. Returns how many there are. */
export function typeCheck(tarball) {
  const within = project("snippets", tarball);
  const scripts = blocks().filter(({ document, language }) => document !== GUIDE && ALONE[language]);
  for (const [language, [extension, strict]] of Object.entries(ALONE)) {
    const own = scripts.filter((script) => script.language === language);
    if (own.length === 0) throw new Error(`no document has a script in ${language}`);
    const places = own.map(({ document, line, code }, at) => {
      writeFileSync(join(within, `snippet-${at}.${extension}`), code);
      return [`snippet-${at}.${extension}`, `${document}:${line}`];
    });
    check(within, { strict, allowJs: true, checkJs: true }, [`*.${extension}`], (text) =>
      places.reduce((text, [name, place]) => text.replaceAll(name, `${place} (${name})`), text),
    );
  }
  return scripts.length;
}

/** Runs the TypeScript compiler in a project. `named` names the documents in its messages. */
function check(within, own, include, named = (text) => text) {
  const compilerOptions = { noEmit: true, target: "es2022", lib: ["es2022", "dom"], module: "esnext", moduleResolution: "bundler", types: [], ...own };
  writeFileSync(join(within, "tsconfig.json"), JSON.stringify({ compilerOptions, include }));
  try {
    run(within, process.execPath, join(tools, "typescript/bin/tsc"));
  } catch (error) {
    throw new Error(named(error.message));
  }
}

/** Makes the project of the guide with its commands, type-checks it, and uses its page. Returns the number of pieces of code. */
export async function guide({ tarball, binary, server, port, chromium }) {
  const pieces = blocks().filter(({ document }) => document === GUIDE);
  const others = blocks().filter(({ document, language }) => document !== GUIDE && language === "html");
  if (others.length > 0) throw new Error(`no test runs the code at ${others[0].document}:${others[0].line}`);
  const lines = pieces.filter(({ language }) => language === "sh").flatMap(({ code }) => code.trim().split("\n")).map((line) => line.replace(/\s+#.*/, ""));
  const missing = COMMANDS.find((command) => !lines.includes(command));
  if (missing) throw new Error(`${GUIDE} has no command \`${missing}\`: change COMMANDS of tests/npm/snippets.mjs`);
  const within = project("guide", tarball);
  const environment = { ...process.env, STARLANE_SERVER: server.url, PATH: `${dirname(binary)}:${process.env.PATH}` };
  for (const line of lines.filter((line) => line.startsWith("starlane bind types "))) {
    execFileSync("sh", ["-c", line], { cwd: within, env: environment, stdio: "pipe" });
  }
  const files = pieces.filter(({ language }) => ["ts", "html"].includes(language));
  for (const { file, code, line } of files) {
    if (!file) throw new Error(`${GUIDE}:${line}: the line above the code does not begin with the name of a file`);
    writeFileSync(join(within, file), code.replaceAll(SERVER, server.url));
  }
  check(within, { strict: true, noUnusedLocals: true }, ["src"]);
  run(within, process.execPath, join(tools, "vite/bin/vite.js"), "build", "--logLevel", "warn");

  appendFileSync(join(within, "index.html"), VISITOR);
  const page = await viteDev(within, port);
  try {
    await chromium.outcome(`http://127.0.0.1:${port}/`);
  } finally {
    await page.end();
  }
  return files.length + COMMANDS.length;
}
