/** A foreign database: Debian's PostgreSQL, with a directory of its own and a port on loopback, or in a network of its own. */
import { execFileSync, execFile, spawn } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { Effect, Schema, type Scope } from "effect"
import type { Certificate } from "./certificates.ts"
import { somePort } from "./somePort.ts"

export interface PostgresOptions {
  /** Of whoever connects over TCP; default: nobody is asked for one. */
  readonly password?: string
  /** With it connections may be encrypted; default: none is. */
  readonly certificate?: Certificate
  /** Follows this one, and can only be read until it is promoted. */
  readonly standbyOf?: Postgres
  /** The network namespace and the address there that it is served at; default: this one's loopback. */
  readonly within?: { readonly namespace: string; readonly address: string }
  /** So many at a time; default: 50. */
  readonly connections?: number
  /** What was committed is on the disk; default: it is lost with the machine, not with the process. */
  readonly durable?: boolean
  /** Where its directory is made; default: where temporary files are. */
  readonly under?: string
  /** The directory of `initdb`, `postgres` and the others; default: Debian's newest one. */
  readonly programs?: string
}

export class PostgresError extends Schema.TaggedError<PostgresError>()("PostgresError", { message: Schema.String }) {}

export interface Postgres {
  /** On 127.0.0.1, or the address that was asked for. Everybody is `sallyport` there. */
  readonly port: number
  /** A database that nobody has used yet, owned by `sallyport`. */
  readonly database: Effect.Effect<string, PostgresError>
  /** A superuser's statement; the rows of its answer, a line each, with `|` between columns. */
  readonly sql: (text: string, database?: string) => Effect.Effect<string, PostgresError>
  /** SIGKILL to all of its processes; it may be started again. */
  readonly kill: Effect.Effect<void>
  /** Again, after `kill`. */
  readonly start: Effect.Effect<void, PostgresError>
  /** Keeps all that a killed one has; yields what puts that back, once, when it is killed again. */
  readonly backUp: Effect.Effect<Effect.Effect<void>>
  /** SIGSTOP and SIGCONT to all of its processes: connections stand, and nothing answers. */
  readonly suspend: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
  /** Makes a standby the one that is written to. */
  readonly promote: Effect.Effect<void, PostgresError>
}

/** Yields when it is ready. Ended by its id when the scope closes, and nothing of it stays. */
export const startPostgres: (options?: PostgresOptions) => Effect.Effect<Postgres, PostgresError, Scope.Scope> =
  Effect.fnUntraced(function* (options = {}) {
    const programs = yield* Effect.try({
      try: () => options.programs ?? findPrograms(),
      catch: (cause) => failed("cannot be found", cause)
    })
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => fs.mkdtempSync(join(options.under ?? tmpdir(), "sallyport-postgres-"))),
      (path) => Effect.sync(() => fs.rmSync(path, { recursive: true, force: true }))
    )
    const data = join(directory, "data")
    own(directory)
    const { within } = options
    const there = within === undefined ? asUser : ["ip", "netns", "exec", within.namespace, ...asUser]
    /** Of these programs as the user that the server runs as. */
    const run = (program: string, ...args: ReadonlyArray<string>) =>
      Effect.tryPromise({
        try: async (signal) => {
          const [command = "", ...rest] = [...there, join(programs, program), ...args]
          const { stdout } = await promisify(execFile)(command, rest, { cwd: directory, timeout: 60_000, signal })
          return stdout.trim()
        },
        catch: (cause) => failed(program, cause)
      })

    if (options.standbyOf === undefined) {
      yield* run("initdb", "--no-sync", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", data)
      const method = options.password === undefined ? "trust" : "scram-sha-256"
      fs.writeFileSync(
        join(data, "pg_hba.conf"),
        [
          "local all postgres trust",
          "host replication postgres 127.0.0.1/32 trust",
          `host all sallyport all ${method}`,
          ""
        ].join("\n")
      )
    } else {
      const from = [`--host=127.0.0.1`, `--port=${options.standbyOf.port}`, "--username=postgres"]
      yield* run(
        "pg_basebackup",
        ...from,
        "--write-recovery-conf",
        "--checkpoint=fast",
        "--no-sync",
        `--pgdata=${data}`
      )
    }
    const settings = [
      `listen_addresses=${within?.address ?? "127.0.0.1"}`,
      `unix_socket_directories=${directory}`,
      `fsync=${options.durable === true ? "on" : "off"}`,
      "shared_buffers=16MB",
      // In files of the directory, which goes as a whole.
      "dynamic_shared_memory_type=mmap",
      `max_connections=${options.connections ?? 50}`
    ]
    if (options.certificate !== undefined) {
      for (const part of ["cert", "key"] as const) {
        const path = join(directory, `${part}.pem`)
        fs.writeFileSync(path, options.certificate[part], { mode: 0o600 })
        own(path)
        settings.push(`ssl_${part}_file=${path}`)
      }
      settings.push("ssl=on")
    }

    let port = 0
    let running: ReturnType<typeof spawn> | undefined
    let output = ""
    const start = Effect.callback<void, PostgresError>((resume) => {
      const flags = [...settings, `port=${port}`].flatMap((setting) => ["-c", setting])
      const [command = "", ...args] = [...there, join(programs, "postgres"), "-D", data, ...flags]
      const child = spawn(command, args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] })
      running = child
      output = ""
      const end = (why: string) => resume(Effect.fail(new PostgresError({ message: `postgres ${why}: ${output}` })))
      child.stderr.on("data", (chunk: Buffer) => {
        output = `${output}${chunk.toString()}`.slice(-10_000)
        if (/database system is ready to accept/.test(output)) resume(Effect.void)
      })
      child.on("error", (error) => end(`cannot be started (${error.message})`))
      child.on("exit", (code) => end(`ended with ${code}`))
    }).pipe(
      Effect.timeoutOrElse({
        duration: "30 seconds",
        orElse: () => Effect.fail(new PostgresError({ message: `postgres is not ready after 30 s: ${output}` }))
      })
    )
    const signal = (name: NodeJS.Signals) => Effect.sync(() => signalToAll(running?.pid, name))
    const kill = Effect.promise(async () => {
      const child = running
      running = undefined
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
      const ended = once(child, "exit")
      signalToAll(child.pid, "SIGKILL")
      await ended
    })
    // Also one that is never ready.
    yield* Effect.addFinalizer(() =>
      Effect.andThen(
        kill,
        Effect.sync(() => removeSharedMemory(data))
      )
    )
    yield* Effect.suspend(() => {
      port = somePort()
      return start
    }).pipe(Effect.retry({ while: ({ message }) => message.includes("Address already in use"), times: 9 }))

    const sql = (text: string, database = "postgres") =>
      run(
        "psql",
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        `--host=${directory}`,
        `--port=${port}`,
        "-U",
        "postgres",
        "-c",
        text,
        database
      )
    if (options.standbyOf === undefined) {
      yield* sql(
        `CREATE ROLE sallyport LOGIN ${options.password === undefined ? "" : `PASSWORD '${options.password}'`}`
      )
    }
    let databases = 0
    return {
      port,
      database: Effect.suspend(() => {
        const name = `site${++databases}`
        return Effect.as(sql(`CREATE DATABASE ${name} OWNER sallyport`), name)
      }),
      sql,
      kill,
      start,
      backUp: Effect.promise(async () => {
        const kept = join(directory, "backup")
        await promisify(execFile)("cp", ["-a", data, kept], { timeout: 60_000 })
        return Effect.sync(() => {
          removeSharedMemory(data)
          fs.rmSync(data, { recursive: true })
          fs.rmSync(join(kept, "postmaster.pid"))
          fs.renameSync(kept, data)
        })
      }),
      suspend: signal("SIGSTOP"),
      resume: signal("SIGCONT"),
      promote: Effect.asVoid(sql("SELECT pg_promote()"))
    }
  })

const failed = (what: string, cause: unknown) =>
  new PostgresError({ message: `PostgreSQL: ${what}: ${cause instanceof Error ? cause.message : String(cause)}` })

const findPrograms = (): string => {
  const root = "/usr/lib/postgresql"
  const versions = fs.existsSync(root) ? fs.readdirSync(root).map(Number) : []
  for (const version of versions.toSorted((a, b) => b - a)) {
    const directory = join(root, String(version), "bin")
    if (fs.existsSync(join(directory, "postgres"))) return directory
  }
  throw new Error("it is not installed: sh test/tooling/ensureTools.sh test")
}

/** It refuses to be root's. */
const isRoot = process.getuid?.() === 0
const asUser = isRoot ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] : []

const own = (path: string): void => {
  if (isRoot) execFileSync("chown", ["postgres:postgres", path], { timeout: 10_000 })
}

/** To the server and those that serve for it. A stopped one starts no more of them meanwhile. */
const signalToAll = (pid: number | undefined, name: NodeJS.Signals): void => {
  if (pid === undefined) return
  signalTo(pid, "SIGSTOP")
  const entries = fs.readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))
  for (const child of entries.filter((entry) => parentOf(entry) === pid)) signalTo(Number(child), name)
  signalTo(pid, name)
}

const parentOf = (pid: string): number | undefined => {
  try {
    return Number(/^PPid:\s+(\d+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1])
  } catch {
    return undefined
  }
}

const signalTo = (pid: number, name: NodeJS.Signals): void => {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended by itself.
  }
}

/** One that was killed leaves a segment behind, which its next start would have taken. */
const removeSharedMemory = (data: string): void => {
  const file = join(data, "postmaster.pid")
  const id = fs.existsSync(file) ? /^ *\d+ +(\d+) *$/m.exec(fs.readFileSync(file, "utf8"))?.[1] : undefined
  if (id !== undefined) execFileSync("ipcrm", ["-m", id], { timeout: 10_000 })
}
