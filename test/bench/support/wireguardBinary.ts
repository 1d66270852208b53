/** Which wireguard-go the gateway is measured against. */
import { createHash } from "node:crypto"
import { existsSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import process from "node:process"
import { Effect, Schema } from "effect"
import { attemptCommand } from "../../../layers/lab/command.ts"
import { LabError } from "../../../src/lab/demo/Lab.ts"
import { ageWarning, readGoVersion, readModuleVersion } from "./wireguardVersions.ts"

export interface WireguardBinary {
  readonly path: string
  /** The module version in the binary, else what `--version` says. */
  readonly version: string
  /** The Go version that built it. */
  readonly go: string
  readonly sha256: string
  /** It knows UDP GSO. Without, comparisons mean nothing. */
  readonly offloads: boolean
  /** One line when it is older than the newest module, or when that could not be found out. */
  readonly warning: string | null
}

const module = "golang.zx2c4.com/wireguard"
/** The module version that is built where nothing else is given: the newest on 2026-11-29. */
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
  const version = readModuleVersion(text) ?? (/v?\d[\w.-]*/.exec(stdout)?.[0] || "of unknown version")
  return {
    path,
    version,
    go: readGoVersion(text) ?? "an unknown Go",
    sha256: createHash("sha256").update(bytes).digest("hex"),
    offloads: text.includes("setGSOSize"),
    warning: ageWarning(version, builtVersion, yield* latestVersion)
  }
})

/** How reports and records name the peer. */
export const peerTitle = ({ go, version }: WireguardBinary): string => `wireguard-go ${version} built with ${go}`

/** What a Go command prints; `null` when it fails, or there is no Go. */
const go = (parameters: ReadonlyArray<string>, timeout: "20 seconds" | "5 minutes", env = {}) =>
  attemptCommand(["go", ...parameters], { timeout, env }).pipe(
    Effect.map(({ code, stdout }) => (code === 0 ? stdout.trim() : null)),
    Effect.orElseSucceed(() => null)
  )

/** One binary per toolchain, as figures name it. */
const build: Effect.Effect<string | null> = Effect.gen(function* () {
  const toolchain = yield* go(["env", "GOVERSION"], "20 seconds")
  if (toolchain === null) return null
  const directory = join(tmpdir(), `sallyport-bench-${builtVersion}-${toolchain}`)
  const path = join(directory, "wireguard")
  if (existsSync(path)) return path
  const built = yield* go(["install", `${module}@${builtVersion}`], "5 minutes", { GOBIN: directory })
  return built !== null && existsSync(path) ? path : null
})

const Module = Schema.fromJsonString(Schema.Struct({ Version: Schema.String }))

const latestVersion: Effect.Effect<string | null> = go(["list", "-m", "-json", `${module}@latest`], "20 seconds").pipe(
  Effect.flatMap((text) => Schema.decodeEffect(Module)(text ?? "")),
  Effect.match({ onSuccess: ({ Version }) => Version, onFailure: () => null })
)

const installed: Effect.Effect<string, LabError> = Effect.gen(function* () {
  const { stdout } = yield* attemptCommand(["sh", "-c", "command -v wireguard-go"])
  const path = stdout.trim()
  if (path !== "") return path
  return yield* new LabError({
    message: "there is no wireguard-go to compare with: give one by WIREGUARD_GO=path, or install a Go toolchain"
  })
})
