import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { ControlError } from "./ControlClient.ts"
import { fetchStatus } from "./fetchStatus.ts"
import { checkLine, isAllWell, oneScreen, renderStatus, type ScreenSize, type StatusView } from "./renderStatus.ts"
import { isKnown } from "./statusSections.ts"

export interface StatusRequest {
  /** The whole report in one line of JSON, one line for a monitor, or tables. */
  readonly as: "json" | "check" | "text"
  /** Path of the gateway's control socket. */
  readonly socket: string
  /** Left out: one screen. */
  readonly view?: StatusView
  /** Again and again. */
  readonly watch: boolean
}

/** The terminal that standard output is, asked anew each time; `null`: a file or a pipe, whose lines may be of any length. */
export const Screen = Context.Reference<() => ScreenSize | null>("sallyport/cli/Screen", {
  defaultValue: () => () => null
})

/** The exit code 1 of what has said itself what is wrong: `status --check`, `doctor`, `explain`. */
export class SomethingWrong extends Schema.TaggedError<SomethingWrong>()("SomethingWrong", {
  message: Schema.String
}) {}

/** Asks the gateway at the socket and prints what it says. */
export const showStatus = Effect.fnUntraced(function* ({ as, socket, view = oneScreen, watch }: StatusRequest) {
  const screen = yield* Screen
  if (watch) {
    const look = fetchStatus(socket).pipe(
      Effect.map((report) => renderStatus(report, view, screen())),
      Effect.catch(({ message }) => Effect.succeed(message)),
      Effect.flatMap((text) => Console.log(screen() === null ? `${text}\n` : `${clearScreen}${text}`)),
      Effect.andThen(Effect.sleep(watchEvery))
    )
    return yield* Effect.forever(look)
  }
  const report = yield* fetchStatus(socket)
  if (as === "json") return yield* Console.log(JSON.stringify(report))
  if (as === "check") {
    const line = checkLine(report)
    yield* Console.log(line)
    if (!isAllWell(report)) return yield* new SomethingWrong({ message: line })
    return
  }
  if (view.target !== null && !isKnown(report, view.target)) {
    const { nothingCalled } = yield* Effect.promise(() => import("./nothingCalled.ts"))
    return yield* new ControlError({ message: nothingCalled(report, view.target) })
  }
  yield* Console.log(renderStatus(report, view, screen()))
})

const watchEvery = "2 seconds"
/** To the upper left, and nothing behind it. */
const clearScreen = "\u001b[H\u001b[2J"
