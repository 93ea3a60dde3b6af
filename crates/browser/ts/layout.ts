// The database: its object stores, and how they came about.

/** What can be fetched again, and so may be dropped. */
export const CACHED = ["blobs", "manifests"] as const;
export const ALL = [...CACHED, "records", "settings", "bundles", "sizes"] as const;
export type StoreName = (typeof ALL)[number];

/** Of a bundle: when it was used last, on a clock that counts uses, and which blobs it has. */
export interface Use {
  readonly used: number;
  readonly blobs?: readonly string[];
}

/**
 * The layout: the step at index N takes it from version N to N + 1. A step that was released never changes. Data of a newer version
 * is left alone: a newer page of this origin wrote it and may want it back.
 */
export const STEPS: readonly ((database: IDBDatabase, transaction: IDBTransaction) => void)[] = [
  (database) => {
    for (const name of ["blobs", "manifests", "records", "settings"]) database.createObjectStore(name);
  },
  // Of each bundle, its `Use`. Of each cached key, how many bytes. The sum of these is `total` in the settings, the time is `clock`.
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
];

/** How many bytes a blob or a manifest has. */
export function sizeOf(value: unknown): number {
  const held = value as { readonly bytes?: ArrayLike<number>; readonly length?: number } | undefined;
  return (held?.bytes ?? held)?.length ?? 0;
}
