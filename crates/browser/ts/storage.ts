// IndexedDB with promises: a connection that is opened on demand, and one transaction for each step. Cached values are evicted
// when room is needed. Their sizes are in the database, where every tab sees them.

import { ALL, CACHED, STEPS, type StoreName, type Use, sizeOf } from "./layout.js";
import { within } from "./patience.js";
import { FULL, MemoryStore, type Objects, result, transact } from "./transaction.js";

/** The time limit for opening the database. */
const OPEN_TIMEOUT_MS = 10_000;

/** The time limit for listing locks, and for getting a lock that no other tab can hold. */
const LOCK_TIMEOUT_MS = 1_000;

/** The maximum number of tries of a step. */
const MAX_TRIES = 3;

/** Errors for which another try is useless, and the reason for people. */
const FINAL: Readonly<Record<string, string>> = {
  TimeoutError: "the browser's storage does not answer",
  VersionError: "a newer version of this page uses the database",
};

/** The error for a store that has reached its budget. */
const OVER = new DOMException("the bundles in use fill the cache", FULL);

/** One step on a key of an object store: see `Storage.run`. */
type Step = "get" | "all" | "put" | "delete" | "swap" | "use";

/** A bundle that must not be evicted. */
interface Pin {
  blobs: readonly string[];
  /** The number of its pins. */
  uses: number;
  /** Resolves when other tabs can see the lock. */
  readonly shown: Promise<void>;
  /** Releases the lock. */
  readonly release: () => void;
}

/**
 * A database. If the browser's storage cannot be used, it continues in memory and calls `degraded` once with the reason. Throws
 * DOMExceptions: `QuotaExceededError` when there is no room, also if the browser only aborts the transaction.
 */
export class Storage {
  readonly #name: string;
  readonly #budget: number;
  readonly #degraded: (reason: string) => void;
  /** The connection, while there is one. */
  #connection: Promise<IDBDatabase> | null = null;
  /** Replaces the database after a failure. */
  #memory: Readonly<Record<StoreName, MemoryStore>> | null = null;
  /** The last step in memory. There too, steps run one after the other. */
  #last: Promise<unknown> | null = null;
  /** By bundle. */
  readonly #pins = new Map<string, Pin>();
  /** Distinguishes this tab's locks from those of others: a released lock may stay visible for a while. */
  readonly #tab = String(Math.random());

  /** The database of this name, with a maximum of `budget` cached bytes. */
  constructor(name: string, budget: number, degraded: (reason: string) => void) {
    this.#name = name;
    this.#budget = budget;
    this.#degraded = degraded;
  }

  /** Whether it continues in memory. */
  get inMemory(): boolean {
    return this.#memory !== null;
  }

  /**
   * Does one step on a key of an object store, in one transaction. Resolves when that is complete, to an array of values:
   * - `get`: returns the value at the key, if there is one;
   * - `all`: returns every value of the object store, in the order of the keys; needs no key;
   * - `put`: stores `value` at the key;
   * - `delete`: deletes the value at the key;
   * - `swap`: `value` is a pair. If the value at the key equals the first, stores and returns the second; else returns nothing;
   * - `use`: notes that the bundle at the key is used now, and that `value` are its blobs.
   *
   * If there is no room, evicts bundles that are not in use, and does the step again. A power failure may lose cached bytes, and
   * nothing else.
   */
  async run(store: StoreName, step: Step, key: string, value: unknown): Promise<unknown[]> {
    let full: unknown;
    let failure: unknown;
    for (let tries = 1; ; tries++) {
      const inMemory = this.inMemory;
      try {
        if (full && !(await this.#makeRoom(sizeOf(value), full === OVER))) tries = MAX_TRIES;
        else return await this.#run(store, step, key, value);
      } catch (error) {
        failure = error;
        // In memory, the only expected error is a full budget.
        if (inMemory && nameOf(error) !== FULL) throw error;
        // The first lack of room does not count as a try.
        if (nameOf(error) === FULL && !full) tries--;
        if (nameOf(error) === FULL) full = error;
      }
      if (tries < MAX_TRIES && !FINAL[nameOf(failure)]) continue;
      if (failure === full) throw failure;
      this.#degrade(failure);
      full = undefined;
      tries = 0;
    }
  }

  /**
   * Protects a bundle and its blobs from eviction until `unpin` has released each pin. Resolves when other tabs see the pin, or
   * after a second without an answer from the browser.
   */
  async pin(bundle: string, blobs: readonly string[]): Promise<unknown[]> {
    let pin = this.#pins.get(bundle);
    if (!pin) this.#pins.set(bundle, (pin = this.#lock(bundle, blobs)));
    pin.blobs = blobs;
    pin.uses++;
    const [given] = await Promise.all([this.run("bundles", "use", bundle, blobs), pin.shown]);
    return given;
  }

  /** Releases one pin. A bundle without pins can be evicted. */
  unpin(bundle: string): void {
    const pin = this.#pins.get(bundle);
    if (!pin || --pin.uses > 0) return;
    pin.release();
    this.#pins.delete(bundle);
  }

  /** Closes the connection. The next step opens another. */
  close(): void {
    for (const { release } of this.#pins.values()) release();
    this.#pins.clear();
    if (this.#connection) this.#forget(this.#connection);
  }

  /** Makes a pin without uses. Its lock ends with the tab, even after a crash. Without locks, other tabs see only the last use. */
  #lock(bundle: string, blobs: readonly string[]): Pin {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const shown = new Promise<void>((resolve) => {
      const stop = within(LOCK_TIMEOUT_MS, resolve);
      const shown = () => {
        stop();
        resolve();
        return held;
      };
      const lock = `${bundle} ${this.#tab} ${this.#name}`;
      if (navigator.locks) navigator.locks.request(lock, { mode: "shared" }, shown).catch(shown);
      else void shown();
    });
    return { blobs, uses: 0, shown, release };
  }

  #run(store: StoreName, step: Step, key: string, value: unknown): Promise<unknown[]> {
    const cached = (CACHED as readonly StoreName[]).includes(store);
    const more: StoreName[] = step === "use" ? ["settings"] : cached && step !== "get" ? ["sizes", "settings"] : [];
    return this.#transact([store, ...more], step !== "get" && step !== "all", async (objects) => {
      const own = objects(store);
      if (step === "all") return result(own.getAll()) as Promise<unknown[]>;
      if (step === "get") {
        const found = await result(own.get(key));
        return found === undefined ? [] : [found];
      }
      if (step === "swap") {
        const [before, after] = value as [unknown, unknown];
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
   * Evicts the least recently used bundles. With `budget`, until `size` more bytes fit into the budget, or none if that is
   * impossible; otherwise `size` bytes. Resolves to whether there is more room now.
   */
  async #makeRoom(size: number, budget: boolean): Promise<boolean> {
    // A browser without locks has no held ones.
    const asked = navigator.locks?.query().then(({ held }) => held, () => []) ?? [];
    const held = await Promise.race([asked, new Promise<undefined>((resolve) => within(LOCK_TIMEOUT_MS, resolve as () => void))]);
    const pinned = new Set(this.#pins.keys());
    for (const { name } of (held ?? []) as { name: string }[]) {
      const [bundle, tab] = name.split(" ") as [string, string?];
      if (tab !== this.#tab && name.endsWith(` ${this.#name}`)) pinned.add(bundle);
    }
    return this.#transact([...CACHED, "bundles", "sizes", "settings"], true, async (objects) => {
      const all = (["bundles", "sizes"] as const).flatMap((name) => [result(objects(name).getAllKeys()), result(objects(name).getAll())]);
      const [names, bundles, keys, weights] = (await Promise.all(all)) as [string[], Use[], string[], unknown[]];
      const uses = names.map((name, at): [used: number, ...parts: string[]] => {
        const { used, blobs } = bundles[at]!;
        // Without an answer, any bundle may be in use in another tab, even one that was launched long ago and cannot be fetched
        // again now. So all bundles stay, and only blobs without a bundle go. Finding no room costs only another fetch later.
        return [!held || pinned.has(name) ? Infinity : Number(used) || 0, name, ...(blobs ?? [])];
      });
      for (const [name, { blobs }] of this.#pins) uses.push([Infinity, name, ...blobs]);
      // A blob of several bundles counts as used with the latest; a blob without a bundle goes first.
      const latest = new Map<string, number>();
      uses.sort(([a], [b]) => (a < b ? -1 : 1));
      for (const [used, ...parts] of uses) for (const part of parts) latest.set(part, used);
      const rows = keys.map((key, at) => ({ key, size: Number(weights[at]) || 0, used: latest.get(key) ?? 0 }));
      // Forgets bundles whose blobs are gone. Keep the latest: its blobs may be arriving in a tab whose lock is not
      // visible yet.
      const counted = new Set(rows.map(({ used }) => used));
      for (const [used, name] of uses.filter(([used]) => used < Infinity).slice(0, -1)) {
        if (!counted.has(used)) objects("bundles").delete(name!);
      }
      let total = rows.reduce((sum, row) => sum + row.size, 0);
      const goal = budget ? this.#budget - size : total - (size || 1);
      const going: typeof rows = [];
      for (const row of rows.filter(({ used }) => used < Infinity).sort((a, b) => a.used - b.used)) {
        // Evicts whole bundles.
        if (total <= goal && row.used !== going.at(-1)?.used) break;
        going.push(row);
        total -= row.size;
      }
      if (budget ? total > goal : going.length === 0) return false;
      for (const { key } of going) for (const name of [...CACHED, "bundles", "sizes"] as const) objects(name).delete(key);
      objects("settings").put(total, "total");
      return true;
    });
  }

  #degrade(error: unknown): void {
    if (this.#memory) return;
    this.#memory = Object.fromEntries(ALL.map((name) => [name, new MemoryStore()])) as Record<StoreName, MemoryStore>;
    const name = nameOf(error);
    this.#degraded(FINAL[name] ?? ((error as Partial<Error> | null | undefined)?.message || name || "the browser gave no reason"));
  }

  async #transact<T>(stores: readonly StoreName[], writes: boolean, work: (objects: Objects) => Promise<T>): Promise<T> {
    const memory = this.#memory;
    if (memory) {
      const begin = () => work((name) => memory[name]);
      const worked = Promise.resolve(this.#last).then(begin, begin);
      this.#last = worked;
      return worked;
    }
    const connection = (this.#connection ??= this.#open());
    try {
      return await transact(await connection, stores, writes, work);
    } catch (error) {
      // The connection may be broken: in Firefox no write succeeds on it after one found the disk full. `OVER` is our own error,
      // and leaves it intact.
      if (error !== OVER) this.#forget(connection);
      throw error;
    }
  }

  #forget(connection: Promise<IDBDatabase>): void {
    if (this.#connection === connection) this.#connection = null;
    connection.then((database) => database.close(), () => {});
  }

  #open(): Promise<IDBDatabase> {
    const connection = new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(this.#name, STEPS.length);
      const done = within(OPEN_TIMEOUT_MS, () => {
        request.onsuccess = () => request.result.close();
        reject(new DOMException("", "TimeoutError"));
      });
      request.onupgradeneeded = ({ oldVersion }) => {
        for (const step of STEPS.slice(oldVersion)) step(request.result, request.transaction!);
      };
      request.onerror = () => {
        done();
        reject(request.error);
      };
      request.onsuccess = () => {
        done();
        const database = request.result;
        // Another tab that upgrades or deletes the database waits until this tab closes it. A browser may also close it by itself.
        database.onversionchange = database.onclose = () => this.#forget(connection);
        resolve(database);
      };
    });
    return connection;
  }
}

/** Notes that the value at a key now has `size` bytes. Throws `OVER` if that is more than before and exceeds the budget. */
async function weigh(objects: Objects, key: string, size: number, budget: number): Promise<void> {
  const [sizes, settings] = [objects("sizes"), objects("settings")];
  const known = await Promise.all([result(sizes.get(key)), result(settings.get("total"))]);
  const [before = 0, total = 0] = known as [number | undefined, number | undefined];
  const after = total - before + size;
  if (!(after <= budget) && size > before) throw OVER;
  if (size > 0) sizes.put(size, key);
  else sizes.delete(key);
  settings.put(after, "total");
}

/** The name of a thrown error; empty if it has none. */
function nameOf(thrown: unknown): string {
  return (thrown as Partial<Error> | null | undefined)?.name ?? "";
}
