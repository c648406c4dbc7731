import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

/** @param {string} name */
const ours = (name) => fileURLToPath(new URL(`../../javascript/${name}`, import.meta.url));

export default defineConfig({
  define: { "process.env.NODE_ENV": JSON.stringify("production") },
  esbuild: { jsx: "automatic" },
  resolve: {
    // An application installs these two with npm, and needs neither line.
    alias: { "@lunacore/elements": ours("elements"), "@lunacore/react": ours("react") },
    dedupe: ["react"],
  },
  build: {
    outDir: "dist",
    target: "es2022",
    // The address of the tokenizer is the demo's to say, so the page is one of the demo's own and loads this script.
    rollupOptions: {
      input: "src/page.jsx",
      output: { entryFileNames: "page.js" },
      // Material UI's "use client" is for servers.
      onwarn: (warning, warn) => warning.code === "MODULE_LEVEL_DIRECTIVE" || warn(warning),
    },
    modulePreload: false,
    chunkSizeWarningLimit: 1000,
  },
});
