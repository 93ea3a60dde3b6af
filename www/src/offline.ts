// Keeping the page's own files for when the server is away: the side of it that runs in the page.

import previewStyle from "./preview.css?url";

interface ScriptPolicy {
  createScriptURL(url: string): string;
}

/** The Service Worker of `public/sw.js`, as the page's policy wants it: from the one place that may name it. */
function script(): string {
  const { trustedTypes } = globalThis as { trustedTypes?: { createPolicy(name: string, rules: ScriptPolicy): ScriptPolicy } };
  const policy = trustedTypes?.createPolicy("starlane-page", { createScriptURL: (url) => url });
  return policy ? policy.createScriptURL("/sw.js") : "/sw.js";
}

/**
 * Has the page's own files kept, so that it opens again while the server is away; gives how many. 0 where a browser has no
 * Service Workers, as on a page that came neither over TLS nor from this machine.
 */
export async function keepThePage(): Promise<number> {
  if (!("serviceWorker" in navigator) || import.meta.env.DEV) return 0;
  await navigator.serviceWorker.register(script());
  const { active } = await navigator.serviceWorker.ready;
  const kept = new Promise<number>((resolve, reject) => {
    navigator.serviceWorker.addEventListener("message", ({ data }: MessageEvent<{ kept: number } | { error: string }>) => {
      if ("kept" in data) resolve(data.kept);
      else reject(new Error(data.error));
    });
    navigator.serviceWorker.startMessages();
  });
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const ours = loaded.filter((url) => /^\/(assets|samples)\//.test(new URL(url).pathname) && url.startsWith(location.origin));
  // What the preview's frames load is no resource of this page.
  const style = new URL(previewStyle, location.href).href;
  active?.postMessage({ keep: [...new Set([`${location.origin}/`, style, ...ours])] });
  return kept;
}
