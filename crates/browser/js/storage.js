// IndexedDB as promises: a connection that is opened when needed, and one transaction for each step. What can be fetched again
// is weighed, and makes room for what comes: the weights lie in the database, where every tab sees them.

/** A browser whose storage has not opened for so long won't, in milliseconds. */
const OPENING = 10_000;

/** The same for a transaction, which may have to wait for others and for a slow disk. */
const WORKING = 30_000;

/** The same for the question which locks are held, and for a lock that nobody can have otherwise. */
const ASKING = 1_000;

/** A timer that comes later by this, in milliseconds, says that the page was held up, and nothing of the storage. */
const HELD_UP = 1_000;

/** How often a page may say so: the timers of a hidden one are all late, for ever. */
const EXCUSES = 2;

/** How often a step is tried. */
const TRIES = 3;

/** Errors that another try won't mend, and the reason for people. */
const FINAL = {
  TimeoutError: "the browser's storage does not answer",
  VersionError: "a newer version of this page keeps its data there",
};

/** That there is no room, by the browser's or by our own count. */
const FULL = "QuotaExceededError";
const OVER = new DOMException("what is in use fills the cache", FULL);

/** What can be fetched again, and so may be dropped. */
const CACHED = ["blobs", "manifests"];
const ALL = [...CACHED, "records", "settings", "bundles", "sizes"];

/**
 * The layout of the database: the step at index N takes it from version N to N + 1. A step that was released never changes.
 * Data of a newer version is left alone: a newer page of this origin wrote it and may want it back.
 */
const STEPS = [
  (database) => {
    for (const name of ["blobs", "manifests", "records", "settings"]) database.createObjectStore(name);
  },
  // Of each bundle, when it was used last, on a clock that counts uses, and which blobs it has: `{ used, blobs }`. Of each
  // cached key, how many bytes. The sum of these is `total` in the settings, the time is `clock`.
  (database, transaction) => {
    database.createObjectStore("bundles");
    const sizes = database.createObjectStore("sizes");
    let total = 0;
    for (const store of CACHED) {
      transaction.objectStore(store).openCursor().onsuccess = ({ target: { result: entry } }) => {
        if (!entry) return;
        const size = sizeOf(entry.value);
        sizes.put(size, entry.key);
        transaction.objectStore("settings").put((total += size), "total");
        entry.continue();
      };
    }
  },
];

/**
 * A database. Where the browser's storage can't be used it goes on in memory, and calls back once with the reason. What it
 * throws are DOMExceptions: `QuotaExceededError`, which a full disk may also show as an abort.
 */
export class Storage {
  #name;
  #budget;
  #degraded;
  /** A promise of the connection, while there is one. */
  #connection = null;
  /** What stands in for the database, as a `Memory` of each object store. */
  #memory = null;
  /** The last that was begun in memory: there too one follows the other. */
  #last = null;
  /** By bundle: its `blobs`, how many `uses` it has, when the lock that tells other tabs is `shown`, and what `release`s it. */
  #pins = new Map();
  /** What tells the locks of this tab from those of others: a released one may still show for a while. */
  #tab = String(Math.random());

  /** The database of this name, which keeps at most `budget` bytes of what can be fetched again. */
  constructor(name, budget, degraded) {
    this.#name = name;
    this.#budget = budget;
    this.#degraded = degraded;
  }

  /** Whether it goes on in memory. */
  get inMemory() {
    return this.#memory !== null;
  }

  /**
   * Does one step at a key of an object store, in one transaction. Resolves once that is complete, to an array of values:
   * - `get`: the value at the key, if there is one;
   * - `all`: every value of the object store, in the order of the keys; it needs no key;
   * - `put`: keeps `value` at the key;
   * - `delete`: drops what is at the key;
   * - `swap`: `value` is a pair. If what is at the key equals its first, keeps its second and gives that; else gives nothing;
   * - `keep`: gives the bytes at the key, if they have the length of `value`; else keeps `value` and gives that;
   * - `use`: keeps that the bundle at the key is used now, and that `value` are its blobs.
   *
   * Where room is lacking, what is not in use is dropped, and the step is done again. When the power goes, cached bytes may
   * be lost; nothing else may.
   */
  async run(store, step, key, value) {
    let full, failure;
    for (let tries = 1; ; tries++) {
      const inMemory = this.inMemory;
      try {
        // For the host's secret it is tried all the same: without one there is no host.
        if (full && !(await this.#makeRoom(sizeOf(value), full === OVER)) && step !== "keep") tries = TRIES;
        else return await this.#run(store, step, key, value);
      } catch (error) {
        failure = error;
        // In memory nothing but room can be lacking.
        if (inMemory && error?.name !== FULL) throw error;
        // That room is needed is no failed try.
        if (error?.name === FULL && !full) tries--;
        if (error?.name === FULL) full = error;
      }
      if (tries < TRIES && !FINAL[failure?.name]) continue;
      if (failure === full && step !== "keep") throw failure;
      this.#degrade(failure);
      full = undefined;
      tries = 0;
    }
  }

  /**
   * A bundle and its blobs stay until every pin of it is released by `unpin`. Resolves when other tabs see it too, or after a
   * second in which the browser does not say so.
   */
  pin(bundle, blobs) {
    let pin = this.#pins.get(bundle);
    if (!pin) {
      this.#pins.set(bundle, (pin = { uses: 0 }));
      // A lock ends with its tab, however that ends. Where there are none, other tabs see when the bundle was used.
      const held = new Promise((resolve) => (pin.release = resolve));
      pin.shown = new Promise((resolve) => {
        const stop = within(ASKING, resolve);
        const shown = () => {
          stop();
          resolve();
          return held;
        };
        const lock = `${bundle} ${this.#tab} ${this.#name}`;
        if (navigator.locks) navigator.locks.request(lock, { mode: "shared" }, shown).catch(shown);
        else shown();
      });
    }
    pin.blobs = blobs;
    pin.uses++;
    return Promise.all([this.run("bundles", "use", bundle, blobs), pin.shown]).then(([given]) => given);
  }

  /** What nobody uses any more may go when room is needed. */
  unpin(bundle) {
    const pin = this.#pins.get(bundle);
    if (!pin || --pin.uses > 0) return;
    pin.release();
    this.#pins.delete(bundle);
  }

  /** Ends the connection; the next step opens another. */
  close() {
    for (const { release } of this.#pins.values()) release();
    this.#pins.clear();
    if (this.#connection) this.#forget(this.#connection);
  }

  #run(store, step, key, value) {
    const cached = CACHED.includes(store);
    const more = step === "use" ? ["settings"] : cached && step !== "get" ? ["sizes", "settings"] : [];
    return this.#transact([store, ...more], step !== "get" && step !== "all", async (objects) => {
      const own = objects(store);
      if (step === "all") return result(own.getAll());
      if (step === "get" || step === "keep") {
        const found = await result(own.get(key));
        if (step === "get") return found === undefined ? [] : [found];
        if (found instanceof Uint8Array && found.length === value.length) return [found];
      }
      if (step === "swap") {
        const [before, after] = value;
        if ((await result(own.get(key))) !== before) return [];
        value = after;
      }
      if (step === "use") {
        const used = (Number(await result(objects("settings").get("clock"))) || 0) + 1;
        objects("settings").put(used, "clock");
        value = { used, blobs: value };
      }
      if (cached) await weigh(objects, key, sizeOf(value), this.#budget);
      if (step === "delete") own.delete(key);
      else own.put(value, key);
      return [value];
    });
  }

  /**
   * Drops the least recently used bundles: within the budget until `size` bytes more fit into it, if that can be; else as many
   * bytes as that. Gives whether there is more room now.
   */
  async #makeRoom(size, budget) {
    // Where there are no locks nobody holds one.
    const asked = navigator.locks?.query().then(({ held }) => held, () => []) ?? [];
    const held = await Promise.race([asked, new Promise((resolve) => within(ASKING, resolve))]);
    const pinned = new Set(this.#pins.keys());
    for (const { name } of held ?? []) {
      const [bundle, tab] = name.split(" ");
      if (tab !== this.#tab && name.endsWith(` ${this.#name}`)) pinned.add(bundle);
    }
    return this.#transact([...CACHED, "bundles", "sizes", "settings"], true, async (objects) => {
      const all = ["bundles", "sizes"].flatMap((name) => [result(objects(name).getAllKeys()), result(objects(name).getAll())]);
      const [names, bundles, keys, weights] = await Promise.all(all);
      const uses = names.map((name, at) => {
        const { used, blobs } = bundles[at];
        // Without an answer any bundle may be in use in another tab, also one that was launched long ago and can't be fetched
        // again now. So all stay, and only what is of no bundle goes: to find no room costs no more than a fetch later.
        return [!held || pinned.has(name) ? Infinity : Number(used) || 0, name, ...(blobs ?? [])];
      });
      for (const [name, { blobs }] of this.#pins) uses.push([Infinity, name, ...blobs]);
      // What is of several bundles counts with the one that was used latest; what is of none goes first.
      const latest = new Map();
      uses.sort(([a], [b]) => (a < b ? -1 : 1));
      for (const [used, ...parts] of uses) for (const part of parts) latest.set(part, used);
      const rows = keys.map((key, at) => ({ key, size: Number(weights[at]) || 0, used: latest.get(key) ?? 0 }));
      // A bundle that nothing counts with is forgotten. Not the latest: its parts may be on their way, in a tab whose lock does
      // not show yet.
      const counted = new Set(rows.map(({ used }) => used));
      for (const [used, name] of uses.filter(([used]) => used < Infinity).slice(0, -1)) {
        if (!counted.has(used)) objects("bundles").delete(name);
      }
      let total = rows.reduce((sum, row) => sum + row.size, 0);
      const goal = budget ? this.#budget - size : total - (size || 1);
      const going = [];
      for (const row of rows.filter(({ used }) => used < Infinity).sort((a, b) => a.used - b.used)) {
        // Bundles go whole.
        if (total <= goal && row.used !== going.at(-1)?.used) break;
        going.push(row);
        total -= row.size;
      }
      if (budget ? total > goal : going.length === 0) return false;
      for (const { key } of going) for (const name of [...CACHED, "bundles", "sizes"]) objects(name).delete(key);
      objects("settings").put(total, "total");
      return true;
    });
  }

  #degrade(error) {
    if (this.#memory) return;
    this.#memory = Object.fromEntries(ALL.map((name) => [name, new Memory()]));
    this.#degraded(FINAL[error?.name] ?? (error?.message || error?.name || "the browser gave no reason"));
  }

  async #transact(stores, writes, work) {
    if (this.#memory) {
      const begin = () => work((name) => this.#memory[name]);
      return (this.#last = Promise.resolve(this.#last).then(begin, begin));
    }
    const connection = (this.#connection ??= this.#open());
    try {
      return await transact(await connection, stores, writes, work);
    } catch (error) {
      // The connection may be what is broken: in Firefox no write on it succeeds after one found the disk full. By our own
      // count of the room it is not.
      if (error !== OVER) this.#forget(connection);
      throw error;
    }
  }

  #forget(connection) {
    if (this.#connection === connection) this.#connection = null;
    connection.then((database) => database.close(), () => {});
  }

  #open() {
    const connection = new Promise((resolve, reject) => {
      const request = indexedDB.open(this.#name, STEPS.length);
      const done = within(OPENING, () => {
        request.onsuccess = () => request.result.close();
        reject(new DOMException("", "TimeoutError"));
      });
      request.onupgradeneeded = ({ oldVersion }) => {
        for (const step of STEPS.slice(oldVersion)) step(request.result, request.transaction);
      };
      request.onerror = () => {
        done();
        reject(request.error);
      };
      request.onsuccess = () => {
        done();
        const database = request.result;
        // Another tab that upgrades or deletes the database waits until it is closed here; a browser that closes it by
        // itself says so as well.
        database.onversionchange = database.onclose = () => this.#forget(connection);
        resolve(database);
      };
    });
    return connection;
  }
}

/** An object store in memory, as far as it is used here. */
class Memory extends Map {
  put(value, key) {
    this.set(key, value);
  }

  getAllKeys() {
    return [...this.keys()].sort();
  }

  getAll() {
    return this.getAllKeys().map((key) => this.get(key));
  }
}

/** Notes that from now on `size` bytes lie at a key. Throws `OVER` if those are more than before, and too many for the budget. */
async function weigh(objects, key, size, budget) {
  const [sizes, settings] = [objects("sizes"), objects("settings")];
  const [before = 0, total = 0] = await Promise.all([result(sizes.get(key)), result(settings.get("total"))]);
  const after = total - before + size;
  if (!(after <= budget) && size > before) throw OVER;
  if (size > 0) sizes.put(size, key);
  else sizes.delete(key);
  settings.put(after, "total");
}

/** How many bytes a blob or a manifest has. */
function sizeOf(value) {
  return (value?.bytes ?? value)?.length ?? 0;
}

/** What a request gives, or memory at once. If a request fails that never comes: its transaction is aborted, which says why. */
function result(request) {
  if (!globalThis.IDBRequest || !(request instanceof IDBRequest)) return request;
  return new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
}

/** Calls `late` after so many milliseconds, unless what this returns was called before. */
function within(patience, late) {
  let timer;
  const wait = (excuses) => {
    const due = performance.now() + patience;
    timer = setTimeout(() => (excuses > 0 && performance.now() - due > HELD_UP ? wait(excuses - 1) : late()), patience);
  };
  wait(EXCUSES);
  return () => clearTimeout(timer);
}

function transact(database, stores, writes, work) {
  // A store alone is one of records or settings, or is read.
  const durability = stores.length > 1 ? "relaxed" : "strict";
  const transaction = database.transaction(stores, writes ? "readwrite" : "readonly", { durability });
  return new Promise((resolve, reject) => {
    let given;
    const done = within(WORKING, () => {
      reject(new DOMException("", "TimeoutError"));
      transaction.abort();
    });
    transaction.oncomplete = () => {
      done();
      resolve(given);
    };
    transaction.onabort = () => {
      done();
      // With a sound connection, browsers abort a write for no reason only when there is no room for it.
      const name = writes ? FULL : "AbortError";
      reject(transaction.error ?? new DOMException("the browser aborted the transaction", name));
    };
    const worked = work((name) => transaction.objectStore(name)).then((values) => (given = values), (error) => {
      reject(error);
      transaction.abort();
    });
    // One that has ended can't be aborted.
    worked.catch(() => {});
  });
}
