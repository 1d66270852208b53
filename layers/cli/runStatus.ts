import * as Effect from "effect/Effect"
import { showStatus, type StatusRequest } from "../../src/cli/showStatus.ts"
import { runProcess } from "./runProcess.ts"
import * as StatusSocket from "./StatusSocket.ts"

/** `sallyport status` as the process, without the framework of the command line. */
export const runStatus = (request: StatusRequest): void =>
  runProcess(Effect.provide(showStatus(request), StatusSocket.layerClient))
