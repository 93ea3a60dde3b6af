// Made by `starlane bind types bundle/binds/directory.toml`: change the bind and its schemas, and make it again.

/** Who has a profile page, and what it says. */
export interface Directory {
  operations: {
    compare: { request: DirectoryCompareRequest; response: DirectoryCompareResponse };
    get: { request: DirectoryCompareRequest; response: DirectoryGetResponse };
    list: { request: DirectoryListRequest; response: DirectoryListResponse };
    save: { request: DirectorySaveRequest; response: DirectorySaveResponse };
  };
  events: {
    changes: DirectoryChangesEvent;
  };
}

/** A person */
export type DirectoryCompareRequest = {
  name: string;
};

/** The same text, rendered in the page that asked and on the server */
export type DirectoryCompareResponse = {
  name: string;
  page: {
    address: string;
    bytes: number;
  };
  same: boolean;
  server: {
    address: string;
    bytes: number;
  };
};

/** A person's page */
export type DirectoryGetResponse = {
  markdown: string;
  name: string;
  revision: number;
  title: string;
  /** Milliseconds since the Unix epoch. */
  updated: number;
};

/** Everybody */
export type DirectoryListRequest = Record<string, never>;

/** Everybody */
export type DirectoryListResponse = {
  people: {
    name: string;
    revision: number;
    title: string;
    /** Milliseconds since the Unix epoch. */
    updated: number;
  }[];
};

/** A page to save */
export type DirectorySaveRequest = {
  markdown: string;
  name: string;
  title?: string;
};

/** What was saved */
export type DirectorySaveResponse = {
  name: string;
  revision: number;
  /** Milliseconds since the Unix epoch. */
  updated: number;
};

/** A page was saved */
export type DirectoryChangesEvent = {
  name: string;
  revision: number;
  title: string;
};
