import { defineConfig } from "vite";

// The Starlane server serves what this builds from the benchmark's bundle, at the path /bench.
export default defineConfig({
  base: "/bench/",
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  worker: { format: "es" },
});
