// Builds one HTML file with everything in it, compressed, and the Content-Security-Policy that names its parts by hash.
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";
import { viteSingleFile } from "vite-plugin-singlefile";

const MOST_GZIP = 280_000;

function hashes(html: string, tag: "script" | "style"): string {
  const found = [...html.matchAll(new RegExp(`<${tag}(?![^>]*application/json)[^>]*>([\\s\\S]*?)</${tag}>`, "g"))];
  return found.map((m) => `'sha256-${createHash("sha256").update(m[1] ?? "").digest("base64")}'`).join(" ");
}

function embed(): Plugin {
  return {
    name: "embed",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_options, bundle) {
        const page = bundle["index.html"];
        if (page?.type !== "asset") throw new Error("no index.html in the bundle");
        const html = String(page.source);
        const policy =
          `default-src 'none'; script-src ${hashes(html, "script")}; style-src ${hashes(html, "style")}; ` +
          "connect-src 'self'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
        const packed = gzipSync(html, { level: 9 });
        if (packed.length > MOST_GZIP) throw new Error(`the page has ${packed.length} bytes, more than ${MOST_GZIP}`);
        packed[9] = 255; // no operating system: the same bytes everywhere
        mkdirSync("dist", { recursive: true });
        writeFileSync("dist/page.html.gz", packed);
        writeFileSync("dist/policy.txt", policy + "\n");
        delete bundle["index.html"];
        console.log(`page: ${html.length} bytes, ${packed.length} compressed`);
      },
    },
  };
}

export default defineConfig({
  plugins: [viteSingleFile({ removeViteModuleLoader: true }), embed()],
  build: { target: "es2022", outDir: "dist", emptyOutDir: false, reportCompressedSize: false },
});
