// Keeps the page's own files, so that it opens while its server is away. What the mesh needs, the page's host keeps itself.

const CACHE = "profiles";
/** The page itself, what it loads, and the documents that come with it. */
const OURS = /^\/($|assets\/|samples\/)/;
/** Files whose names carry a hash of what is in them. */
const NEVER_CHANGES = /^\/assets\//;

self.addEventListener("install", () => void self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin || !OURS.test(pathname)) return;
  event.respondWith(NEVER_CHANGES.test(pathname) ? kept(event.request) : fresh(event.request));
});

/** The page says which files it has loaded: those are kept, and what only an older page needed is not. */
self.addEventListener("message", (event) => {
  event.waitUntil(keep(event.data.keep).then((count) => event.source?.postMessage({ kept: count })));
});

async function keep(urls) {
  const cache = await caches.open(CACHE);
  await Promise.all(urls.map(async (url) => (await cache.match(url)) ?? cache.add(url)));
  for (const request of await cache.keys()) {
    if (NEVER_CHANGES.test(new URL(request.url).pathname) && !urls.includes(request.url)) await cache.delete(request);
  }
  return urls.length;
}

async function kept(request) {
  return (await caches.match(request.url)) ?? fetch(request);
}

/** What the server has now; what is kept, while it is away. */
async function fresh(request) {
  const cache = await caches.open(CACHE);
  try {
    const answer = await fetch(request);
    if (answer.ok) await cache.put(request.url, answer.clone());
    return answer.status < 500 ? answer : ((await cache.match(request.url)) ?? answer);
  } catch (error) {
    const found = await cache.match(request.url);
    if (found) return found;
    throw error;
  }
}
