// Keeps the page's own files, so that it opens while its server is away. What the mesh needs, the page's host keeps itself.

const CACHE = "profiles";
/** The page itself, what it loads, and the documents that come with it. */
const OURS = /^\/($|assets\/|samples\/)/;
/** Files whose names carry a hash of what is in them. */
const NEVER_CHANGES = /^\/assets\//;
/** Where the page lies that was fetched last: it takes the place of the kept one when all that it loads is kept, too. */
const NEXT = "/?next";
/** A server that is silent for so long is taken for away where something is kept, in milliseconds. */
const PATIENCE = 3_000;

self.addEventListener("install", () => void self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { origin, pathname } = new URL(event.request.url);
  if (event.request.method !== "GET" || origin !== location.origin || !OURS.test(pathname)) return;
  event.respondWith(NEVER_CHANGES.test(pathname) ? unchanged(event) : fresh(event));
});

/** The page says which files it has loaded: those are kept, and what only an older page needed is not. */
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

/** What is asked for in the address changes nothing in a file. */
const place = ({ url }) => url.split(/[?#]/, 1)[0];
const unchanged = async ({ request }) => (await caches.match(place(request))) ?? fetch(request);

/** What the server has now; what is kept, while it is away. */
async function fresh(event) {
  const kept = await caches.match(place(event.request));
  const answered = fetch(event.request);
  event.waitUntil(answered.then((answer) => answer.ok && store(event.request, answer.clone())).catch(() => {}));
  if (!kept) return answered;
  const late = new Promise((resolve) => setTimeout(resolve, PATIENCE));
  const answer = await Promise.race([answered.catch(() => undefined), late]);
  return answer && answer.status < 500 ? answer : kept;
}

/** Without room the page is as it was kept before. */
async function store(request, answer) {
  const cache = await caches.open(CACHE);
  const at = new URL(request.url).pathname === "/" ? NEXT : place(request);
  await cache.put(at, answer).catch((error) => console.warn("a file of the page can't be kept:", error));
}
