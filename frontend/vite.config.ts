/**
 * Builds each `src/<page>/main.ts(x)` as an entry of its own into `app/web/static`, with the manifest that the gateway reads its tags from,
 * and each file compressed beside it, so that the gateway never compresses. Names hold a hash of the content: they may be kept for ever.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const here = dirname(fileURLToPath(import.meta.url));

/** Entries by the name of their folder. */
function findEntries(): Record<string, string> {
  const source = resolve(here, "src");
  const mains = readdirSync(source).flatMap((name) => ["main.ts", "main.tsx"].map((file) => [name, join(source, name, file)] as const));
  return Object.fromEntries(mains.filter(([, path]) => existsSync(path)));
}

const COMPRESSIBLE = new Set([".css", ".html", ".js", ".json", ".svg", ".ttf", ".txt"]);
const LEAST_BYTES = 512;

/** Writes `name.br` and `name.gz` beside each text file, where that is smaller. */
function compressed(): Plugin {
  let output = "";
  return {
    name: "compressed",
    apply: "build",
    configResolved(config) {
      output = resolve(config.root, config.build.outDir);
    },
    closeBundle() {
      for (const entry of readdirSync(output, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name);
        if (!entry.isFile() || !COMPRESSIBLE.has(extname(path)) || entry.name === "manifest.json") continue;
        const content = readFileSync(path);
        if (content.length < LEAST_BYTES) continue;
        const brotli = brotliCompressSync(content, {
          params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: content.length },
        });
        const gzip = gzipSync(content, { level: 9 });
        if (brotli.length < content.length) writeFileSync(`${path}.br`, brotli);
        if (gzip.length < content.length) writeFileSync(`${path}.gz`, gzip);
      }
    },
  };
}

export default defineConfig({
  root: here,
  base: "/static/",
  publicDir: false,
  clearScreen: false,
  plugins: [compressed()],
  worker: { format: "es" },
  build: {
    outDir: resolve(here, "../app/web/static"),
    emptyOutDir: true,
    manifest: "manifest.json",
    target: ["chrome111", "edge111", "firefox114", "safari16.4"],
    // A data: URL would need a directive of the Content-Security-Policy for each kind of file.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 4000,
    reportCompressedSize: false,
    rolldownOptions: {
      input: findEntries(),
      onLog(level, log, handle) {
        // Written for servers that render React: it means nothing here.
        if (log.code !== "MODULE_LEVEL_DIRECTIVE") handle(level, log);
      },
    },
  },
});
