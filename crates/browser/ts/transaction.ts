// Transactions of IndexedDB as promises, and object stores in memory.

import type { StoreName } from "./layout.js";
import { within } from "./patience.js";

/** The time limit of a transaction. It may wait for others and for a slow disk; a longer one will not end. */
const TRANSACTION_TIMEOUT_MS = 30_000;

/** The name of the error of a full storage. */
export const FULL = "QuotaExceededError";

/** The used part of an object store. Pass the results of its methods to `result`. */
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

/** The result of a request; in memory, the value itself. Never resolves if the request fails: the aborted transaction has the reason. */
export function result(request: unknown): unknown {
  if (!globalThis.IDBRequest || !(request instanceof IDBRequest)) return request;
  return new Promise((resolve) => (request.onsuccess = () => resolve(request.result)));
}

/** Does work in a transaction on these object stores. Resolves to its result when the transaction is complete. */
export function transact<T>(
  database: IDBDatabase, stores: readonly StoreName[], writes: boolean, work: (objects: Objects) => Promise<T>,
): Promise<T> {
  // Only cached values need several stores when they are written, and they may be lost.
  const durability = stores.length > 1 ? "relaxed" : "strict";
  const transaction = database.transaction([...stores], writes ? "readwrite" : "readonly", { durability });
  return new Promise((resolve, reject) => {
    let given: T;
    const done = within(TRANSACTION_TIMEOUT_MS, () => {
      reject(new DOMException("", "TimeoutError"));
      transaction.abort();
    });
    transaction.oncomplete = () => {
      done();
      resolve(given);
    };
    transaction.onabort = () => {
      done();
      // On an intact connection, browsers abort a write without a reason only when their storage is full.
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
    // `abort` throws if the transaction has ended.
    worked.catch(() => {});
  });
}
