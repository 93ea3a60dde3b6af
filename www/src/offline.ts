// Caches the page's own files for times when the server is away: the part that runs in the page.

import previewStyle from "./preview.css?url";

interface ScriptPolicy {
  createScriptURL(url: string): string;
}

/** The URL of the Service Worker in `public/sw.js`, from the only policy that may name it. */
function script(): string {
  const { trustedTypes } = globalThis as { trustedTypes?: { createPolicy(name: string, rules: ScriptPolicy): ScriptPolicy } };
  const policy = trustedTypes?.createPolicy("starlane-page", { createScriptURL: (url) => url });
  return policy ? policy.createScriptURL("/sw.js") : "/sw.js";
}

/**
 * Caches the page's own files, so that it opens again while the server is away. Resolves to their number: 0 without Service
 * Workers, which a browser has only for pages over TLS or from this machine.
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
  // The frames of the preview load it, so it is not listed among the resources of this page.
  const style = new URL(previewStyle, location.href).href;
  active?.postMessage({ keep: [...new Set([`${location.origin}/`, style, ...ours])] });
  return kept;
}
