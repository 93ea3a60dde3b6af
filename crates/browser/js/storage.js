// IndexedDB as promises: a connection that is opened when needed, and one transaction for each step.

/** A browser whose storage has not answered for so long won't, in milliseconds. */
const PATIENCE = 10_000;

/**
 * The layout of the database: the step at index N takes it from version N to N + 1. A step that was released never changes.
 * Data of a newer version is left alone: a newer page of this origin wrote it and may want it back.
 */
const STEPS = [
  (database) => {
    for (const name of ["blobs", "manifests", "records", "settings"]) database.createObjectStore(name);
  },
];

/** A database. What it throws are DOMExceptions; `TimeoutError` is its own, and a quota may show as an abort. */
export class Storage {
  #name;
  /** A promise of the connection, while there is one. */
  #connection = null;

  constructor(name) {
    this.#name = name;
  }

  /**
   * Does one step in one transaction, and resolves once that is complete. `get` gives the values at the key, `all` those of
   * the object store, `put` and `delete` none; `keep` gives the value at the key, which from now on is `value` if there was
   * none as long. Cached bytes can be fetched again, so they may be lost when the power goes; nothing else may.
   */
  async run(store, step, key, value) {
    const connection = (this.#connection ??= this.#open());
    try {
      return await transact(await connection, store, step, key, value);
    } catch (error) {
      // The connection may be what is broken; without room it is not.
      if (error?.name !== "QuotaExceededError") this.#forget(connection);
      throw error;
    }
  }

  /** Ends the connection; the next step opens another. */
  close() {
    if (this.#connection) this.#forget(this.#connection);
  }

  #forget(connection) {
    if (this.#connection === connection) this.#connection = null;
    connection.then((database) => database.close(), () => {});
  }

  #open() {
    const connection = new Promise((resolve, reject) => {
      const request = indexedDB.open(this.#name, STEPS.length);
      const late = () => {
        request.onsuccess = () => request.result.close();
        reject(new DOMException("the browser's storage does not answer", "TimeoutError"));
      };
      const timer = setTimeout(late, PATIENCE);
      request.onupgradeneeded = ({ oldVersion }) => {
        for (const step of STEPS.slice(oldVersion)) step(request.result);
      };
      request.onerror = () => {
        clearTimeout(timer);
        reject(request.error);
      };
      request.onsuccess = () => {
        clearTimeout(timer);
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

function transact(database, store, step, key, value) {
  const writes = step !== "get" && step !== "all";
  const durability = store === "blobs" ? "relaxed" : "strict";
  const transaction = database.transaction(store, writes ? "readwrite" : "readonly", { durability });
  const objects = transaction.objectStore(store);
  return new Promise((resolve, reject) => {
    let values = [];
    transaction.oncomplete = () => resolve(values);
    transaction.onabort = () => {
      // With a sound connection, browsers abort a write for no reason only when there is no room for it.
      const name = writes ? "QuotaExceededError" : "AbortError";
      reject(transaction.error ?? new DOMException("the browser aborted the transaction", name));
    };
    if (step === "put") objects.put(value, key);
    else if (step === "delete") objects.delete(key);
    else {
      const request = step === "all" ? objects.getAll() : objects.get(key);
      request.onsuccess = () => {
        const found = request.result;
        if (step === "all") values = found;
        else if (found !== undefined) values = [found];
        if (step === "keep" && found?.length !== value.length) {
          values = [value];
          objects.put(value, key);
        }
      };
    }
  });
}
