import { defineConfig } from "vite";

// The Starlane server serves the built page from the app's bundle: `dist/` becomes the bundle's `site/`.
export default defineConfig({
  build: {
    target: "es2022",
    // Nothing inline: the page's Content-Security-Policy allows neither inline scripts nor data: modules.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
