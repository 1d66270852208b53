import { execFile } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { assert, beforeAll, describe, it } from "vitest"

const root = fileURLToPath(new URL("../..", import.meta.url))

interface Fixture {
  /** The folder whose rules it keeps or breaks. */
  readonly in: string
  readonly code: string
  readonly allowed: boolean
}

const values = (specifier: string) => `import * as X from "${specifier}"\nexport const x = X\n`
const types = (specifier: string) => `import type * as X from "${specifier}"\nexport type Y = keyof typeof X\n`

const fixtures: Readonly<Record<string, Fixture>> = {
  "src to layers": { in: "src/access", code: values("../../layers/runCli.ts"), allowed: false },
  "src to node": { in: "src/dns", code: values("node:fs"), allowed: false },
  "src to node's short names": { in: "src/dns", code: values("fs"), allowed: false },
  "src to platform-node": { in: "src/cli", code: values("@effect/platform-node/NodeFileSystem"), allowed: false },
  "src to the platform-node barrel": { in: "src/cli", code: values("@effect/platform-node"), allowed: false },
  "src to a driver": { in: "src/shared", code: values("@effect/sql-pg/PgConnection"), allowed: false },
  "src to the effect barrel": { in: "src/config", code: values("effect"), allowed: false },
  "src to koffi": { in: "src/host", code: values("koffi"), allowed: false },
  "src to an effect module": { in: "src/config", code: values("effect/Effect"), allowed: true },
  "layers to the effect barrel": { in: "layers", code: values("effect"), allowed: false },
  "layers to the platform-node barrel": { in: "layers", code: values("@effect/platform-node"), allowed: false },
  "layers to koffi": { in: "layers", code: values("koffi"), allowed: false },
  "layers/dataplane/native to koffi": { in: "layers/dataplane/native", code: values("koffi"), allowed: true },
  "layers/dataplane/native to the effect barrel": {
    in: "layers/dataplane/native",
    code: values("effect"),
    allowed: false
  },
  "the composition to the lab": { in: "layers", code: values("./lab/faults.ts"), allowed: false },
  "examples to the package's name": { in: "examples", code: values("sallyport/Gateway"), allowed: true },
  "examples to the package's files": { in: "examples", code: values("../layers/Gateway.ts"), allowed: false },
  "examples to the effect barrel": { in: "examples", code: values("effect"), allowed: false },
  "layers to a driver": { in: "layers/postgres", code: values("@effect/sql-pg/PgConnection"), allowed: true },
  "layers to node": { in: "layers", code: values("node:fs"), allowed: true }
}
const pure = ["src/packet", "src/nat", "src/wireguard", "src/ice", "src/dataplane/engine"]
const below = (folder: string) => "../".repeat(folder.split("/").length - 1)
const pureFixtures = pure.flatMap((place): ReadonlyArray<readonly [string, Fixture]> => [
  [`${place} to effect`, { in: place, code: values("effect/Option"), allowed: false }],
  [`${place} to node`, { in: place, code: values("node:crypto"), allowed: false }],
  [`${place} to koffi`, { in: place, code: values("koffi"), allowed: false }],
  [`${place} to services`, { in: place, code: values(`${below(place)}resolution/Cause.ts`), allowed: false }],
  [`${place} to values of model`, { in: place, code: values(`${below(place)}model/PortFilter.ts`), allowed: false }],
  [`${place} to types of model`, { in: place, code: types(`${below(place)}model/PortFilter.ts`), allowed: true }],
  [`${place} to packet`, { in: place, code: values(`${below(place)}packet/address.ts`), allowed: true }],
  [`${place} to noble`, { in: place, code: values("@noble/hashes/blake2.js"), allowed: true }]
])
/** Policy and control planes: they run on services, whatever stands behind these. */
const decidingFixtures = ["layers/access", "layers/resolution", "layers/control/standalone"].flatMap(
  (place): ReadonlyArray<readonly [string, Fixture]> => [
    [`${place} to node`, { in: place, code: values("node:fs"), allowed: false }],
    [`${place} to node's short names`, { in: place, code: values("fs"), allowed: false }],
    [`${place} to platform-node`, { in: place, code: values("@effect/platform-node/NodeWS"), allowed: false }],
    [`${place} to koffi`, { in: place, code: values("koffi"), allowed: false }],
    [`${place} to the effect barrel`, { in: place, code: values("effect"), allowed: false }],
    [`${place} to native`, { in: place, code: values(`${below(place)}dataplane/native/fds.ts`), allowed: false }],
    [`${place} to an effect module`, { in: place, code: values("effect/Effect"), allowed: true }]
  ]
)
/** What is for trying and testing only is no part of a gateway. */
const rooms = [
  "access",
  "config",
  "control/standalone",
  "dataplane",
  "dns",
  "host",
  "loops",
  "model",
  "resolution",
  ...pure.map((place) => place.slice(4))
]
const labFixtures = [
  ...rooms.map((room) => `src/${room}`),
  "layers/access",
  "layers/control/firezone",
  "layers/dns",
  "layers/host",
  "layers/dataplane",
  "layers/dataplane/native",
  "layers/memory"
].map((place): readonly [string, Fixture] => [
  `${place} to the lab`,
  { in: place, code: values(`${below(place)}lab/demo/telling.ts`), allowed: false }
])
const all = Object.entries({
  ...fixtures,
  ...Object.fromEntries([...pureFixtures, ...decidingFixtures, ...labFixtures])
})
const fileOf = (i: number) => Path.join(all[i]![1].in, `fixture${i}.ts`)

interface Diagnostic {
  readonly code: string
  readonly filename: string
}

describe("the import rules", { timeout: 30_000 }, () => {
  let broken: ReadonlySet<string> = new Set()

  beforeAll(async () => {
    // The project's rules over a tree of fixtures with the project's folders.
    const tree = Fs.mkdtempSync(Path.join(Os.tmpdir(), "import-rules-"))
    try {
      Fs.copyFileSync(Path.join(root, ".oxlintrc.json"), Path.join(tree, ".oxlintrc.json"))
      for (const [i, [, fixture]] of all.entries()) {
        Fs.mkdirSync(Path.join(tree, fixture.in), { recursive: true })
        Fs.writeFileSync(Path.join(tree, fileOf(i)), fixture.code)
      }
      const oxlint = Path.join(root, "node_modules/oxlint/bin/oxlint")
      const output = await new Promise<string>((resolve) => {
        // It exits with 1 because it finds what it should.
        const options = { cwd: tree, timeout: 20_000, maxBuffer: 1 << 24 }
        execFile(process.execPath, [oxlint, "--format", "json"], options, (_error, out) => resolve(out))
      })
      const { diagnostics } = JSON.parse(output) as { readonly diagnostics: ReadonlyArray<Diagnostic> }
      const restricted = diagnostics.filter(({ code }) => code.includes("no-restricted-imports"))
      broken = new Set(restricted.map(({ filename }) => Path.normalize(filename)))
    } finally {
      Fs.rmSync(tree, { recursive: true, force: true })
    }
  })

  for (const [i, [title, fixture]] of all.entries()) {
    it(`${fixture.allowed ? "allow" : "forbid"} ${title}`, () => {
      assert.strictEqual(broken.has(fileOf(i)), !fixture.allowed)
    })
  }
})
