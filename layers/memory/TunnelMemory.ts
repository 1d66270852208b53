/** `Tunnel` without a host: it keeps what it is told, and moves when a test says so. Nothing can fail. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { type DnsHandler, type DnsReply, waitFor } from "../../src/host/DnsSockets.ts"
import { Tunnel, type TunnelPlan } from "../../src/host/Tunnel.ts"

/** The other side of the tunnel in memory. */
export class TunnelRecorder extends Context.Service<
  TunnelRecorder,
  {
    /** Every plan that was another one than before, oldest first. */
    readonly plans: ReadonlyArray<TunnelPlan>
    /** The addresses that the control plane was reached from, oldest first. */
    readonly reachedFrom: ReadonlyArray<string | null>
    /** The gateway's address (IPv4) whenever DNS was begun to be served. */
    readonly served: ReadonlyArray<string>
    /** What DNS is served with; answers nothing before. */
    readonly dns: () => (...query: Parameters<DnsHandler>) => Effect.Effect<DnsReply>
    /** The host loses the address from which the control plane is reached. */
    readonly move: () => void
  }
>()("sallyport/layers/TunnelRecorder") {}

export const layer: Layer.Layer<Tunnel | TunnelRecorder> = Layer.effectContext(
  Effect.gen(function* () {
    const plans: Array<TunnelPlan> = []
    const reachedFrom: Array<string | null> = []
    const served: Array<string> = []
    const moved = yield* Queue.sliding<void>(1)
    let dns: DnsHandler = () => null
    let ready = false
    const tunnel = Tunnel.of({
      configure: (plan) =>
        Effect.sync(() => {
          const before = plans.at(-1)
          if (JSON.stringify(plan) === JSON.stringify(before)) return false
          const { allowGatewayHost } = plan
          if (JSON.stringify({ ...before, allowGatewayHost }) !== JSON.stringify(plan)) ready = false
          plans.push(plan)
          return true
        }),
      serve: (handler) =>
        Effect.sync(() => {
          dns = handler
          ready = true
          served.push(...plans.slice(-1).map(({ gateway4 }) => gateway4))
        }),
      kept: Effect.succeed({ repaired: 0, devicesMade: 0, last: null, wrong: null }),
      ready: () => ready,
      firewall: Effect.succeed({ judged: false, uncounted: null, lost: [], counters: { lost: 0, healed: 0 } }),
      reachedFrom: (address) => Effect.sync(() => void reachedFrom.push(address)),
      moved: Queue.take(moved)
    })
    const move = () => void Queue.offerUnsafe(moved, undefined)
    return Context.make(Tunnel, tunnel).pipe(
      Context.add(
        TunnelRecorder,
        TunnelRecorder.of({
          plans,
          reachedFrom,
          served,
          dns:
            () =>
            (...query) =>
              Effect.suspend(() => waitFor(dns(...query))),
          move
        })
      )
    )
  })
)
