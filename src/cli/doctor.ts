import * as Command from "effect/cli/Command"
import * as Clock from "effect/Clock"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { configFlag } from "./configFlag.ts"
import { load } from "./load.ts"
import { Screen, SomethingWrong } from "./showStatus.ts"
import { switchFlag } from "./switchFlag.ts"

/** `sallyport doctor`: everything that a gateway here needs, looked at. Touches nothing. */
export const doctor = Command.make(
  "doctor",
  { config: configFlag, json: switchFlag("json", "Print the sheet as JSON") },
  Effect.fnUntraced(function* ({ config, json }) {
    const { doctorReport } = yield* load(() => import("./doctorReport.ts"))
    const { renderDoctor } = yield* load(() => import("./renderDoctor.ts"))
    const { examine } = yield* load(() => import("./examine.ts"))
    const report = doctorReport(yield* examine(config), yield* Clock.currentTimeMillis)
    yield* Console.log(json ? JSON.stringify(report) : renderDoctor(report.rows, (yield* Screen)()))
    if (!report.ok) return yield* new SomethingWrong({ message: "something does not work" })
  })
).pipe(
  Command.withDescription("Look at all that a gateway here needs, with what to do about each fault; changes nothing")
)
