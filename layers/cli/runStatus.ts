import * as Effect from "effect/Effect"
import { showStatus, type StatusRequest } from "../../src/cli/showStatus.ts"
import * as ControlClient from "./ControlClient.ts"
import { runProcess } from "./runProcess.ts"

/** `sallyport status` as the process, without the framework of the command line. */
export const runStatus = (request: StatusRequest): void =>
  runProcess(Effect.provide(showStatus(request), ControlClient.layer))
