/** An unsaved text. It survives a reload of this tab, if the browser has storage. */
export interface Draft {
  text: string;
  /** The revision that it is based on; 0 for a page that nobody has saved. */
  revision: number;
}

const PREFIX = "starlane-draft:";
const SEEN = "starlane-seen:";
const drafts = new Map<string, Draft>();

export function draft(name: string): Draft | undefined {
  return drafts.get(name);
}

export function keepDraft(name: string, draft: Draft): void {
  drafts.set(name, draft);
  stored(() => sessionStorage.setItem(PREFIX + name, JSON.stringify(draft)));
}

export function dropDraft(name: string): void {
  drafts.delete(name);
  stored(() => sessionStorage.removeItem(PREFIX + name));
}

/** The server's text of a page when it was last seen, in any tab. */
export function seen(name: string): Draft | undefined {
  let found: Draft | undefined;
  stored(() => {
    const { text, revision } = JSON.parse(localStorage.getItem(SEEN + name) ?? "{}") as Partial<Draft>;
    if (typeof text === "string" && typeof revision === "number") found = { text, revision };
  });
  return found;
}

export function keepSeen(name: string, page: Draft): void {
  stored(() => localStorage.setItem(SEEN + name, JSON.stringify(page)));
}

/** Without storage, or if it is full, drafts live as long as the page. */
function stored(change: () => void): void {
  try {
    change();
  } catch (error) {
    console.warn("a draft cannot be stored and will not survive a reload:", error);
  }
}

stored(() => {
  for (const key of Object.keys(sessionStorage)) {
    if (!key.startsWith(PREFIX)) continue;
    const { text, revision } = JSON.parse(sessionStorage.getItem(key) ?? "{}") as Partial<Draft>;
    if (typeof text === "string" && typeof revision === "number") drafts.set(key.slice(PREFIX.length), { text, revision });
  }
});
