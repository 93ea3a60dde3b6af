// The object stores of the database, and the steps that create them.

/** Object stores whose values can be fetched again, and so may be evicted. */
export const CACHED = ["blobs", "manifests"] as const;
export const ALL = [...CACHED, "records", "settings", "bundles", "sizes"] as const;
export type StoreName = (typeof ALL)[number];

/** A bundle's last use, on a clock that counts uses, and its blobs. */
export interface Use {
  readonly used: number;
  readonly blobs?: readonly string[];
}

/**
 * The step at index N upgrades the layout from version N to N + 1. A released step never changes. Data of a newer version stays
 * untouched: a newer page of this origin wrote it and may need it again.
 */
export const STEPS: readonly ((database: IDBDatabase, transaction: IDBTransaction) => void)[] = [
  (database) => {
    for (const name of ["blobs", "manifests", "records", "settings"]) database.createObjectStore(name);
  },
  // `bundles` has the `Use` of each bundle, `sizes` the bytes of each cached key. The settings have their sum, `total`, and `clock`.
  (database, transaction) => {
    database.createObjectStore("bundles");
    const sizes = database.createObjectStore("sizes");
    let total = 0;
    for (const store of CACHED) {
      const opened = transaction.objectStore(store).openCursor();
      opened.onsuccess = () => {
        const entry = opened.result;
        if (!entry) return;
        const size = sizeOf(entry.value);
        sizes.put(size, entry.key);
        transaction.objectStore("settings").put((total += size), "total");
        entry.continue();
      };
    }
  },
  // Earlier pages kept the secret of their host here. A page now makes a new one for each host.
  (_, transaction) => {
    transaction.objectStore("settings").delete("secret");
  },
];

/** The size of a blob or manifest, in bytes. */
export function sizeOf(value: unknown): number {
  const held = value as { readonly bytes?: ArrayLike<number>; readonly length?: number } | undefined;
  return (held?.bytes ?? held)?.length ?? 0;
}
