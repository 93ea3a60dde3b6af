// Made by `starlane bind types bundle/binds/profile.toml`: change the bind and its schemas, and make it again.

/** Renders a person's Markdown: for a preview, and as a whole page. */
export interface Profile {
  operations: {
    page: { request: ProfilePageRequest; response: string };
    render: { request: ProfileRenderRequest; response: string };
  };
  events: {};
}

/** Whose page; a web request may bring more fields */
export type ProfilePageRequest = {
  name: string;
  [name: string]: unknown;
};

/** A text to render */
export type ProfileRenderRequest = {
  markdown: string;
};
