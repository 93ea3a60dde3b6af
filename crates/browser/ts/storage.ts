// IndexedDB as promises: a connection that is opened when needed, and one transaction for each step. What can be fetched again
// is weighed, and makes room for what comes: the weights lie in the database, where every tab sees them.

import { ALL, CACHED, STEPS, type StoreName, type Use, sizeOf } from "./layout.js";
import { within } from "./patience.js";
import { FULL, MemoryStore, type Objects, result, transact } from "./transaction.js";

/** A browser whose storage has not opened for so long won't, in milliseconds. */
const OPENING = 10_000;

/** The same for the question which locks are held, and for a lock that nobody can have otherwise. */
const ASKING = 1_000;

/** How often a step is tried. */
const TRIES = 3;

/** Errors that another try won't mend, and the reason for people. */
const FINAL: Readonly<Record<string, string>> = {
  TimeoutError: "the browser's storage does not answer",
  VersionError: "a newer version of this page keeps its data there",
};

/** The error for a store that is full by our own count. */
const OVER = new DOMException("what is in use fills the cache", FULL);

/** One step at a key of an object store: see `Storage.run`. */
type Step = "get" | "all" | "put" | "delete" | "swap" | "keep" | "use";

/** A bundle that stays. */
interface Pin {
  blobs: readonly string[];
  /** How many pins it has. */
  uses: number;
  /** Resolves when the lock is shown that tells other tabs. */
  readonly shown: Promise<void>;
  /** Gives the lock back. */
  readonly release: () => void;
}

/**
 * A database. Where the browser's storage can't be used it goes on in memory, and calls back once with the reason. What it
 * throws are DOMExceptions: `QuotaExceededError`, which a full disk may also show as an abort.
 */
export class Storage {
  readonly #name: string;
  readonly #budget: number;
  readonly #degraded: (reason: string) => void;
  /** A promise of the connection, while there is one. */
  #connection: Promise<IDBDatabase> | null = null;
  /** What stands in for the database. */
  #memory: Readonly<Record<StoreName, MemoryStore>> | null = null;
  /** The last that was begun in memory: there too one follows the other. */
  #last: Promise<unknown> | null = null;
  /** By bundle. */
  readonly #pins = new Map<string, Pin>();
  /** What tells the locks of this tab from those of others: a released one may still show for a while. */
  readonly #tab = String(Math.random());

  /** The database of this name, which keeps at most `budget` bytes of what can be fetched again. */
  constructor(name: string, budget: number, degraded: (reason: string) => void) {
    this.#name = name;
    this.#budget = budget;
    this.#degraded = degraded;
  }

  /** Whether it goes on in memory. */
  get inMemory(): boolean {
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
  async run(store: StoreName, step: Step, key: string, value: unknown): Promise<unknown[]> {
    let full: unknown;
    let failure: unknown;
    for (let tries = 1; ; tries++) {
      const inMemory = this.inMemory;
      try {
        // For the host's secret it is tried all the same: without one there is no host.
        if (full && !(await this.#makeRoom(sizeOf(value), full === OVER)) && step !== "keep") tries = TRIES;
        else return await this.#run(store, step, key, value);
      } catch (error) {
        failure = error;
        // In memory nothing but room can be lacking.
        if (inMemory && nameOf(error) !== FULL) throw error;
        // That room is needed is no failed try.
        if (nameOf(error) === FULL && !full) tries--;
        if (nameOf(error) === FULL) full = error;
      }
      if (tries < TRIES && !FINAL[nameOf(failure)]) continue;
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
  async pin(bundle: string, blobs: readonly string[]): Promise<unknown[]> {
    let pin = this.#pins.get(bundle);
    if (!pin) this.#pins.set(bundle, (pin = this.#lock(bundle, blobs)));
    pin.blobs = blobs;
    pin.uses++;
    const [given] = await Promise.all([this.run("bundles", "use", bundle, blobs), pin.shown]);
    return given;
  }

  /** What nobody uses any more may go when room is needed. */
  unpin(bundle: string): void {
    const pin = this.#pins.get(bundle);
    if (!pin || --pin.uses > 0) return;
    pin.release();
    this.#pins.delete(bundle);
  }

  /** Ends the connection; the next step opens another. */
  close(): void {
    for (const { release } of this.#pins.values()) release();
    this.#pins.clear();
    if (this.#connection) this.#forget(this.#connection);
  }

  /** A pin without uses. A lock ends with its tab, however that ends. Where there are none, other tabs see when the bundle was used. */
  #lock(bundle: string, blobs: readonly string[]): Pin {
    let release = () => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    const shown = new Promise<void>((resolve) => {
      const stop = within(ASKING, resolve);
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
      if (step === "get" || step === "keep") {
        const found = await result(own.get(key));
        if (step === "get") return found === undefined ? [] : [found];
        if (found instanceof Uint8Array && found.length === (value as Uint8Array).length) return [found];
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
   * Drops the least recently used bundles: within the budget until `size` bytes more fit into it, if that can be; else as many
   * bytes as that. Gives whether there is more room now.
   */
  async #makeRoom(size: number, budget: boolean): Promise<boolean> {
    // Where there are no locks nobody holds one.
    const asked = navigator.locks?.query().then(({ held }) => held, () => []) ?? [];
    const held = await Promise.race([asked, new Promise<undefined>((resolve) => within(ASKING, resolve as () => void))]);
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
        // Without an answer any bundle may be in use in another tab, also one that was launched long ago and can't be fetched
        // again now. So all stay, and only what is of no bundle goes: to find no room costs no more than a fetch later.
        return [!held || pinned.has(name) ? Infinity : Number(used) || 0, name, ...(blobs ?? [])];
      });
      for (const [name, { blobs }] of this.#pins) uses.push([Infinity, name, ...blobs]);
      // What is of several bundles counts with the one that was used latest; what is of none goes first.
      const latest = new Map<string, number>();
      uses.sort(([a], [b]) => (a < b ? -1 : 1));
      for (const [used, ...parts] of uses) for (const part of parts) latest.set(part, used);
      const rows = keys.map((key, at) => ({ key, size: Number(weights[at]) || 0, used: latest.get(key) ?? 0 }));
      // A bundle that nothing counts with is forgotten. Not the latest: its parts may be on their way, in a tab whose lock does
      // not show yet.
      const counted = new Set(rows.map(({ used }) => used));
      for (const [used, name] of uses.filter(([used]) => used < Infinity).slice(0, -1)) {
        if (!counted.has(used)) objects("bundles").delete(name!);
      }
      let total = rows.reduce((sum, row) => sum + row.size, 0);
      const goal = budget ? this.#budget - size : total - (size || 1);
      const going: typeof rows = [];
      for (const row of rows.filter(({ used }) => used < Infinity).sort((a, b) => a.used - b.used)) {
        // Bundles go whole.
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
      // The connection may be what is broken: in Firefox no write on it succeeds after one found the disk full. By our own
      // count of the room it is not.
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
      const done = within(OPENING, () => {
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
        // Another tab that upgrades or deletes the database waits until it is closed here; a browser that closes it by
        // itself says so as well.
        database.onversionchange = database.onclose = () => this.#forget(connection);
        resolve(database);
      };
    });
    return connection;
  }
}

/** Notes that from now on `size` bytes lie at a key. Throws `OVER` if those are more than before, and too many for the budget. */
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

/** The name of what was thrown; empty if it has none. */
function nameOf(thrown: unknown): string {
  return (thrown as Partial<Error> | null | undefined)?.name ?? "";
}
