import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import { ConfigError } from "../config/problem.ts"
import { concat } from "../packet/bytes.ts"
import { configFlag } from "./configFlag.ts"
import { fetchLog } from "./fetchLog.ts"
import { HostProbes } from "./HostProbes.ts"
import { load } from "./load.ts"

/** `sallyport bugreport [FILE]`: what a helper far away needs to see, without what tells whose gateway it is. */
export const bugreport = Command.make(
  "bugreport",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription("Where the archive (tar) goes; default: a name with the date, in this directory"),
      Argument.optional
    ),
    config: configFlag
  },
  Effect.fnUntraced(function* ({ config, file }) {
    const { bugReportFiles } = yield* load(() => import("./bugReportFiles.ts"))
    const { doctorReport } = yield* load(() => import("./doctorReport.ts"))
    const { examine } = yield* load(() => import("./examine.ts"))
    const facts = yield* examine(config)
    const at = yield* Clock.currentTimeMillis
    const { gateway, socket } = facts
    const entries = bugReportFiles({
      file: config,
      config: yield* valueOf(config),
      devices: yield* devicesBut(facts.wanted?.plan.device),
      doctor: doctorReport(facts, at),
      status: gateway._tag === "Runs" ? { found: gateway.report } : { missing: gateway.why },
      log: gateway._tag === "Runs" ? yield* logOf(socket) : { missing: gateway.why },
      versions: yield* (yield* HostProbes).versions
    })
    const path = Option.getOrElse(file, () => `sallyport-bugreport-${stamp(at)}.tar`)
    yield* write(path, yield* archive(entries, at))
    yield* Console.log(
      `${path}: ${entries.map((entry) => entry.path).join(" ")}; names, addresses, keys and paths have other words in it — look it through before you hand it on`
    )
  })
).pipe(
  Command.withDescription(
    "Pack what a helper far away needs to see, without names, addresses and keys; changes nothing"
  )
)

/** `2026-11-30T10-21-00Z` */
const stamp = (at: number): string =>
  DateTime.formatIso(DateTime.makeUnsafe(at)).replace(/\.\d+/, "").replaceAll(":", "-")

/** What the file says, right or wrong. */
const valueOf = Effect.fnUntraced(function* (file: string) {
  const { readBounded } = yield* load(() => import("../config/readConfig.ts"))
  const { parseYaml } = yield* load(() => import("../config/yamlSource.ts"))
  const text = yield* Effect.result(readBounded(file))
  if (Result.isFailure(text)) return { missing: text.failure.message }
  const parsed = parseYaml(text.success)
  return Result.isSuccess(parsed) ? { found: parsed.success.value } : { missing: "the file is no correct YAML" }
})

const devicesBut = Effect.fnUntraced(function* (own: string | undefined) {
  const fs = yield* FileSystem.FileSystem
  const devices = yield* fs.readDirectory("/sys/class/net").pipe(Effect.orElseSucceed(() => []))
  return devices.filter((device) => device !== "lo" && device !== own)
})

const logOf = (socket: string) =>
  Effect.match(Stream.runCollect(fetchLog(socket)), {
    onSuccess: (found) => ({ found }),
    onFailure: ({ message }) => ({ missing: message })
  })

const archive = Effect.fnUntraced(function* (
  entries: ReadonlyArray<{ readonly path: string; readonly text: string }>,
  at: number
) {
  const Tar = yield* load(() => import("effect/encoding/Tar"))
  const options = { mode: 0o600, mtime: DateTime.toDateUtc(DateTime.makeUnsafe(at)) }
  return concat(
    yield* Stream.fromIterable(
      entries.map(({ path, text }) => Tar.file(`sallyport-bugreport/${path}`, text, options))
    ).pipe(Stream.pipeThroughChannel(Tar.encode()), Stream.runCollect)
  )
})

const write = Effect.fnUntraced(function* (path: string, bytes: Uint8Array) {
  const fs = yield* FileSystem.FileSystem
  yield* fs.writeFile(path, bytes, { flag: "wx", mode: 0o600 }).pipe(
    Effect.mapError(
      ({ reason }) =>
        new ConfigError({
          message:
            reason._tag === "AlreadyExists"
              ? `${path} is there already — name another file`
              : `${path} cannot be written (${reason._tag}) — name a file in a directory that you may write`
        })
    )
  )
})
