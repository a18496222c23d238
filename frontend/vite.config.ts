/**
 * Builds each `src/<page>/main.ts(x)` as an entry of its own into `app/web/static`, with the manifest that the gateway reads its tags from,
 * and each file compressed beside it, so that the gateway never compresses. Names hold a hash of the content: they may be kept for ever.
 */

import { existsSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { dirname, extname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
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
const LARGE_BYTES = 300_000;
const toBrotli = promisify(brotliCompress);
const toGzip = promisify(gzip);
const MANIFEST = "manifest.json";

/** Writes `name.br` and `name.gz` beside each text file, where that is smaller. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    async writeBundle({ dir }, bundle) {
      if (!dir) return;
      const files = Object.entries(bundle).filter(([name]) => COMPRESSIBLE.has(extname(name)) && name !== MANIFEST);
      await Promise.all(
        files.map(([name, file]) => writeForms(join(dir, name), Buffer.from(file.type === "chunk" ? file.code : file.source))),
      );
    },
  };
}

async function writeForms(path: string, content: Buffer): Promise<void> {
  if (content.length < LEAST_BYTES) return;
  // The last two levels take most of the time, and gain little on what is large.
  const quality = {
    [constants.BROTLI_PARAM_QUALITY]: content.length > LARGE_BYTES ? 9 : 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
  };
  const forms = { br: await toBrotli(content, { params: quality }), gz: await toGzip(content, { level: 9 }) };
  for (const [suffix, form] of Object.entries(forms)) {
    if (form.length < content.length) await writeFile(`${path}.${suffix}`, form);
  }
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
    manifest: MANIFEST,
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
