import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import { defaultConfigPath } from "../config/defaultPaths.ts"
import { parseTarget } from "../config/values.ts"
import { formatTarget, type Target } from "../model/Target.ts"
import { askGateway, type ControlError } from "./ControlClient.ts"
import { controlSocketFlags, controlSocketOf } from "./controlSocketFlags.ts"
import { Explanation } from "./explanation.ts"
import { load } from "./load.ts"
import { renderExplanation } from "./renderExplanation.ts"
import { Screen, SomethingWrong } from "./showStatus.ts"
import { switchFlag } from "./switchFlag.ts"
import { fromFlag } from "./usageError.ts"

/** Of the gateway, which looks names up for it. */
const withinMs = 20_000

/** `sallyport explain CLIENT NAME[:PORT]`: why the client reaches it, or what is in its way. */
export const explain = Command.make(
  "explain",
  {
    client: Argument.String("client").pipe(Argument.withDescription("A client of the gateway")),
    target: Argument.String("target").pipe(
      Argument.withDescription("NAME, NAME:443, NAME:53/udp or NAME/icmp, or an address in the place of the name")
    ),
    json: switchFlag("json", "Print the explanation as JSON"),
    ...controlSocketFlags
  },
  Effect.fnUntraced(function* ({ client, json, target, ...where }) {
    const wanted = yield* fromFlag("target", parseTarget(target))
    const question = new URLSearchParams({ client, target: formatTarget(wanted) })
    const request = { method: "GET", path: `/v1/explain?${question.toString()}`, withinMs } as const
    const explanation = yield* askGateway(yield* controlSocketOf(where), request, Explanation).pipe(
      Effect.catchIf(
        ({ notRunning }) => notRunning === true,
        (error) =>
          byFileAlone(
            Option.getOrElse(where.config, () => defaultConfigPath),
            client,
            wanted,
            error
          )
      )
    )
    yield* Console.log(json ? JSON.stringify(explanation) : renderExplanation(explanation, (yield* Screen)()))
    if (explanation.reaches !== "yes") return yield* new SomethingWrong({ message: "not reachable" })
  })
).pipe(Command.withDescription("Say why a client reaches a name or an address, or what is in its way"))

/** Where no gateway runs. */
const byFileAlone = Effect.fnUntraced(function* (file: string, client: string, target: Target, error: ControlError) {
  const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
  const { explainAccess } = yield* load(() => import("./explainAccess.ts"))
  const { destinationsOf } = yield* load(() => import("../control/standalone/policyTests.ts"))
  const { readNameFiles } = yield* load(() => import("./readNameFiles.ts"))
  const fs = yield* FileSystem.FileSystem
  // Without a file there is nothing to say but that no gateway runs.
  if (!(yield* Effect.orElseSucceed(fs.exists(file), () => true))) return yield* error
  const policy = yield* readConfig(file)
  const [notRunning] = error.message.split(" — ")
  const sources = {
    kind: "file",
    policy,
    files: yield* readNameFiles(policy.block),
    destinations: destinationsOf(policy),
    running: { notRunning: notRunning! }
  } as const
  return yield* explainAccess(sources, client, target, yield* Clock.currentTimeMillis)
})
