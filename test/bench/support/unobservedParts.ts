/** What `unobserved.ts` puts in the place of the modules that tell what happens. */
import { existsSync } from "node:fs"
import process from "node:process"
import { Effect, Exit, Layer, Scope } from "effect"
import * as LiveLog from "../../../layers/events/EventLog.ts"
import * as LiveMonitor from "../../../layers/monitor/Monitor.ts"
import * as Live from "../../../src/dataplane/engine/journal.ts"
import { EventLog } from "../../../src/events/EventLog.ts"

const file = process.env["SALLYPORT_BENCH_UNOBSERVED"] ?? ""
const lookMs = 50
let isOn = true

export const layer = Layer.effect(
  EventLog,
  Effect.map(EventLog, (log) => ({ ...log, record: (event) => (isOn ? log.record(event) : Effect.void) }))
).pipe(Layer.provide(LiveLog.layer))

export const { serveHealth } = LiveMonitor

/** Begins anew each time that it is switched on. */
export const serveMonitor = Effect.fnUntraced(function* (...options: Parameters<typeof LiveMonitor.serveMonitor>) {
  const whole = yield* Effect.scope
  const turn = Effect.gen(function* () {
    const scope = yield* Scope.fork(whole)
    const serving = yield* Scope.provide(LiveMonitor.serveMonitor(...options), scope)
    return { scope, serving }
  })
  let { scope, serving } = yield* turn
  yield* Effect.forkScoped(
    Effect.gen(function* () {
      for (;;) {
        yield* Effect.sleep(lookMs)
        const wasOn = isOn
        isOn = !existsSync(file)
        if (wasOn && !isOn) yield* Scope.close(scope, Exit.void)
        if (!wasOn && isOn) ({ scope, serving } = yield* turn)
      }
    })
  )
  return Effect.suspend(() => serving)
})

/** In the packet worker, whose thread waits for nothing but packets: it looks at the switch in its turns. */
export class Journal extends Live.Journal {
  private lookAt = 0

  constructor(...parameters: ConstructorParameters<typeof Live.Journal>) {
    super(...parameters)
    const { addresses, flows } = this
    const [{ sessions }] = parameters
    const began = flows.began.bind(flows)
    const ended = sessions.onEnded
    const tried = addresses.tried.bind(addresses)
    const replied = addresses.replied.bind(addresses)
    flows.began = (slot) => void (isOn && began(slot))
    sessions.onEnded = (slot, why) => void (isOn && ended(slot, why))
    addresses.tried = (client, mapping, real, now) => void (isOn && tried(client, mapping, real, now))
    addresses.replied = (client, mapping, real, now) => void (isOn && replied(client, mapping, real, now))
  }

  override refused(...parameters: Parameters<Live.Journal["refused"]>): void {
    if (isOn) super.refused(...parameters)
  }

  override stranger(...parameters: Parameters<Live.Journal["stranger"]>): void {
    if (isOn) super.stranger(...parameters)
  }

  override tellDue(): void {
    const now = performance.now()
    if (now >= this.lookAt) {
      this.lookAt = now + lookMs
      isOn = !existsSync(file)
    }
    if (isOn) super.tellDue()
  }
}
