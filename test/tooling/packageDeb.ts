/**
 * Makes the Debian package, with a Node of its own: `npm run package:deb -- [--arch amd64|arm64] [--out FOLDER]`. Needs `dist`.
 * The same commit and tools give the same bytes: times are SOURCE_DATE_EPOCH, else the commit's. Either processor's package can be
 * made on any machine; what belongs to another one comes by `npm ci`, held to the lock.
 */
import { execFileSync, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { gzipSync } from "node:zlib"
import * as Effect from "effect/Effect"
import manifest from "../../package.json" with { type: "json" }
import { commitTime } from "./commitTime.ts"
import { allHelp, manPage, pageName } from "./manPages.ts"
import { npm } from "./npm.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
/** What a package may have, in bytes. */
const maxSize = 60_000_000

/** By Debian's names: node's, and what strips its programs. */
const processors: ReadonlyMap<string, { readonly cpu: string; readonly strip: string }> = new Map([
  ["amd64", { cpu: "x64", strip: "x86_64-linux-gnu-strip" }],
  ["arm64", { cpu: "arm64", strip: "aarch64-linux-gnu-strip" }]
])

const fail = (line: string): never => {
  process.stderr.write(`package:deb: ${line}\n`)
  process.exit(1)
}

const say = (line: string): void => void process.stdout.write(`${line}\n`)

// A program that fails has told why itself.
process.on("uncaughtException", ({ message }) => fail(message.split("\n", 1)[0]!))

const { values } = parseArgs({
  options: { arch: { type: "string", default: process.arch === "arm64" ? "arm64" : "amd64" }, out: { type: "string" } }
})
const { arch } = values
const processor = processors.get(arch) ?? fail(`--arch ${arch} is not known — amd64 or arm64`)
const out = Path.resolve(values.out ?? Path.join(root, "packages"))
if (!Fs.existsSync(Path.join(root, "dist/src/bin.js"))) fail("dist is missing — npm run build")
if (spawnSync("dpkg-deb", ["--version"], { timeout: 10_000 }).status !== 0)
  fail("dpkg-deb is missing — apt-get install dpkg, or make the package on Debian")

const run = (command: string, args: ReadonlyArray<string>, cwd = root): string =>
  execFileSync(command, args, { cwd, encoding: "utf8", timeout: 600_000, stdio: ["ignore", "pipe", "inherit"] })

const epoch = Number(process.env["SOURCE_DATE_EPOCH"] ?? commitTime(root))
const date = new Date(epoch * 1_000).toISOString().slice(0, 10)

const work = Fs.mkdtempSync(Path.join(Os.tmpdir(), "sallyport-deb-"))
process.on("exit", () => Fs.rmSync(work, { recursive: true, force: true }))
const stage = Path.join(work, "stage")

/** Writes a file of the package; 0644, or 0755 for programs and scripts. */
const put = (path: string, content: string | Uint8Array, mode = 0o644): void => {
  const file = Path.join(stage, path)
  Fs.mkdirSync(Path.dirname(file), { recursive: true })
  Fs.writeFileSync(file, content)
  Fs.chmodSync(file, mode)
}

const text = (path: string): string => Fs.readFileSync(Path.join(root, path), "utf8")

/** Our own `node_modules`, or what npm fetches for the other processor. */
const modulesFor = (cpu: string): string => {
  const own = Path.join(root, "node_modules")
  if ([`node-linux-${cpu}`, `@koromix/koffi-linux-${cpu}`].every((name) => Fs.existsSync(Path.join(own, name))))
    return own
  const project = Path.join(work, "npm")
  Fs.mkdirSync(project)
  for (const file of ["package.json", "package-lock.json"])
    Fs.copyFileSync(Path.join(root, file), Path.join(project, file))
  const only = ["--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
  const [command, ...args] = npm("ci", "--silent", ...only, "--os=linux", `--cpu=${cpu}`, "--libc=glibc")
  run(command, args, project)
  return Path.join(project, "node_modules")
}

const copy = (from: string, to: string, wanted: (path: string) => boolean): void => {
  for (const entry of Fs.readdirSync(from, { recursive: true, withFileTypes: true })) {
    const path = Path.relative(from, Path.join(entry.parentPath, entry.name))
    if (entry.isFile() && wanted(path)) put(Path.join(to, path), Fs.readFileSync(Path.join(from, path)))
  }
}

/** Without its symbols it is a fifth smaller; one of another processor needs a strip that knows it. */
const strip = (file: string): void => {
  const foreign = arch !== (process.arch === "arm64" ? "arm64" : "amd64")
  for (const command of foreign ? [processor.strip] : [processor.strip, "strip"]) {
    if (spawnSync(command, ["--strip-all", file], { timeout: 120_000 }).status === 0) return
  }
  say(
    `node is not stripped: no ${processor.strip} here (binutils-${arch === "arm64" ? "aarch64" : "x86-64"}-linux-gnu)`
  )
}

const home = "usr/lib/sallyport"
const doc = "usr/share/doc/sallyport"
const modules = modulesFor(processor.cpu)
const node = `node-linux-${processor.cpu}`

copy(Path.join(root, "dist"), `${home}/dist`, (path) => /^(?:src\/bin\.js|layers\/program\/.*)$/.test(path))
put(`${home}/package.json`, JSON.stringify({ name: manifest.name, version: manifest.version, type: "module" }))
const isCode = (path: string): boolean =>
  /\.c?js$|^package\.json$|^LICENSE/.test(path) && !/^(?:doc|vendor)\//.test(path)
copy(Path.join(modules, "koffi"), `${home}/node_modules/koffi`, isCode)
const native = `@koromix/koffi-linux-${processor.cpu}`
copy(Path.join(modules, native), `${home}/node_modules/${native}`, (path) => !path.startsWith("musl_"))
put(`${home}/bin/node`, Fs.readFileSync(Path.join(modules, node, "bin/node")), 0o755)
strip(Path.join(stage, home, "bin/node"))

put("usr/bin/sallyport", text("deploy/debian/sallyport"), 0o755)
put("usr/lib/systemd/system/sallyport.service", text("deploy/debian/sallyport.service"))
// With a portal's token in it one day.
put("etc/default/sallyport", text("deploy/debian/default"), 0o640)

for (const help of await Effect.runPromise(allHelp())) {
  const page = manPage(help, { date, version: manifest.version })
  put(`usr/share/man/man1/${pageName(help.path)}.1.gz`, gzipSync(page, { level: 9 }))
}
const completions = (shell: string): string => run(process.execPath, ["dist/src/bin.js", "--completions", shell])
put("usr/share/bash-completion/completions/sallyport", completions("bash"))
put("usr/share/zsh/vendor-completions/_sallyport", completions("zsh"))
put("usr/share/fish/vendor_completions.d/sallyport.fish", completions("fish"))

const licenceOf = (name: string): string => Fs.readFileSync(Path.join(modules, name, "LICENSE"), "utf8")
put(
  `${doc}/copyright`,
  [
    text("LICENSE"),
    `The package holds Node (${home}/bin/node), under:\n\n${licenceOf(node)}`,
    `and koffi (${home}/node_modules), under:\n\n${Fs.readFileSync(Path.join(modules, "koffi/LICENSE.txt"), "utf8")}`,
    text("dist/THIRD_PARTY_NOTICES.txt")
  ].join(`\n${"=".repeat(80)}\n\n`)
)
put(`${doc}/changelog.gz`, gzipSync(text("CHANGELOG.md"), { level: 9 }))
copy(Path.join(root, "docs"), doc, () => true)
copy(Path.join(root, "deploy"), `${doc}/examples`, (path) => !path.startsWith("debian"))

/** Paths in the package, sorted: folders and files. */
const entries = Fs.readdirSync(stage, { recursive: true, withFileTypes: true })
  .map((entry) => ({ entry, path: Path.relative(stage, Path.join(entry.parentPath, entry.name)) }))
  .sort((a, b) => (a.path < b.path ? -1 : 1))
const files = entries.filter(({ entry }) => entry.isFile()).map(({ path }) => path)
const bytes = files.reduce((sum, path) => sum + Fs.statSync(Path.join(stage, path)).size, 0)
const md5 = (path: string): string =>
  createHash("md5")
    .update(Fs.readFileSync(Path.join(stage, path)))
    .digest("hex")
const sums = files.filter((path) => !path.startsWith("etc/")).map((path) => `${md5(path)}  ${path}\n`)

put(
  "DEBIAN/control",
  `Package: ${manifest.name}
Version: ${manifest.version}
Architecture: ${arch}
Maintainer: The Sallyport authors <sallyport@localhost>
Installed-Size: ${Math.ceil(bytes / 1_024)}
Depends: libatomic1, libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 9), iproute2, nftables, passwd
Recommends: ca-certificates, systemd
Section: net
Priority: optional
Description: zero-trust gateway for private, DNS-named resources
 ${manifest.description}
 Its clients are stock WireGuard ones.
`
)
put("DEBIAN/conffiles", "/etc/default/sallyport\n")
put("DEBIAN/md5sums", sums.join(""))
for (const script of ["postinst", "prerm", "postrm"]) put(`DEBIAN/${script}`, text(`deploy/debian/${script}`), 0o755)

for (const entry of Fs.readdirSync(stage, { recursive: true, withFileTypes: true })) {
  const path = Path.join(entry.parentPath, entry.name)
  if (entry.isDirectory()) Fs.chmodSync(path, 0o755)
  Fs.utimesSync(path, epoch, epoch)
}
Fs.chmodSync(stage, 0o755)
Fs.utimesSync(stage, epoch, epoch)

Fs.mkdirSync(out, { recursive: true })
const file = Path.join(out, `${manifest.name}_${manifest.version}_${arch}.deb`)
// Debian 12 and later know zstd, which takes seconds where xz takes minutes.
execFileSync("dpkg-deb", ["--root-owner-group", "-Zzstd", "-z12", "--build", stage, file], {
  env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
  stdio: ["ignore", "ignore", "inherit"],
  timeout: 600_000
})
const { size } = Fs.statSync(file)
if (size > maxSize) fail(`${file} has ${size} bytes, more than ${maxSize}`)
say(`${file}: ${(size / 1e6).toFixed(1)} MB`)
