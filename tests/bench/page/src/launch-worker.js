// The floor of launching: the module is in IndexedDB, and its digest is known.
import { Guest } from "./guest.js";

const STORE = "modules";
const KEY = "speaker";

let database;
let digest;

addEventListener("message", async ({ data }) => {
  try {
    postMessage({ reply: data.keep ? await keep(data) : await launch(data.bytes) });
  } catch (error) {
    postMessage({ error: error.message });
  }
});

async function keep({ keep: bytes, database: name }) {
  const opening = indexedDB.open(name, 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
  database = await settled(opening);
  await settled(store("readwrite").put(bytes, KEY));
  digest = hex(await crypto.subtle.digest("SHA-256", bytes));
  return undefined;
}

async function launch(body) {
  const bytes = await settled(store("readonly").get(KEY));
  if (hex(await crypto.subtle.digest("SHA-256", bytes)) !== digest) throw new Error("the module is damaged");
  const guest = await Guest.create(await WebAssembly.compile(bytes));
  return guest.echo(body);
}

function store(mode) {
  return database.transaction(STORE, mode).objectStore(STORE);
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function hex(buffer) {
  return [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
