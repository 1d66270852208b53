import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { screenOf } from "../../src/cli/renderStatus.ts"
import { Screen, showStatus, SomethingWrong, type StatusRequest } from "../../src/cli/showStatus.ts"
import * as ControlClient from "./ControlClient.ts"
import { runProcess } from "./runProcess.ts"

/** `sallyport status` as the process, without the framework of the command line. */
export const runStatus = (request: StatusRequest): void =>
  runProcess(
    Effect.provide(showStatus(request), Layer.merge(ControlClient.layer, layerScreen)),
    (error) => error instanceof SomethingWrong
  )

/** The terminal of this process. */
export const layerScreen = Layer.succeed(Screen, () => screenOf(process.stdout, process.env))
