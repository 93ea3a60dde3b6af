// Caches the page's own files, so that it opens while its server is away. The page's host caches the files of the mesh itself.

const CACHE = "profiles";
/** The page itself, its assets, and the sample documents. */
const OURS = /^\/($|assets\/|samples\/)/;
/** Files whose names contain a hash of their contents. */
const NEVER_CHANGES = /^\/assets\//;
/** The place of the page that was fetched last. It replaces the cached page when all its assets are cached too. */
const NEXT = "/?next";
/** The time limit of the server, if there is a cached file. */
const FETCH_TIMEOUT_MS = 3_000;

self.addEventListener("install", () => void self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin || !OURS.test(pathname)) return;
  event.respondWith(NEVER_CHANGES.test(pathname) ? unchanged(event) : fresh(event));
});

/** The page reports its loaded files: caches those, and deletes assets that only an older page needed. */
self.addEventListener("message", (event) => {
  const tell = (answer) => event.source?.postMessage(answer);
  event.waitUntil(keep(event.data.keep).then((kept) => tell({ kept }), (error) => tell({ error: String(error) })));
});

async function keep(urls) {
  const cache = await caches.open(CACHE);
  const next = await cache.match(NEXT);
  await Promise.all(urls.map(async (url) => (await cache.match(url)) ?? cache.add(url)));
  const named = (await next?.clone().text())?.match(/\/assets\/[\w.-]+/g) ?? [];
  if (!next || !(await Promise.all(named.map((asset) => cache.match(asset)))).every(Boolean)) return urls.length;
  await Promise.all([cache.put("/", next), cache.delete(NEXT)]);
  for (const { url } of await cache.keys()) {
    if (NEVER_CHANGES.test(new URL(url).pathname) && !urls.includes(url)) await cache.delete(url);
  }
  return urls.length;
}

/** The query and fragment of a URL do not change its file. */
const place = ({ url }) => url.split(/[?#]/, 1)[0];
const unchanged = async ({ request }) => (await caches.match(place(request))) ?? fetch(request);

/** Answers with the server's file, or with the cached one while the server is away. */
async function fresh(event) {
  const kept = await caches.match(place(event.request));
  const answered = fetch(event.request);
  event.waitUntil(answered.then((answer) => answer.ok && store(event.request, answer.clone())).catch(() => {}));
  if (!kept) return answered;
  const late = new Promise((resolve) => setTimeout(resolve, FETCH_TIMEOUT_MS));
  const answer = await Promise.race([answered.catch(() => undefined), late]);
  return answer && answer.status < 500 ? answer : kept;
}

/** Caches an answer. If there is no room, the earlier one stays. */
async function store(request, answer) {
  const cache = await caches.open(CACHE);
  const at = new URL(request.url).pathname === "/" ? NEXT : place(request);
  await cache.put(at, answer).catch((error) => console.warn("a file of the page cannot be cached:", error));
}
