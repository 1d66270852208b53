import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { fetchStatus } from "./fetchStatus.ts"
import { renderStatus } from "./renderStatus.ts"

export interface StatusRequest {
  /** The whole report in one line instead of tables. */
  readonly json: boolean
  /** Path of the gateway's control socket. */
  readonly socket: string
}

/** Asks the gateway at the socket and prints what it says. */
export const showStatus = Effect.fnUntraced(function* ({ json, socket }: StatusRequest) {
  const report = yield* fetchStatus(socket)
  yield* Console.log(json ? JSON.stringify(report) : renderStatus(report))
})
