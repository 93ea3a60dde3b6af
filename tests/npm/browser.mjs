// Headless Chromium over WebDriver: waits for a page's `window.outcome`.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, answers, started } from "./starlane.mjs";
import { root } from "./projects.mjs";

/** The time limit of a page. */
const PAGE_TIMEOUT_MS = 60_000;

/** Starts ChromeDriver and a browser. */
export async function browser() {
  const port = await freePort();
  const driver = started(process.env.CHROMEDRIVER ?? "chromedriver", [`--port=${port}`]);
  const base = `http://127.0.0.1:${port}`;
  try {
    await answers(`${base}/status`, driver);
    const { sessionId } = await call(`${base}/session`, { capabilities: { alwaysMatch: capabilities() } });
    const session = `${base}/session/${sessionId}`;
    await call(`${session}/timeouts`, { script: PAGE_TIMEOUT_MS, pageLoad: PAGE_TIMEOUT_MS });
    return {
      /** Opens a page and resolves to its `window.outcome`. Throws if there is none. */
      async outcome(url) {
        await call(`${session}/url`, { url });
        const script = `
          const done = arguments[0];
          const end = Date.now() + ${PAGE_TIMEOUT_MS - 5_000};
          (function look() {
            if (window.outcome) window.outcome.then(done);
            else if (Date.now() > end) done({ error: "the page has no window.outcome" });
            else setTimeout(look, 10);
          })()`;
        const outcome = await call(`${session}/execute/async`, { script, args: [] }).catch((error) => ({ error: error.message }));
        if (!outcome.error) return outcome.value;
        const lines = await call(`${session}/se/log`, { type: "browser" }).catch(() => []);
        throw new Error(`${outcome.error}\nthe console of ${url}: ${JSON.stringify(lines.map(({ message }) => message), null, 1)}`);
      },
      async end() {
        await call(session, undefined, "DELETE").catch(() => {});
        await driver.end();
      },
    };
  } catch (error) {
    await driver.end();
    throw error;
  }
}

function capabilities() {
  const file = process.env.WASM_BINDGEN_TEST_WEBDRIVER_JSON ?? join(root, "webdriver.json");
  const chrome = JSON.parse(readFileSync(file, "utf8"))["goog:chromeOptions"];
  // Lets a page collect what it does not keep.
  chrome.args.push("--js-flags=--expose-gc");
  return { browserName: "chrome", "goog:chromeOptions": chrome, "goog:loggingPrefs": { browser: "ALL" } };
}

async function call(url, body, method = "POST") {
  const response = await fetch(url, { method, ...(body && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }) });
  const { value } = await response.json();
  if (!response.ok) throw new Error(`${value.error}: ${value.message}`);
  return value;
}
