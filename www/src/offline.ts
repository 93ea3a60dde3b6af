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
  const kept = new Promise<number>((resolve) => {
    navigator.serviceWorker.addEventListener("message", (event) => resolve((event.data as { kept: number }).kept));
    navigator.serviceWorker.startMessages();
  });
  const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
  const ours = loaded.filter((url) => /^\/(assets|samples)\//.test(new URL(url).pathname) && url.startsWith(location.origin));
  active?.postMessage({ keep: [...new Set([`${location.origin}/`, ...ours])] });
  return kept;
}
