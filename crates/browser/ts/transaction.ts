// Transactions of IndexedDB as promises, and what stands in for object stores in memory.

import type { StoreName } from "./layout.js";
import { within } from "./patience.js";

/** A transaction may have to wait for others and for a slow disk; one that takes longer won't end, in milliseconds. */
const WORKING = 30_000;

/** The name of the error that browsers give when their storage is full. */
export const FULL = "QuotaExceededError";

/** An object store, as far as it is used here. What its methods give is for `result`. */
export interface ObjectStore {
  get(key: string): unknown;
  getAll(): unknown;
  getAllKeys(): unknown;
  put(value: unknown, key: string): unknown;
  delete(key: string): unknown;
}

/** The object stores of a transaction. */
export type Objects = (name: StoreName) => ObjectStore;

/** An object store in memory. */
export class MemoryStore extends Map<string, unknown> implements ObjectStore {
  put(value: unknown, key: string): void {
    this.set(key, value);
  }

  getAllKeys(): string[] {
    return [...this.keys()].sort();
  }

  getAll(): unknown[] {
    return this.getAllKeys().map((key) => this.get(key));
  }
}

/** What a request gives, or memory at once. If a request fails that never comes: its transaction is aborted, which says why. */
export function result(request: unknown): unknown {
  if (!globalThis.IDBRequest || !(request instanceof IDBRequest)) return request;
  return new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
}

/** Does work in a transaction on these object stores. Resolves to what that gives, once the transaction is complete. */
export function transact<T>(
  database: IDBDatabase, stores: readonly StoreName[], writes: boolean, work: (objects: Objects) => Promise<T>,
): Promise<T> {
  // A store alone is one of records or settings, or is read.
  const durability = stores.length > 1 ? "relaxed" : "strict";
  const transaction = database.transaction([...stores], writes ? "readwrite" : "readonly", { durability });
  return new Promise((resolve, reject) => {
    let given: T;
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
      // With a sound connection, browsers abort a write without a reason only when their storage is full.
      const name = writes ? FULL : "AbortError";
      reject(transaction.error ?? new DOMException("the browser aborted the transaction", name));
    };
    const worked = work((name) => transaction.objectStore(name)).then(
      (values) => {
        given = values;
      },
      (error: unknown) => {
        reject(error);
        transaction.abort();
      },
    );
    // One that has ended can't be aborted.
    worked.catch(() => {});
  });
}
