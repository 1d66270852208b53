/** A foreign relay: Debian's coturn (`turnserver`), on loopback or inside a network namespace. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Schema, type Scope } from "effect"

export interface CoturnOptions {
  /** Where it listens and relays from, one address per family. */
  readonly addresses: ReadonlyArray<string>
  /** Default 3478. */
  readonly port?: number
  /** Default `ann`: `secret`. */
  readonly users?: Readonly<Record<string, string>>
  /** Of relayed addresses; default 49152 to 65535. */
  readonly ports?: readonly [number, number]
  /** More flags (`--stale-nonce=1`, `--denied-peer-ip=…`). */
  readonly flags?: ReadonlyArray<string>
  /** A network namespace; default: the one of this process. */
  readonly namespace?: string
}

export class CoturnError extends Schema.TaggedError<CoturnError>()("CoturnError", { message: Schema.String }) {}

export interface Coturn {
  /** SIGKILL, nothing is said to anybody; it may be started again. */
  readonly kill: Effect.Effect<void>
  /** Again, after `kill`: with the same addresses and nothing else kept. */
  readonly start: Effect.Effect<void, CoturnError>
  /** SIGSTOP and SIGCONT: a black hole for a while. */
  readonly suspend: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** The last lines of its log. */
  readonly output: Effect.Effect<string>
}

/** The command line, for those who start it in their own way; `directory` must exist and be its own. */
const coturnCommand = (options: CoturnOptions, directory: string): ReadonlyArray<string> => [
  "turnserver",
  "-n",
  ...options.addresses.flatMap((address) => [`--listening-ip=${address}`, `--relay-ip=${address}`]),
  `--listening-port=${options.port ?? 3478}`,
  `--min-port=${options.ports?.[0] ?? 49_152}`,
  `--max-port=${options.ports?.[1] ?? 65_535}`,
  "--realm=firezone",
  "--lt-cred-mech",
  ...Object.entries(options.users ?? { ann: "secret" }).map(([name, password]) => `--user=${name}:${password}`),
  "--allow-loopback-peers",
  "--no-cli",
  "--no-tls",
  "--no-dtls",
  "--no-tcp",
  "--no-tcp-relay",
  "--log-file=stdout",
  "--simple-log",
  `--pidfile=${join(directory, "turnserver.pid")}`,
  `--userdb=${join(directory, "turndb")}`,
  ...(options.flags ?? [])
]

/** Yields when it is ready. Killed by its id when the scope closes. */
export const startCoturn: (options: CoturnOptions) => Effect.Effect<Coturn, CoturnError, Scope.Scope> =
  Effect.fnUntraced(function* (options) {
    const directory = yield* Effect.acquireRelease(
      Effect.promise(() => mkdtemp(join(tmpdir(), "sallyport-coturn-"))),
      (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
    )
    const prefix = options.namespace === undefined ? [] : ["ip", "netns", "exec", options.namespace]
    let running: ReturnType<typeof spawn> | undefined
    let output = ""
    const kill = Effect.promise(async () => {
      const child = running
      running = undefined
      if (child === undefined || child.exitCode !== null) return
      const ended = once(child, "exit")
      child.kill("SIGKILL")
      await ended
    })
    const start = Effect.callback<void, CoturnError>((resume) => {
      const [program = "", ...args] = [...prefix, ...coturnCommand(options, directory)]
      const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] })
      running = child
      const since = output.length
      const failed = (why: string) => resume(Effect.fail(new CoturnError({ message: `turnserver ${why}: ${output}` })))
      const timer = setTimeout(failed, 15_000, "is not ready after 15 s")
      const read = (chunk: Buffer) => {
        output += chunk.toString()
        if (/Total auth threads|SQLite DB connection success/.test(output.slice(since))) {
          clearTimeout(timer)
          resume(Effect.void)
        }
      }
      child.stdout.on("data", read)
      child.stderr.on("data", read)
      child.on("error", (error) => failed(`cannot be started (${error.message})`))
      child.on("exit", (code) => {
        clearTimeout(timer)
        failed(`ended with ${code}`)
      })
    })
    const signal = (name: "SIGSTOP" | "SIGCONT") => Effect.sync(() => void running?.kill(name))
    yield* Effect.acquireRelease(start, () => kill)
    return {
      kill,
      start,
      suspend: signal("SIGSTOP"),
      resume: signal("SIGCONT"),
      output: Effect.sync(() => output.slice(-4_000))
    }
  })
