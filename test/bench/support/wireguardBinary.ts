/** Which wireguard-go the gateway is measured against. */
import { createHash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { Effect } from "effect"
import { attemptCommand } from "../../../layers/lab/command.ts"
import { LabError } from "../../../src/lab/demo/Lab.ts"

export interface WireguardBinary {
  readonly path: string
  /** The module version in the binary, else what `--version` says. */
  readonly version: string
  readonly sha256: string
  /** It knows UDP GSO. Without, comparisons mean nothing. */
  readonly offloads: boolean
}

/** The module version that is built where nothing else is given. */
const builtVersion = "v0.0.0-20260522210424-ecfc5a8d5446"

/** `WIREGUARD_GO=path`, else built by a Go toolchain (kept in the temporary directory), else the one in the path. */
export const findWireguardGo: Effect.Effect<WireguardBinary, LabError> = Effect.gen(function* () {
  const given = process.env["WIREGUARD_GO"]
  const path = given ?? (yield* build) ?? (yield* installed)
  const bytes = yield* Effect.try({
    try: () => readFileSync(path),
    catch: (error) => new LabError({ message: `cannot read wireguard-go: ${String(error)}` })
  })
  const text = bytes.toString("latin1")
  const { stdout } = yield* attemptCommand([path, "--version"])
  return {
    path,
    version: /golang\.zx2c4\.com\/wireguard\t(v[0-9a-z.-]+)/.exec(text)?.[1] ?? (stdout.split("\n")[0] || "unknown"),
    sha256: createHash("sha256").update(bytes).digest("hex"),
    offloads: text.includes("setGSOSize")
  }
})

const build: Effect.Effect<string | null, LabError> = Effect.gen(function* () {
  const directory = join(tmpdir(), `sallyport-bench-${builtVersion}`)
  const path = join(directory, "wireguard")
  if (existsSync(path)) return path
  const built = yield* attemptCommand(["go", "install", `golang.zx2c4.com/wireguard@${builtVersion}`], {
    timeout: "5 minutes",
    env: { GOBIN: directory }
  }).pipe(Effect.orElseSucceed(() => null))
  return built?.code === 0 && existsSync(path) ? path : null
})

const installed: Effect.Effect<string, LabError> = Effect.gen(function* () {
  const { stdout } = yield* attemptCommand(["sh", "-c", "command -v wireguard-go"])
  const path = stdout.trim()
  if (path !== "") return path
  return yield* new LabError({
    message: "there is no wireguard-go to compare with: give one by WIREGUARD_GO=path, or install a Go toolchain"
  })
})
