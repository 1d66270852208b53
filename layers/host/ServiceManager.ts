/** systemd, or who else has set `NOTIFY_SOCKET` (sd_notify(3)). */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { encodeNotice, notifyAddress, watchdogMs } from "../../src/host/serviceNotice.ts"
import { ServiceManager } from "../../src/host/ServiceManager.ts"
import { sendUnixDatagram } from "../dataplane/native/unixDatagram.ts"

export interface ServiceEnvironment {
  readonly NOTIFY_SOCKET?: string | undefined
  readonly WATCHDOG_PID?: string | undefined
  readonly WATCHDOG_USEC?: string | undefined
}

/** Its queue may be full for a moment. */
const patience = { schedule: Schedule.spaced("100 millis"), times: 10 }

/** The manager that the environment names; `null` where it names none that can be told. */
export const serviceManager = Effect.fnUntraced(function* (
  env: ServiceEnvironment,
  pid = process.pid
): Effect.fn.Return<(typeof ServiceManager)["Service"]> {
  const { NOTIFY_SOCKET: named } = env
  if (named === undefined || named === "") return null
  const path = notifyAddress(named)
  if (path === null) {
    yield* Effect.logWarning(
      `NOTIFY_SOCKET is ${JSON.stringify(named)}, neither a path nor "@" and a name — the service manager is told nothing`
    )
    return null
  }
  let heard = true
  let isReady = false
  return {
    watchdogMs: watchdogMs(env, pid),
    isReady: () => isReady,
    tell: (notice) =>
      Effect.suspend(() => {
        const payload = new TextEncoder().encode(encodeNotice(notice, process.hrtime.bigint() / 1_000n))
        const error = sendUnixDatagram(path, payload)
        return error === undefined ? Effect.void : Effect.fail(error)
      }).pipe(
        Effect.retry({ ...patience, while: (error) => error === "EAGAIN" }),
        Effect.matchEffect({
          onSuccess: () =>
            Effect.sync(() => {
              isReady ||= notice.state === "ready"
              return (heard = true)
            }),
          onFailure: (error) => {
            const known = !heard
            heard = false
            if (known) return Effect.succeed(false)
            return Effect.as(
              Effect.logWarning(`the service manager does not listen at ${named} (${error}) — it is told again later`),
              false
            )
          }
        })
      )
  }
})
