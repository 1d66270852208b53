/** The lab's requirements, checked before anything is made, so that a lack of it is one clear line. */
import { spawn } from "node:child_process"
import { accessSync, constants, existsSync } from "node:fs"
import * as Effect from "effect/Effect"
import { LabError } from "../../src/lab/demo/Lab.ts"
import { attemptCommand } from "./command.ts"
import { lackOf, needsRoot } from "./requirements.ts"

const inside = "SALLYPORT_LAB_USER_NAMESPACE"

/** Fails with the fix when a tool, the TUN device or the right to make network namespaces is missing. */
export const checkPrivileges: Effect.Effect<void, LabError> = Effect.suspend(() =>
  Effect.andThen(checkTools, refuse(lackOf({ root: process.geteuid?.() === 0, tun: tunDevice() })))
)

/**
 * Runs this same command line again in a user namespace of its own, where an ordinary user may make networks, and
 * yields its exit code; `null` when that is not needed (already root). Fails with the fix where the kernel forbids it.
 */
export const runUnprivileged: Effect.Effect<number | null, LabError> = Effect.gen(function* () {
  if (process.geteuid?.() === 0) return null
  yield* checkTools
  yield* refuse(lackOf({ root: true, tun: tunDevice() }))
  const shell = ["--user", "--map-root-user", "--net", "--mount", "sh", "-c"]
  const allowed = yield* attemptCommand([
    "unshare",
    ...shell,
    "mount -t tmpfs tmpfs /run && test -w /dev/net/tun"
  ]).pipe(
    Effect.map((result) => result.code === 0),
    Effect.orElseSucceed(() => false)
  )
  if (!allowed || process.env[inside] !== undefined) return yield* new LabError({ message: needsRoot })
  return yield* Effect.callback<number>((resume) => {
    const script = 'mount -t tmpfs tmpfs /run && exec "$@"'
    const command = [...shell, script, "sh", process.execPath, ...process.execArgv, ...process.argv.slice(1)]
    const child = spawn("unshare", command, { stdio: "inherit", env: { ...process.env, [inside]: "1" } })
    child.on("error", () => resume(Effect.succeed(1)))
    child.on("close", (code) => resume(Effect.succeed(code ?? 1)))
    return Effect.callback<void>((done) => {
      child.on("close", () => done(Effect.void))
      child.kill("SIGTERM")
    })
  })
})

/** Command, how to try it, Debian package; the rows `demo` of `test/tooling/ensureTools.sh`, for those without a clone. */
const demoTools = [
  ["ip", "-V", "iproute2"],
  ["nft", "--version", "nftables"]
] as const

const checkTools = Effect.gen(function* () {
  // A user's search path often lacks where Debian puts these; the demo's own commands inherit it.
  process.env["PATH"] = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`
  const missing: Array<string> = []
  for (const [tool, flag, name] of demoTools) {
    const there = yield* Effect.exit(attemptCommand([tool, flag]))
    if (there._tag === "Failure") missing.push(name)
  }
  yield* refuse(missing.length === 0 ? null : `tools are missing: sudo apt-get install ${missing.join(" ")}`)
})

const refuse = (problem: string | null): Effect.Effect<void, LabError> =>
  problem === null ? Effect.void : Effect.fail(new LabError({ message: problem }))

const tunDevice = (): "usable" | "denied" | "missing" => {
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK)
    return "usable"
  } catch {
    return existsSync("/dev/net/tun") ? "denied" : "missing"
  }
}
