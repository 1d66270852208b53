/** A gateway as its operator runs it: by hand, with flags, on a host that may lack something. */
import { assert } from "@effect/vitest"
import { Effect, Schedule, type Scope } from "effect"
import { existsSync, readdirSync, readFileSync } from "node:fs"
import * as ControlClient from "../../layers/cli/ControlClient.ts"
import { askGateway } from "../../src/cli/ControlClient.ts"
import { Explanation } from "../../src/cli/explanation.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import { type CommandResult, Lab, type LabError, type LabProcess } from "../../src/lab/demo/Lab.ts"
import { statusAt } from "../../src/lab/demo/statusAt.ts"

/** The one line of a command that failed. Log lines may precede it; a stack trace or a second line may not. */
export const onlyLine = ({ code, stderr, stdout }: CommandResult): string => {
  const lines = stderr.split("\n").filter((line) => line !== "" && !isLog(line))
  assert.strictEqual(code, 1, stderr)
  assert.strictEqual(stdout, "")
  assert.strictEqual(lines.length, 1, stderr)
  assertNoTrace(stderr)
  return lines[0] ?? ""
}

/** No stack trace, no thrown error as Node prints them. */
export const assertNoTrace = (text: string): void => assert.notMatch(text, /^\s+at |node:internal|Error:/m)

const isLog = (line: string): boolean => /^timestamp=\S+ level=/.test(line)

/** Everything of a gateway (device `sallyport0`) that a host could be left with. */
export const traces = Effect.gen(function* () {
  const lab = yield* Lab
  const lines = (...command: ReadonlyArray<string>) =>
    Effect.map(lab.exec("gateway", command), (text) => text.split("\n").filter((line) => line.trim() !== ""))
  return {
    tables: (yield* lines("nft", "list", "tables")).filter((line) => line.includes("sallyport")),
    routes: (yield* lines("ip", "route", "show", "table", "all")).filter((line) =>
      /sallyport0|100\.(64|96)\./.test(line)
    ),
    devices: (yield* lines("ip", "-o", "link")).filter((line) => /^\d+: sallyport/.test(line)),
    sockets: (yield* lines("ss", "-Hlntu")).filter((line) => /:(53|51820)\s/.test(line)),
    control: readdirSync(lab.directory).filter((file) => file.endsWith(".sock") || file.startsWith(".s-"))
  }
})

export const nothing = { tables: [], routes: [], devices: [], sockets: [], control: [] }

/** What `sallyport explain` asks of the gateway at the socket, without the time that a program takes to start. */
export const explainAt = (socket: string, client: string, target: string) => {
  const path = `/v1/explain?${new URLSearchParams({ client, target }).toString()}` as const
  return Effect.provide(askGateway(socket, { method: "GET", path, withinMs: 20_000 }, Explanation), ControlClient.layer)
}

export interface Operated {
  readonly process: LabProcess
  readonly configPath: string
  readonly stateDir: string
  /** All of standard error so far. */
  readonly log: Effect.Effect<string>
  /** Waits until the control socket answers; fails with the log when the process ends before. */
  readonly ready: Effect.Effect<StatusReport>
}

/** Writes the file (state directory and control socket added) and yields it with the command line that runs it. */
export const upCommand = Effect.fnUntraced(function* (options: {
  readonly name: string
  readonly config: string
  readonly flags?: ReadonlyArray<string>
}) {
  const lab = yield* Lab
  const { config, flags = [], name } = options
  const socket = `${lab.directory}/${name}.sock`
  const stateDir = `${lab.directory}/${name}-state`
  const configPath = yield* lab.writeFile(
    `${name}.yaml`,
    `${config.trimEnd()}\nstate_dir: ${stateDir}\ncontrol_socket: ${socket}\n`
  )
  return {
    configPath,
    socket,
    stateDir,
    command: [...lab.program("sallyport"), "up", "--config", configPath, ...flags]
  }
})

/** Runs `up` to its end, `wrap` before the command line; for gateways that must not start. */
export const attemptUp = Effect.fnUntraced(function* (options: {
  readonly name: string
  readonly config: string
  readonly flags?: ReadonlyArray<string>
  readonly wrap?: ReadonlyArray<string>
}) {
  const lab = yield* Lab
  const { command } = yield* upCommand(options)
  return yield* lab.attempt("gateway", [...(options.wrap ?? []), ...command], { timeout: "20 seconds" })
})

/** Starts `up`; its standard error goes to a file, so that nothing of it is lost. Stopped with the scope. */
export const operate: (options: {
  readonly name: string
  readonly config: string
  readonly flags?: ReadonlyArray<string>
  readonly wrap?: ReadonlyArray<string>
}) => Effect.Effect<Operated, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (options) {
  const lab = yield* Lab
  const { command, configPath, socket, stateDir } = yield* upCommand(options)
  const logPath = `${lab.directory}/${options.name}-${serial++}.log`
  const child = yield* lab.spawn("gateway", [
    "sh",
    "-c",
    'log=$1; shift; exec "$@" 2>"$log"',
    "sh",
    logPath,
    ...(options.wrap ?? []),
    ...command
  ])
  const log = Effect.sync(() => (existsSync(logPath) ? readFileSync(logPath, "utf8") : ""))
  const ready = statusAt(lab, socket).pipe(
    Effect.retry(Schedule.spaced("50 millis")),
    Effect.timeout("20 seconds"),
    Effect.raceFirst(Effect.andThen(child.exit, Effect.fail("ended"))),
    Effect.catch((error) =>
      Effect.flatMap(log, (text) => Effect.die(new Error(`not ready: ${String(error)}\n${text}`)))
    )
  )
  return { process: child, configPath, stateDir, log, ready }
})

let serial = 0
