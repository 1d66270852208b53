/**
 * Makes the program out of the sources and of the packages that they need: `dist/src/bin.js`, and beside the library that
 * `tsc` made the chunks in `dist/layers/program`, each loaded when a command needs it. Only koffi, which has machine code,
 * stays a package. Nothing is renamed or squeezed together, so that a stack trace reads without a source map: above each
 * part stands its file.
 */
import * as Esbuild from "esbuild"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { noticesOf, packageOf } from "./notices.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** The room of all chunks; two levels deep, as the sources are that name other files by their own place. */
const room = "layers/program"

/** What a thread or a process of its own runs: beside the chunks as it is beside the source that names it. */
const ownPrograms = Fs.globSync("layers/**/*Main.ts", { cwd: root }).map((file) => ({
  in: file,
  out: Path.join(room, Path.relative("layers", file).split(Path.sep).slice(1).join("/").replace(/\.ts$/, ""))
}))

const { metafile } = await Esbuild.build({
  absWorkingDir: root,
  entryPoints: [{ in: "src/bin.ts", out: "src/bin" }, ...ownPrograms],
  outdir: "dist",
  chunkNames: `${room}/[name]-[hash]`,
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node22.19",
  external: ["koffi"],
  // The packages that are no ES modules ask for node's own modules so.
  banner: { js: `import { createRequire as makeRequire } from "module"; const require = makeRequire(import.meta.url)` },
  legalComments: "none",
  metafile: true,
  logLevel: "warning"
})

const bundled = new Set(
  Object.values(metafile.outputs)
    .flatMap(({ inputs }) => Object.keys(inputs))
    .flatMap((input) => packageOf(input) ?? [])
)
Fs.writeFileSync(Path.join(root, "dist/THIRD_PARTY_NOTICES.txt"), noticesOf([...bundled].sort(), root))
for (const place of ["layers/monitor", room])
  Fs.cpSync(Path.join(root, "layers/monitor/dashboard"), Path.join(root, "dist", place, "dashboard"), {
    recursive: true
  })
Fs.chmodSync(Path.join(root, "dist/src/bin.js"), 0o755)
